# SPDX-License-Identifier: AGPL-3.0-or-later
"""What a statement's place means: what stands around it, which ways lead past it, what binds the names that it reads.

All by syntax: no value is known. A call may change an object that the statement reads; that is not seen here.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from prunekit.porting.syntax_blocks import head_of, tree_of

_FIELDS = ("body", "handlers", "orelse", "finalbody", "cases")
_DEFS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
_FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
LOOPS = (ast.For, ast.AsyncFor, ast.While)
_COMPREHENSIONS = (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)


@dataclass(frozen=True)
class Step:
    """One level of the way down to a statement: `parent.field[index]` is the next node."""

    parent: ast.AST
    field: str
    index: int

    @property
    def siblings(self) -> list[ast.AST]:
        """The statements of the same body."""
        found: list[ast.AST] = getattr(self.parent, self.field)
        return found


@dataclass(frozen=True)
class Binding:
    """One place where a name gets its value: `key` names the statement, `line` where it stands.

    `empty`: the value is gone or a constant. `wraps`: it is made of the value before. `sure`: it happens whenever the
    statement is reached.
    """

    key: str
    line: int
    text: str
    empty: bool = False
    wraps: bool = False
    sure: bool = False


def way_to(tree: ast.Module, first: int, last: int) -> list[Step]:
    """Return the way down to the first statement that begins in these lines, or to the innermost one around them."""
    way: list[Step] = []
    node: ast.AST = tree
    while True:
        step = _down(node, first, last)
        if step is None:
            return way
        way.append(step)
        node = step.siblings[step.index]
        if first <= _start(node) <= last:
            return way


def _down(node: ast.AST, first: int, last: int) -> Step | None:
    """Return the step to the child that begins in the lines, or that holds them all."""
    for name in _FIELDS:
        body = getattr(node, name, None)
        for index, child in enumerate(body if isinstance(body, list) else []):
            if first <= _start(child) <= last or (_start(child) <= first and last <= _end(child)):
                return Step(node, name, index)
    return None


def _start(node: ast.AST) -> int:
    """Return the first line of a node, decorators included."""
    own = [node.lineno] if hasattr(node, "lineno") else [n.lineno for n in ast.walk(node) if hasattr(n, "lineno")]
    return min([*own, *(it.lineno for it in getattr(node, "decorator_list", []))], default=0)


def _end(node: ast.AST) -> int:
    """Return the last line of a node."""
    ends = [n.end_lineno or 0 for n in ast.walk(node) if hasattr(n, "end_lineno")]
    return max(ends, default=0)


def function_of(way: Sequence[Step]) -> tuple[ast.AST | None, list[Step]]:
    """Return the innermost function or class on the way (None: the module) and the steps within it."""
    inner = [number for number, step in enumerate(way) if isinstance(step.parent, _DEFS)]
    return (way[inner[-1]].parent, list(way[inner[-1] :])) if inner else (None, list(way))


def around(steps: Sequence[Step]) -> list[tuple[str, str, str]]:
    """Return (kind of statement, part of it, its head) of all that stands around a statement in its function."""
    nodes = [step for step in steps if not isinstance(step.parent, (ast.Module, *_DEFS))]
    return [(type(step.parent).__name__, step.field, head_of(step.parent)) for step in nodes]


def classes_of(way: Sequence[Step]) -> list[ast.AST]:
    """Return the classes on the way, outermost first."""
    return [step.parent for step in way if isinstance(step.parent, ast.ClassDef)]


def definitions(tree: ast.Module, way: Sequence[Step]) -> list[tuple[ast.AST, str]]:
    """Return (scope, path) of what names the functions and classes on the way: `T`, `T.step`, and `step` within T."""
    named = [step.parent for step in way if isinstance(step.parent, _DEFS)]
    found: list[tuple[ast.AST, str]] = []
    for number in range(len(named)):
        names = [it.name for it in named[: number + 1]]
        scopes = [tree, *named]
        found += [(scopes[at], ".".join(names[at:])) for at in range(number + 1)]
    return found


def values_of(scope: ast.AST, path: str) -> list[Binding]:
    """Return what a path stands for in a scope: each value that is given to it, and each definition but the first."""
    found = every_binding(scope, path)
    defined = [it for it in found if it.text.startswith(("def ", "async def ", "class ", "@"))]
    again = [Binding(f"defined again {number}", it.line, it.text) for number, it in enumerate(defined[1:])]
    return [it for it in found if it not in defined] + again


def is_generator(function: ast.AST) -> bool:
    """Return whether a function yields: then a call of it runs nothing yet."""
    return any(isinstance(it, ast.Yield | ast.YieldFrom) for it in _own(getattr(function, "body", [])))


def exits(steps: Sequence[Step]) -> list[tuple[str, int, str]]:
    """Return (name, line, text) of every way out of the function, or of the pass of a loop, before a statement.

    An error that nothing around the statement catches is no way past it: what would have followed does not, either.
    """
    found: list[tuple[str, int, str]] = []
    for number, step in enumerate(steps):
        ends = not any(_catches(outer) for outer in steps[: number + 1])
        before = step.siblings[: step.index] if step.field in ("body", "orelse", "finalbody") else []
        if isinstance(step.parent, ast.Try) and step.field == "orelse":
            before = [*step.parent.body, *before]
        for node in before:
            found += _leaving(node, (), loops=False, caught=ends)
        if isinstance(step.parent, LOOPS) and step.field == "orelse":
            inside = [it for node in step.parent.body for it in _leaving(node, (), loops=False, caught=ends)]
            found += [it for it in inside if it[0].startswith("Break")]
    return found


def _catches(step: Step) -> bool:
    """Does what stands around this step go on after an error in it?"""
    held = step.parent.items if isinstance(step.parent, ast.With | ast.AsyncWith) else []
    swallows = any("suppress(" in ast.unparse(item) for item in held)
    return swallows or (isinstance(step.parent, ast.Try) and step.field == "body" and bool(step.parent.handlers))


def _leaving(node: ast.AST, heads: tuple[str, ...], *, loops: bool, caught: bool) -> Iterator[tuple[str, int, str]]:
    """Yield the ways out in one statement; those of loops in it stay in it, and so does what a `try` catches."""
    kind = type(node).__name__
    if isinstance(node, ast.Return | ast.Break | ast.Continue | ast.Raise):
        stays = (loops and isinstance(node, ast.Break | ast.Continue)) or (caught and isinstance(node, ast.Raise))
        if not stays:
            yield " ".join([kind, *heads]), node.lineno, kind.lower()
        return
    if isinstance(node, _DEFS):
        return
    for name in _FIELDS:
        body = getattr(node, name, None)
        inner = loops or (isinstance(node, LOOPS) and name == "body")
        safe = caught or (isinstance(node, ast.Try) and name == "body" and bool(node.handlers))
        for child in body if isinstance(body, list) else []:
            yield from _leaving(child, (*heads, f"{head_of(node)}/{name}"), loops=inner, caught=safe)


def reads(nodes: Sequence[ast.AST], first: int, last: int) -> set[str]:
    """Return the names, and the attributes of names (`self.model`), that the lines of these statements read."""
    found: set[str] = set()
    for node in (it for top in nodes for it in ast.walk(top)):
        if first <= getattr(node, "lineno", 0) <= last and isinstance(getattr(node, "ctx", None), ast.Load):
            if (path := _path(node)) is not None:
                found.add(path)
    return found


def _path(node: ast.AST) -> str | None:
    """Return a name, or attributes and items of a name, as text; None for any other expression."""
    inner = node
    while isinstance(inner, ast.Attribute | ast.Subscript):
        inner = inner.value
    return ast.unparse(node) if isinstance(inner, ast.Name) else None


def bindings(steps: Sequence[Step], function: ast.AST | None, path: str) -> list[Binding]:
    """Return what may have given `path` its value when a statement is reached, the nearest first.

    The way back ends at a binding that always happens, at the function's parameters, or outside of the function.
    """
    found: list[Binding] = []
    for step in reversed(steps):
        for node in reversed(step.siblings[: step.index] if step.field in ("body", "orelse", "finalbody") else []):
            own = list(_bindings(node, path, ()))
            found += own
            if any(it.sure and not it.wraps for it in own):
                return found
        more, sure = _of_parent(step, path)
        found += more
        if sure:
            return found
    args = getattr(function, "args", None)
    root = path.partition(".")[0].partition("[")[0]
    if args is not None and root in {it.arg for it in ast.walk(args) if isinstance(it, ast.arg)}:
        return [*found, Binding(f"parameter {root}", 0, root)]
    return [*found, Binding("outside", 0, root)]


def _of_parent(step: Step, path: str) -> tuple[list[Binding], bool]:
    """Return what the statement around binds, and what its earlier passes or parts do; and whether it always does."""
    parent, rest = step.parent, list[ast.AST]()
    if isinstance(parent, LOOPS) and step.field == "body":
        rest = step.siblings[step.index + 1 :]
    elif isinstance(parent, (ast.Try, *LOOPS)) and step.field != "body":
        rest = list(parent.body)
    found = [it for node in rest for it in _bindings(node, path, ("other part",))]
    if isinstance(parent, (ast.Module, *_DEFS)):
        return found, False
    own = list(_head_bindings(parent, path, ()))
    return found + own, any(it.sure for it in own)


def every_binding(function: ast.AST, path: str) -> list[Binding]:
    """Return all bindings of a path in a function or module, wherever they stand."""
    return [it for node in getattr(function, "body", []) for it in _bindings(node, path, ())]


def _bindings(node: ast.AST, path: str, heads: tuple[str, ...]) -> Iterator[Binding]:
    """Yield the bindings of a path in one statement, not those in functions unless they reach out of them."""
    yield from _head_bindings(node, path, heads)
    if isinstance(node, _DEFS):
        return
    for name in _FIELDS:
        body = getattr(node, name, None)
        for child in body if isinstance(body, list) else []:
            for it in _bindings(child, path, (*heads, f"{type(node).__name__}/{name}")):
                sure = it.sure and isinstance(node, ast.With | ast.AsyncWith)
                yield Binding(it.key, it.line, it.text, it.empty, it.wraps, sure)


def _head_bindings(node: ast.AST, path: str, heads: tuple[str, ...]) -> Iterator[Binding]:
    """Yield the bindings of a path by a statement itself, its bodies apart."""
    hits = [it for it in _targets(node) if it == path or path.startswith((f"{it}.", f"{it}["))]
    if not hits:
        return
    line, compound = _start(node), any(getattr(node, name, None) for name in _FIELDS)
    key = " ".join([*heads, head_of(node) if compound else tree_of(node)])
    value = getattr(node, "value", None)
    gone = isinstance(node, ast.Delete) or (isinstance(value, ast.Constant) and not isinstance(node, ast.AugAssign))
    inside = ast.walk(value) if isinstance(value, ast.AST) else iter(())
    wraps = isinstance(node, ast.AugAssign) or any(_path(it) == hits[0] for it in inside)
    sure = not isinstance(node, ast.AugAssign | ast.Expr | ast.If | ast.While | ast.Try | ast.match_case)
    text = ast.unparse(node).splitlines()[0] if not isinstance(node, ast.match_case) else "case"
    yield Binding(key, line, text, gone, wraps, sure)


def bound_in(node: ast.AST) -> set[str]:
    """Return the names that a statement binds, its bodies included."""
    inner = [child for name in _FIELDS for child in getattr(node, name, None) or [] if isinstance(child, ast.AST)]
    own = {it for it in _targets(node) if it.isidentifier()}
    return own if isinstance(node, _DEFS) else own.union(*(bound_in(child) for child in inner))


def _targets(node: ast.AST) -> Iterator[str]:
    """Yield the paths that a statement itself binds or deletes."""
    if isinstance(node, _DEFS):
        yield node.name
        for it in ast.walk(node):  # a function that reaches out may do so at any time
            if isinstance(it, ast.Global | ast.Nonlocal):
                yield from it.names
        return
    for it in _head_nodes(node):
        if isinstance(getattr(it, "ctx", None), ast.Store | ast.Del) and (path := _path(it)) is not None:
            yield path
        elif isinstance(it, ast.alias):
            yield (it.asname or it.name).partition(".")[0]
        elif isinstance(it, ast.ExceptHandler | ast.MatchAs | ast.MatchStar) and it.name:
            yield it.name
        elif isinstance(it, ast.MatchMapping) and it.rest:
            yield it.rest


def _head_nodes(node: ast.AST) -> Iterator[ast.AST]:
    """Yield a statement's own nodes, without its bodies, lambdas, and the variables of comprehensions."""
    yield node
    for name, value in ast.iter_fields(node):
        if name in _FIELDS and isinstance(value, list):
            continue
        if name == "target" and isinstance(node, ast.comprehension):
            continue
        for child in value if isinstance(value, list) else [value]:
            if isinstance(child, ast.AST) and not isinstance(child, ast.Lambda):
                yield from _head_nodes(child)


def _own(body: Sequence[ast.AST]) -> Iterator[ast.AST]:
    """Yield all nodes below, not entering functions, classes and lambdas."""
    for node in body:
        yield node
        if not isinstance(node, (*_DEFS, ast.Lambda)):
            yield from _own(list(ast.iter_child_nodes(node)))
