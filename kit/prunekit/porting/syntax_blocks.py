# SPDX-License-Identifier: AGPL-3.0-or-later
"""A Python file as blocks of statements (and of elements of brackets), each with its place in the text.

Statements are compared as syntax trees, so comments, line breaks and quotes do not matter. A docstring belongs to the
head of its block and is no item: documentation that changes upstream is not a reason to lose a place.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import lru_cache

_BODIES = ("body", "orelse", "finalbody", "handlers", "cases")
_DEFS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
_ELEMENTS = (ast.Set, ast.List, ast.Tuple, ast.Dict, ast.Call)
_LEAVES = (ast.Return, ast.Raise, ast.Continue, ast.Break)


@dataclass(frozen=True)
class Item:
    """A statement or element: `key` is its tree, `head` that of a compound statement without its bodies ("" else).

    Lines count from 1, both ends included; `leaves` says that nothing after it in its block is reached.
    """

    key: str
    head: str
    first: int
    last: int
    column: int
    leaves: bool = False
    node: ast.AST | None = field(default=None, compare=False, repr=False)

    @property
    def names(self) -> frozenset[str]:
        """All names that a statement reads or binds."""
        nodes = list(ast.walk(self.node)) if self.node else []
        found = {n.id for n in nodes if isinstance(n, ast.Name)}
        found |= {n.name for n in nodes if isinstance(n, _DEFS)}
        found |= {(n.asname or n.name).partition(".")[0] for n in nodes if isinstance(n, ast.alias)}
        return frozenset(found)


@dataclass(frozen=True)
class Block:
    """The items of one body or bracket; `scope` is the qualified name of the function or class it stands in.

    `owner` is empty for the body of the scope itself, else what the body or bracket belongs to. `start` is the line
    after which the first item may be put (0: only known to be before the first item).
    """

    scope: str
    kind: str
    owner: str
    items: tuple[Item, ...]
    start: int
    column: int


@dataclass
class Source:
    """A parsed file: lines, blocks, its scopes' trees as numbers, by qualified name (two where defined twice)."""

    lines: list[str]
    blocks: list[Block] = field(default_factory=list)
    scopes: dict[str, list[str]] = field(default_factory=dict)
    tree: ast.Module | None = None


_seen: dict[tuple[object, ...], int] = {}


def tree_of(value: object) -> str:
    """Return a name for a syntax tree: the same for the same tree, whatever its place in the text.

    Each kind of node with the same parts gets one number, so that a file is walked once; ast.dump of every statement on
    every level took seconds.
    """
    return str(_number(value))


def _number(value: object) -> object:
    """Return the number of a node, or a value of a field as it is."""
    if isinstance(value, ast.AST):
        known = getattr(value, "_prunekit", None)
        if known is None:
            parts = tuple(_number(getattr(value, name, None)) for name in value._fields)
            known = _seen.setdefault((type(value), *parts), len(_seen))
            value._prunekit = known  # type: ignore[attr-defined]
        return ("node", known)
    if isinstance(value, list):
        return tuple(_number(item) for item in value)
    return (type(value), repr(value))  # 1, 1.0 and True are equal, and not the same


@lru_cache(maxsize=32)
def parse(text: str) -> Source:
    """Parse a file (the result is shared: do not change it); raises SyntaxError, or ValueError for NUL bytes."""
    tree = ast.parse(text)
    source = Source(text.splitlines(keepends=True), scopes={"": [tree_of(tree)]}, tree=tree)
    _scope(source, tree, "", "")
    return source


def _scope(source: Source, node: ast.AST, scope: str, owner: str) -> None:
    """Collect the blocks below a statement, entering functions and classes as scopes of their own."""
    for name in _BODIES:
        body = getattr(node, name, None)
        if isinstance(body, list) and body:
            place = f"{owner}/{name}" if owner or name != "body" else ""
            source.blocks.append(_body(node, body, scope, place))
            for child in body:
                _statement(source, child, scope, place)


def _statement(source: Source, node: ast.AST, scope: str, place: str) -> None:
    """Collect what lies below one statement."""
    if isinstance(node, _DEFS):
        inner = f"{scope}.{node.name}" if scope else node.name
        source.scopes.setdefault(inner, []).append(tree_of(node))
        _scope(source, node, inner, "")
        return
    source.blocks += _brackets(node, scope)
    _scope(source, node, scope, f"{place}/{head_of(node)}")


def _body(node: ast.AST, body: list[ast.AST], scope: str, place: str) -> Block:
    """Return the block of a list of statements; a docstring only moves its start."""
    start, column = 0, _first_column(body[0])
    if isinstance(node, (*_DEFS, ast.Module)) and _is_docstring(body[0]):
        start, body = body[0].end_lineno or 0, body[1:]  # type: ignore[attr-defined]
    return Block(scope, "body", place, tuple(_item(child) for child in body), start, column)


def _brackets(statement: ast.AST, scope: str) -> Iterator[Block]:
    """Yield the brackets of a simple statement (or of a compound one's head) that have elements."""
    owner = _targets(statement)
    for node in _expressions(statement):
        long = isinstance(node, _ELEMENTS) and node.end_lineno != node.lineno  # or no line can be put into it
        parts = _elements(node) if long else []
        if parts:
            items = tuple(Item(key, "", first, last, column) for key, first, last, column in parts)
            yield Block(scope, type(node).__name__, owner, items, 0, items[0].column)


def _expressions(node: ast.AST) -> Iterator[ast.AST]:
    """Yield the expressions of a statement that take more than a line, not those of its bodies."""
    for name, value in ast.iter_fields(node):
        if isinstance(node, ast.stmt | ast.excepthandler) and name in _BODIES:
            continue
        for child in value if isinstance(value, list) else [value]:
            if isinstance(child, ast.AST) and not _in_one_line(child):
                yield child
                yield from _expressions(child)


def _in_one_line(node: ast.AST) -> bool:
    """Return whether a node ends in the line it begins in: no line can be put into any bracket of it."""
    return hasattr(node, "lineno") and node.lineno == getattr(node, "end_lineno", None)


def _elements(node: ast.AST) -> list[tuple[str, int, int, int]]:
    """Return (tree, first line, last line, column) of each element of a bracket."""
    if isinstance(node, ast.Dict):
        pairs = [(key or value, value) for key, value in zip(node.keys, node.values, strict=True)]
        return [(tree_of(k) + tree_of(v), k.lineno, v.end_lineno or 0, k.col_offset) for k, v in pairs]
    parts: list[ast.AST] = [*node.args, *node.keywords] if isinstance(node, ast.Call) else list(node.elts)  # type: ignore[attr-defined]
    parts.sort(key=lambda part: (part.lineno, part.col_offset))  # type: ignore[attr-defined]
    return [(tree_of(part), part.lineno, part.end_lineno or 0, part.col_offset) for part in parts]  # type: ignore[attr-defined]


def _item(node: ast.AST) -> Item:
    """Return a statement as an item; decorators belong to it."""
    decorators = [d.lineno for d in getattr(node, "decorator_list", [])]
    first = min([getattr(node, "lineno", 0) or _first_line(node), *decorators])
    last = getattr(node, "end_lineno", 0) or _last_line(node)
    head = head_of(node) if any(getattr(node, name, None) for name in _BODIES) else ""
    return Item(tree_of(node), head, first, last, _first_column(node), isinstance(node, _LEAVES), node)


def head_of(node: ast.AST) -> str:
    """Return a compound statement without its bodies, as text."""
    if isinstance(node, _DEFS):
        return f"{type(node).__name__} {node.name}"
    parts = [
        tree_of(v) if isinstance(v, ast.AST) else repr(v)
        for n, v in ast.iter_fields(node)
        if n not in _BODIES and not isinstance(v, list)
    ]
    lists = [
        tree_of(x)
        for n, v in ast.iter_fields(node)
        if n not in _BODIES and isinstance(v, list)
        for x in v
        if isinstance(x, ast.AST)
    ]
    return " ".join([type(node).__name__, *parts, *lists])


def _targets(node: ast.AST) -> str:
    """Return what names a statement for the brackets in it: the targets of an assignment, else its kind."""
    found = [*getattr(node, "targets", []), *([node.target] if isinstance(node, ast.AnnAssign | ast.AugAssign) else [])]
    return " ".join([type(node).__name__, *(tree_of(target) for target in found)])


def _is_docstring(node: ast.AST) -> bool:
    """Return whether a statement is nothing but a text."""
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)


def _first_column(node: ast.AST) -> int:
    """Return the column that a statement starts in (a match case has none of its own)."""
    return getattr(node, "col_offset", 0)


def _first_line(node: ast.AST) -> int:
    """Return the first line of a node that has no position of its own (a match case)."""
    return min((n.lineno for n in ast.walk(node) if hasattr(n, "lineno")), default=0)


def _last_line(node: ast.AST) -> int:
    """Return the last line of a node that has no position of its own."""
    return max((n.end_lineno or 0 for n in ast.walk(node) if hasattr(n, "end_lineno")), default=0)


def changed_scopes(old: str | None, new: str | None) -> set[str]:
    """Return the qualified names of the innermost functions and classes that differ between two versions of a file."""
    try:
        before, after = parse(old or "").scopes, parse(new or "").scopes
    except (SyntaxError, ValueError):
        return set()
    changed = {name for name in before.keys() | after.keys() if name and before.get(name) != after.get(name)}
    return {name for name in changed if not any(other.startswith(f"{name}.") for other in changed)}
