# SPDX-License-Identifier: AGPL-3.0-or-later
"""Find the gap between two statements again in another version of a file, or refuse.

Every statement that both versions hold exactly once must stay on its side of the gap. A neighbour that is gone, or
there more often than it was, is no witness; then the other one must do.
"""

from __future__ import annotations

import difflib
from dataclasses import dataclass

from prunekit.porting.syntax_blocks import Block, Item, Source

_UNORDERED = ("Set", "Dict")  # a new element beside ours does not matter


class Refused(Exception):
    """No certain place: `reason`, and the text of both sides; `form`: the edit is of a kind that has no anchor."""

    def __init__(self, reason: str, ours: str = "", theirs: str = "", *, form: bool = False) -> None:
        super().__init__(reason)
        self.reason, self.ours, self.theirs, self.form = reason, ours, theirs, form


@dataclass(frozen=True)
class Gap:
    """A place between two items of a block: before item number `at`."""

    block: Block
    at: int

    @property
    def before(self) -> Item | None:
        """The item before the gap; None at the start of the block."""
        return self.block.items[self.at - 1] if self.at else None

    @property
    def after(self) -> Item | None:
        """The item after the gap; None at the end of the block."""
        return self.block.items[self.at] if self.at < len(self.block.items) else None

    @property
    def line(self) -> float:
        """A number between the last line before the gap and the first one after it."""
        if self.after is not None:
            return self.after.first - 0.5
        return (self.before.last if self.before else self.block.start) + 0.5


# Where a neighbour says the gap is; or it is missing, ambiguous, or repeated: there as often as it was, more than once.
Hit = Gap | str


def find(before: Source, after: Source, gap: Gap, inside: tuple[Item, ...]) -> Gap:
    """Return the gap of the target that is the old gap."""
    scope, name = gap.block.scope, gap.block.scope or "the module"
    there, here = after.scopes.get(scope, []), before.scopes[scope]
    if len(there) != 1 or len(here) != 1:
        raise Refused(
            f"{name} is not there{near(scope, after)}"
            if not there
            else f"{name} is defined {max(len(there), len(here))} times"
        )
    blocks = [b for b in after.blocks if b.scope == scope]
    if there == here:  # the whole function is as it was: the place is the same one, whatever repeats in it
        number = [b for b in before.blocks if b.scope == scope].index(gap.block)
        return Gap(blocks[number], gap.at)
    if gap.block.kind != "body":
        return _find_element(before, blocks, gap)
    own = [b for b in before.blocks if b.scope == scope and b.kind == "body"]
    bodies = [b for b in blocks if b.kind == "body"]
    return _agree(gap, _seek(gap, -1, own, bodies), _seek(gap, 0, own, bodies), inside)


def _find_element(before: Source, blocks: list[Block], gap: Gap) -> Gap:
    """Return the gap between elements of the bracket that belongs to the same statement and holds a neighbour."""
    wanted = {item.key for item in (gap.before, gap.after) if item}
    twins = [
        b for b in before.blocks if (b.scope, b.kind, b.owner) == (gap.block.scope, gap.block.kind, gap.block.owner)
    ]
    near = [b for b in blocks if (b.kind, b.owner) == (gap.block.kind, gap.block.owner)]
    near = [b for b in near if wanted & {item.key for item in b.items}]
    if len(near) != 1 or len([b for b in twins if wanted & {item.key for item in b.items}]) != 1:
        raise Refused(f"{len(near)} brackets hold a neighbour of the inserted elements")
    return _agree(gap, _seek(gap, -1, [gap.block], near), _seek(gap, 0, [gap.block], near), ())


def _seek(gap: Gap, side: int, own: list[Block], blocks: list[Block]) -> Hit:
    """Return the gap that one neighbour points at (-1: the one before, 0: the one after)."""
    item = gap.before if side else gap.after
    if item is None:
        same = [b for b in blocks if b.owner == gap.block.owner]
        if len(same) != 1 or len([b for b in own if b.owner == gap.block.owner]) != 1:
            return "ambiguous" if same else "missing"
        return Gap(same[0], 0 if side else len(same[0].items))
    for name in ("key", "head"):
        value = getattr(item, name)
        hits = (
            [(b, n) for b in blocks for n, other in enumerate(b.items) if getattr(other, name) == value]
            if value
            else []
        )
        if hits:
            count = sum(getattr(other, name) == value for b in own for other in b.items)
            if count == len(hits) == 1:
                return Gap(hits[0][0], hits[0][1] - side)
            return "repeated" if count == len(hits) else "ambiguous"
    return "missing"


def _agree(gap: Gap, before: Hit, after: Hit, inside: tuple[Item, ...]) -> Gap:
    """Return the one gap that both neighbours allow."""
    if isinstance(before, Gap) and isinstance(after, Gap):
        if before == after:
            return before
        if before.block == after.block:
            return _between(gap, before, after, inside)
        return _wrapped(gap, before, after)
    if isinstance(before, Gap) and after == "missing":
        return before
    if isinstance(after, Gap) and before == "missing":
        return after
    one, other = (before, after) if isinstance(before, Gap) else (after, before)
    if isinstance(one, Gap) and other != "missing" and _same(gap.before, one.before) and _same(gap.after, one.after):
        return one  # both neighbours are what they were, and one of them is there once
    raise Refused(f"the statement before is {_word(before)}, the one after is {_word(after)}")


def _between(gap: Gap, before: Gap, after: Gap, inside: tuple[Item, ...]) -> Gap:
    """Choose a side where upstream has put something between the neighbours.

    Certain at the start and the end of a block, before its return, and where the new ones share no name with ours.
    """
    if before.at > after.at:
        raise Refused("the statements before and after have changed their order")
    if gap.before is None or gap.block.kind in _UNORDERED:
        return before
    if gap.after is None or gap.after.leaves:
        return after
    theirs = set().union(*(item.names for item in before.block.items[before.at : after.at]))
    shared = theirs & set().union(*(item.names for item in inside))
    if gap.block.kind == "body" and not shared:
        return after
    named = f" that uses {', '.join(sorted(shared))} too" if shared else ""
    raise Refused(f"upstream has put something between the statement before and the one after{named}")


def _wrapped(gap: Gap, before: Gap, after: Gap) -> Gap:
    """Return the place beside the neighbour that is where it was, if the other now stands deeper, next to it."""
    if gap.before is None or gap.after is None:
        edge, other = (before, after) if gap.before is None else (after, before)
        if not gap.block.owner or not other.block.owner:  # start or end of the function are certain
            return edge
    for stays, other, beside in ((after, before, after.before), (before, after, before.after)):
        deeper = other.before if other is before else other.after
        if stays.block.owner == gap.block.owner and beside and deeper:
            if beside.first <= deeper.first and deeper.last <= beside.last:
                return stays
    raise Refused("the statements before and after no longer stand in one block")


def _same(one: Item | None, other: Item | None) -> bool:
    """Return whether two neighbours are the same statement, or both the edge of a block."""
    return (one.key if one else None) == (other.key if other else None)


def _word(hit: Hit) -> str:
    """Return a hit in words."""
    return hit if isinstance(hit, str) else "found"


def check_order(before: Source, after: Source, gap: Gap, found: Gap) -> None:
    """Refuse a place that changes sides with a statement of the block that both versions hold equally often.

    Where that is more than once, the first is taken for the first, and so on.
    """
    kind = (gap.block.kind == "body", gap.block.scope)
    own, there = (
        sorted((item for b in source.blocks if (b.kind == "body", b.scope) == kind for item in b.items), key=_line)
        for source in (before, after)
    )
    for number, item in enumerate(gap.block.items):
        ours, theirs = ([other for other in items if other.key == item.key] for items in (own, there))
        if len(ours) == len(theirs):
            now = theirs[next(n for n, other in enumerate(ours) if _line(other) == _line(item))]
            if (now.last >= found.line) if number < gap.at else (now.first <= found.line):
                raise Refused("upstream has moved statements across the place")


def _line(item: Item) -> tuple[int, int]:
    """Return where an item begins."""
    return item.first, item.column


def near(scope: str, after: Source) -> str:
    """Return the nearest name of a function or class, in words."""
    close = difflib.get_close_matches(scope, list(after.scopes), n=1)
    return f" (the nearest name is {close[0]})" if close else ""
