# SPDX-License-Identifier: AGPL-3.0-or-later
"""Edits of a real upstream file, made at random, with the truth kept: every line knows which original line it is.

An upstream edits its own file, which does not hold our hook. What stays true is an order: what stood before the hook in
its block stays before it, what stood after stays after. A statement that upstream itself moved binds nothing, but for
the two neighbours: our hook was placed by them. Some edits leave no right place behind them: one that binds what the
hook passes, or leaves the function, in front of it; one that puts both neighbours into a loop or under a condition.
"""

from __future__ import annotations

import ast
import itertools
import random
from dataclasses import dataclass, field
from functools import lru_cache

HOOK = "hooks.our_hook(self)"
REBINDS = (  # each binds or deletes what the hook passes, or the module that it calls
    "self = None\n",
    "del self\n",
    "self = extra(self)\n",
    "self += 1\n",
    "extra, (self, *_) = extras()\n",
    "import extra as self\n",
    "from extra import hooks\n",
    "for self in extras(): pass\n",
    "with extra() as self: pass\n",
    "while (self := extra()): pass\n",
    "if extra: self = extra\n",
    "def self(): pass\n",
)
EXITS = (
    "if extra_0: return\n",
    "for extra in self: return extra\n",
    "if extra: return 0\n",
)
AROUND = ("for extra in self:\n", "while extra():\n", "if extra_2:\n", "with extra():\n", "async_ = 1\nif async_:\n")


@dataclass
class Line:
    """A line of the file; `origin` is its number in the original, or None for a line that an edit brought."""

    text: str
    origin: int | None
    harm: str = ""  # "before": no hook behind it; "around": none in the block that it opens; "name": none at all


@dataclass
class Case:
    """A gap of an original file, and the edited file. Lines count from 0; `last` is not included."""

    lines: list[Line]
    before: list[tuple[int, int]]  # statements of the block before the gap, as line ranges of the original
    after: list[tuple[int, int]]
    head: int  # line of the def
    moved: set[int] = field(default_factory=set)
    did: list[str] = field(default_factory=list)

    def where(self, line: int) -> int | None:
        """Return where an original line is now."""
        return next((n for n, it in enumerate(self.lines) if it.origin == line), None)

    def find(self, statement: tuple[int, int]) -> tuple[int, int] | None:
        """Return where a statement is now, if it is whole."""
        start = self.where(statement[0])
        size = statement[1] - statement[0]
        if start is None or [it.origin for it in self.lines[start : start + size]] != list(range(*statement)):
            return None
        return start, start + size

    @property
    def text(self) -> str:
        """The edited file."""
        return "".join(it.text for it in self.lines)

    def is_right(self, at: int, column: int) -> bool:
        """Return whether a hook inserted at this line and column of the edited file is where it belongs."""
        if any(it.harm == "before" for it in self.lines[:at]) or self.is_inside(at, column):
            return False
        if any(it.harm == "name" for it in self.lines):
            return False
        for side, statements in ((-1, self.before), (1, self.after)):
            near = statements[-1] if side < 0 and statements else statements[0] if statements else None
            for statement in statements:
                if statement[0] in self.moved and statement != near:
                    continue
                for line in range(*statement):
                    now = self.where(line)
                    if now is not None and (now < at) != (side < 0):
                        return False
        return True

    def is_inside(self, at: int, column: int) -> bool:
        """Return whether a hook would stand in a block that an edit has put around its neighbours."""
        for number, it in enumerate(self.lines[:at]):
            pad = indent_of(it.text)
            below = (line.text for line in self.lines[number + 1 : at] if line.text.strip())
            if it.harm == "around" and column > pad and all(indent_of(text) > pad for text in below):
                return True
        return False


def indent_of(text: str) -> int:
    """Return how far a line is indented."""
    return len(text) - len(text.lstrip(" "))


@lru_cache(maxsize=1)
def gaps(text: str) -> list[tuple[ast.AST, list[ast.stmt], int]]:
    """Return (function, block, index) of every gap between statements of functions."""
    found = []
    for function in ast.walk(ast.parse(text)):
        if isinstance(function, ast.FunctionDef):
            found += [(function, block, n) for block in _blocks(function) for n in range(len(block) + 1)]
    return found


def _blocks(node: ast.AST) -> list[list[ast.stmt]]:
    """Return the bodies of a function, not those of functions in it; a docstring is left out."""
    blocks = []
    for name in ("body", "orelse", "finalbody"):
        body = getattr(node, name, None)
        if isinstance(body, list) and body:
            text = isinstance(body[0], ast.Expr) and isinstance(body[0].value, ast.Constant)
            blocks.append(body[1:] if text and isinstance(node, ast.FunctionDef) else body)
            blocks += [
                b for child in body if not isinstance(child, ast.FunctionDef | ast.ClassDef) for b in _blocks(child)
            ]
    for handler in getattr(node, "handlers", []):
        blocks += _blocks(handler)
    return [b for b in blocks if b]


def span(node: ast.stmt) -> tuple[int, int]:
    """Return the lines of a statement, decorators included."""
    first = min([node.lineno, *(d.lineno for d in getattr(node, "decorator_list", []))])
    return first - 1, node.end_lineno or 0


def make_case(text: str, rng: random.Random) -> tuple[Case, str, str] | None:
    """Return (case before its edits, the block's indentation, the patched file), or None for a gap that has no line."""
    function, block, at = rng.choice(gaps(text))
    spans = [span(node) for node in block]
    if any(one[1] > other[0] for one, other in itertools.pairwise(spans)) or spans[0][0] < function.lineno:
        return None
    lines = [Line(it, n) for n, it in enumerate(text.splitlines(keepends=True))]
    indent = " " * block[0].col_offset
    put = spans[at][0] if at < len(spans) else spans[-1][1]
    patched = [it.text for it in lines]
    patched[put:put] = [f"{indent}{HOOK}\n"]
    case = Case(lines, spans[:at], spans[at:], function.lineno - 1)
    return case, indent, "".join(patched)


def edit(case: Case, indent: str, rng: random.Random) -> None:
    """Change the file as an upstream might: one edit, mostly near the gap."""
    near = [*case.before[-2:], *case.after[:2]]
    every = [*case.before, *case.after]
    statement = rng.choice(near if near and rng.random() < 0.75 else every)
    place = case.find(statement)
    kinds = [
        "insert",
        "delete",
        "duplicate",
        "copy away",
        "copy pair",
        "wrap",
        "move",
        "remark",
        "change",
        "rename",
        "twin",
        "rebind",
        "exit",
        "enclose",
        "enclose function",
        "take its place",
    ]
    kind = rng.choices(kinds, weights=[4, 2, 2, 2, 2, 2, 2, 2, 2, 0.5, 0.5, 1, 1, 1, 0.5, 0.5])[0]
    if place is None:
        return
    if {kind, *(it.partition(" ")[0] for it in case.did)} >= {"twin", "rename"}:
        return  # the copy has the function's name then: it is the function, and its lines know nothing of the original
    case.did.append(f"{kind} {statement}")
    start, stop = place
    own = case.lines[start:stop]
    copy = [Line(it.text, None) for it in own]
    pad = own[0].text[: len(own[0].text) - len(own[0].text.lstrip())]
    if kind == "insert":
        new = rng.choice(["extra = 0\n", "self.extra(hooks)\n", "hooks = None\n", "print('extra')\n"])
        at = rng.choice(place)
        case.lines[at:at] = [Line(pad + new, None)]
    elif kind == "delete":
        case.lines[start:stop] = [Line(f"{pad}pass\n", None)]
    elif kind == "duplicate":
        at = rng.choice(place)
        case.lines[at:at] = copy
    elif kind in ("rebind", "exit"):
        at = rng.choice(place)
        case.lines[at:at] = [Line(pad + rng.choice(REBINDS if kind == "rebind" else EXITS), None, "before")]
    elif kind == "enclose" and case.before and case.after:
        _enclose(case, rng)
    elif kind in ("enclose function", "take its place"):
        _around_function(case, rng, kind == "enclose function")
    elif kind in ("copy away", "move"):
        _elsewhere(case, rng, every, place, own if kind == "move" else copy, kind == "move", statement)
    elif kind == "copy pair" and case.before and case.after:
        pair = [case.find(case.before[-1]), case.find(case.after[0])]
        if all(pair):
            both = [Line(it.text, None) for a, b in pair for it in case.lines[a:b]]  # type: ignore[misc]
            other = case.find(rng.choice(every))
            at = rng.choice(other) if other else start
            case.lines[at:at] = both
    elif kind == "wrap":
        for it in own:
            it.text = f"    {it.text}" if it.text.strip() else it.text
        case.lines[start:start] = [Line(f"{pad}if extra_{rng.randrange(9)}:\n", None)]
    elif kind == "remark":
        case.lines[start:start] = [Line(f"{pad}# a remark\n", None)]
    elif kind == "change":
        case.lines[start:stop] = [Line(f"{pad}changed = {rng.randrange(99)}\n", None)]
    elif kind == "rename":
        line = case.lines[case.where(case.head) or 0]
        line.text = line.text.replace("def ", "def renamed_", 1)
    elif kind == "twin":
        head = case.where(case.head) or 0
        end = case.where([*case.before, *case.after][-1][1] - 1)
        if end is not None:
            case.lines[end + 1 : end + 1] = [Line(it.text, None) for it in case.lines[head : end + 1]]


def _enclose(case: Case, rng: random.Random) -> None:
    """Put both neighbours of the gap, and all between them, into a loop or under a condition."""
    one, other = case.find(case.before[-1]), case.find(case.after[0])
    if not one or not other or other[1] <= one[0]:
        return
    pad = " " * indent_of(case.lines[one[0]].text)
    for it in case.lines[one[0] : other[1]]:
        it.text = f"    {it.text}" if it.text.strip() else it.text
    *lead, head = [f"{pad}{text}" for text in rng.choice(AROUND).splitlines(keepends=True)]
    case.lines[one[0] : one[0]] = [*(Line(text, None) for text in lead), Line(head, None, "around")]


def _around_function(case: Case, rng: random.Random, enclose: bool) -> None:
    """Put the whole function into a loop or under a condition, or let another value take its name below it."""
    head, last = case.where(case.head), case.where([*case.before, *case.after][-1][1] - 1)
    if head is None or last is None or not case.lines[head].text.lstrip().startswith("def "):
        return
    pad = " " * indent_of(case.lines[head].text)
    if not enclose:
        name = case.lines[head].text.split("def ")[1].partition("(")[0]
        case.lines[last + 1 : last + 1] = [Line(f"{pad}{name} = extra({name})\n", None, "name")]
        return
    while head and case.lines[head - 1].text.lstrip().startswith("@"):
        head -= 1
    for it in case.lines[head : last + 1]:
        it.text = f"    {it.text}" if it.text.strip() else it.text
    case.lines[head:head] = [Line(f"{pad}{rng.choice(AROUND[:-1])}", None, "around")]


def _elsewhere(
    case: Case,
    rng: random.Random,
    every: list[tuple[int, int]],
    place: tuple[int, int],
    lines: list[Line],
    move: bool,
    statement: tuple[int, int],
) -> None:
    """Put lines beside another statement of the block, taking them away where they were if they move."""
    other = case.find(rng.choice(every))
    if other is None or other == place:
        return
    at = rng.choice(other)
    if move:
        case.moved.add(statement[0])
        start, stop = place
        if start < at < stop:
            return
        del case.lines[start:stop]
        at = at - (stop - start) if at >= stop else at
    case.lines[at:at] = lines
