# SPDX-License-Identifier: AGPL-3.0-or-later
"""Put an edit made to one version of a Python file into another, by function and statement instead of line and context.

The place of an insertion is a gap: the function or class it stands in, the statement before it and the one after it.
It is found again only where that is certain. Every statement that both versions hold exactly once must stay on its side
of the gap; a place that is missing, or that more than one gap could be, is refused. A wrong place is worse than none.
"""

from __future__ import annotations

import ast

from prunekit.porting.anchors import Gap, Refused, check_order, find
from prunekit.porting.line_edits import Edit, apply, edits, slides
from prunekit.porting.meaning import check_meaning, spans
from prunekit.porting.name_check import check_names
from prunekit.porting.syntax_blocks import Block, Item, Source, parse


def transplant(old: str, new: str, target: str) -> str:
    """Return `target` with the edits that make `new` of `old`, each at its own place. Raises Refused."""
    ours = edits(old, new)
    made = [place(old, target, edit) for edit in ours]
    result = apply(target, made)
    try:
        check_meaning(new, result, list(zip(spans(ours), spans(made), strict=True)))
    except Refused as error:
        raise Refused(error.reason, "".join(f"+{line}" for it in ours for line in it.lines), error.theirs) from error
    return result


def check_merged(old: str, new: str, target: str, merged: str) -> None:
    """Refuse git's 3-way merge of a file where a place means something else by now.

    Places are paired in their order, or by their lines; what has no pair, or is no Python, has nothing to compare.
    """
    ours, made = edits(old, new), edits(target, merged)
    sides = [list(zip(changes, spans(changes), strict=True)) for changes in (ours, made)]
    pairs = [
        (one[1], other[1])
        for one in sides[0]
        for other in sides[1]
        if [line.strip() for line in one[0].lines] == [line.strip() for line in other[0].lines]
    ]
    if len({one for one, _ in pairs}) != len(pairs):
        pairs = list(zip(spans(ours), spans(made), strict=True)) if len(ours) == len(made) else []
    try:
        parse(new), parse(merged)
    except (SyntaxError, ValueError):
        return
    check_meaning(new, merged, pairs)


def place(old: str, target: str, edit: Edit) -> Edit:
    """Return where an edit of `old` belongs in `target`. Raises Refused with both sides."""
    try:
        before, after = parse(old), parse(target)
    except (SyntaxError, ValueError) as error:
        raise Refused(f"the file is no Python that this version reads: {error}", form=True) from error
    if edit.first != edit.last:
        return _replace(before, after, edit)
    reason: Refused | None = None
    for choice in slides(before.lines, edit):
        try:
            inside, gap = _read_insertion(old, before, choice)
        except Refused as error:
            reason = reason or error
            continue
        return _insert(before, after, choice, inside, gap)
    raise reason or Refused("the inserted lines are no whole statements")


def _read_insertion(old: str, source: Source, edit: Edit) -> tuple[tuple[Item, ...], Gap]:
    """Return the items that an insertion brings and the gap of the old file that they stand in."""
    first, last = edit.first + 1, edit.first + len(edit.lines)
    try:
        made = parse(apply(old, [edit]))
    except SyntaxError as error:
        raise Refused("the inserted lines are no whole statements", "".join(edit.lines), form=True) from error
    for block in made.blocks:
        inside = [n for n, item in enumerate(block.items) if first <= item.first and item.last <= last]
        if not inside or not _covers(made, block, inside, first, last):
            continue
        items = block.items[: inside[0]] + block.items[inside[-1] + 1 :]
        twins = [b for b in source.blocks if (b.scope, b.kind, b.owner) == (block.scope, block.kind, block.owner)]
        keys = [item.key for item in items]
        same = [b for b in twins if [item.key for item in b.items] == keys]
        if len(same) == 1:
            return block.items[inside[0] : inside[-1] + 1], Gap(same[0], inside[0])
        if same:
            shown = _show_gap(source, edit)
            raise Refused(f"{block.scope} is defined {len(same)} times, alike, at the pin", shown, form=True)
    raise Refused("the inserted lines are no whole statements or elements", "".join(edit.lines), form=True)


def _covers(made: Source, block: Block, inside: list[int], first: int, last: int) -> bool:
    """Return whether the items are all that the inserted lines hold, comments and blank lines apart."""
    taken = {line for n in inside for line in range(block.items[n].first, block.items[n].last + 1)}
    rest = [made.lines[line - 1].strip() for line in range(first, last + 1) if line not in taken]
    return all(not text or text.startswith("#") for text in rest)


def _insert(before: Source, after: Source, edit: Edit, inside: tuple[Item, ...], gap: Gap) -> Edit:
    """Return the insertion at its gap of the target; Refused carries both sides."""
    try:
        found = find(before, after, gap, inside)
        check_order(before, after, gap, found)
        check_names(before, after, gap, found, inside)
        _check_reached(gap, found, inside)
        return _write(after, edit, gap, found)
    except Refused as error:
        theirs = error.theirs or _show_scope(after, gap.block.scope, gap)
        raise Refused(error.reason, error.ours or _show_gap(before, edit), theirs) from error


def _check_reached(gap: Gap, found: Gap, inside: tuple[Item, ...]) -> None:
    """Refuse a place that is never reached, or lines that would keep upstream's own from being reached.

    Lines that do so at the pin, in front of the same statement, are meant to.
    """
    before = found.block.items[: found.at]
    if any(item.leaves for item in before):
        raise Refused("the place comes after a return or raise and is never reached")
    meant = gap.after is not None and found.after is not None and gap.after.key == found.after.key
    if inside[-1].leaves and found.after is not None and found.block.kind == "body" and not meant:
        raise Refused("the inserted lines leave the block before upstream's own statements")


def _write(after: Source, edit: Edit, gap: Gap, found: Gap) -> Edit:
    """Return the edit of lines that fills the gap, indented as its block is, and check that it does just that."""
    line = _line(edit, gap, found)
    shift = found.block.column - gap.block.column
    lines = tuple(_shifted(text, shift) for text in edit.lines)
    made = Edit(line, line, lines)
    _check_result(after, made, found)
    return made


def _line(edit: Edit, gap: Gap, found: Gap) -> int:
    """Return the line number (0-based) to insert at: on the side of the gap's comments where it was in the old file."""
    touches = gap.after is not None and gap.after.first == edit.first + 1
    if found.after is not None and (touches or (found.before is None and not found.block.start)):
        line = found.after.first - 1
        return line if found.before is None or found.before.last <= line else _refuse_shared()
    if found.before is None:
        return found.block.start
    if found.after is not None and found.after.first <= found.before.last:
        _refuse_shared()
    return found.before.last


def _refuse_shared() -> int:
    """Refuse two statements of one line."""
    raise Refused("the statements before and after stand in one line")


def _shifted(text: str, shift: int) -> str:
    """Return a line indented by `shift` columns more (or less)."""
    if not text.strip() or not shift:
        return text
    if shift > 0:
        return " " * shift + text
    if text[:-shift].strip():
        raise Refused("the inserted lines cannot be indented less")
    return text[-shift:]


def _check_result(after: Source, made: Edit, found: Gap) -> None:
    """Refuse unless the result is the target's block with new items in the gap, and nothing else has changed."""
    try:
        result = parse(apply("".join(after.lines), [made]))
    except SyntaxError as error:
        raise Refused(f"the result would be no Python: {error.msg}") from error
    keys = [item.key for item in found.block.items]
    grown = [
        b
        for b in result.blocks
        if (b.scope, b.kind, b.owner) == (found.block.scope, found.block.kind, found.block.owner)
    ]
    new = len(made.lines)
    for block in grown:
        inner = [n for n, i in enumerate(block.items) if made.first < i.first and i.last <= made.first + new]
        if inner and inner[0] == found.at and [i.key for n, i in enumerate(block.items) if n not in inner] == keys:
            return
    raise Refused("the result would not be what upstream has, with ours in the gap")


def _replace(before: Source, after: Source, edit: Edit) -> Edit:
    """Return the replacement of whole statements, or of heads, that the target holds once in the same function."""
    if (head := _replaced_head(before, edit)) is not None:
        return _replace_head(before, after, edit, *head)
    run, scope = _replaced(before, edit)
    keys = [item.key for item in run]
    if len(after.scopes.get(scope, [])) != 1 or len(before.scopes[scope]) != 1:
        raise Refused(
            f"{scope or 'the module'} is not there, or more than once", "".join(before.lines[edit.first : edit.last])
        )
    hits = [
        b.items[n : n + len(keys)]
        for b in after.blocks
        if b.scope == scope
        for n in range(len(b.items))
        if [i.key for i in b.items[n : n + len(keys)]] == keys
    ]
    own = sum(
        [i.key for i in b.items[n : n + len(keys)]] == keys
        for b in before.blocks
        if b.scope == scope
        for n in range(len(b.items))
    )
    if len(hits) != 1 or own != 1:
        raise Refused(
            f"the replaced statement is there {len(hits)} times",
            "".join(before.lines[edit.first : edit.last]),
            _show_scope(after, scope, None),
        )
    first, last = hits[0][0].first - 1, hits[0][-1].last
    lead = run[0].first - 1 - edit.first
    shift = hits[0][0].column - run[0].column
    made = Edit(first - lead, last + edit.last - run[-1].last, tuple(_shifted(text, shift) for text in edit.lines))
    try:
        parse(apply("".join(after.lines), [made]))
    except SyntaxError as error:
        raise Refused(f"the result would be no Python: {error.msg}") from error
    return made


def _replaced_head(before: Source, edit: Edit) -> tuple[Item, str] | None:
    """Return the compound statement whose head (`if ...:`), and nothing else, the replaced lines are; and its scope."""
    if not edit.lines or not edit.lines[-1].rstrip().endswith(":"):
        return None
    found = [(item, b.scope) for b in before.blocks for item in b.items if item.head and item.first == edit.first + 1]
    return found[0] if len(found) == 1 and _head_ends(found[0][0]) == edit.last else None


def _head_ends(item: Item) -> int:
    """Return the last line of a compound statement's head: the one before its body."""
    first: ast.AST = item.node.body[0]  # type: ignore[union-attr]
    return min(getattr(it, "lineno", 0) for it in (first, *getattr(first, "decorator_list", []))) - 1


def _replace_head(before: Source, after: Source, edit: Edit, item: Item, scope: str) -> Edit:
    """Return the replacement of a compound statement's head that both versions hold once in the function."""
    ours, theirs = (
        [it for b in source.blocks if b.scope == scope for it in b.items if it.head == item.head]
        for source in (before, after)
    )
    shown = "".join(before.lines[edit.first : edit.last])
    if len(ours) != 1 or len(theirs) != 1:
        raise Refused(f"the replaced head is there {len(theirs)} times", shown, _show_scope(after, scope, None))
    hit = theirs[0]
    if _head_ends(hit) - hit.first + 1 != edit.last - edit.first:
        raise Refused("the replaced head has other lines by now", shown, _show_scope(after, scope, None))
    shift = hit.column - item.column
    return Edit(hit.first - 1, _head_ends(hit), tuple(_shifted(text, shift) for text in edit.lines))


def _replaced(before: Source, edit: Edit) -> tuple[tuple[Item, ...], str]:
    """Return the whole statements that the replaced lines are, and the scope they stand in."""
    first, last = edit.first + 1, edit.last
    for block in before.blocks:
        inside = [n for n, i in enumerate(block.items) if first <= i.first and i.last <= last]
        if inside and block.items[inside[0]].first == first and block.items[inside[-1]].last == last:
            return block.items[inside[0] : inside[-1] + 1], block.scope
    raise Refused("the patch changes part of a statement", "".join(before.lines[edit.first : edit.last]), form=True)


def _show_gap(before: Source, edit: Edit) -> str:
    """Return our side: the inserted lines (+) between the lines beside them."""
    around = [f" {text}" for text in before.lines[max(edit.first - 3, 0) : edit.first]]
    behind = [f" {text}" for text in before.lines[edit.first : edit.first + 3]]
    return "".join([*around, *(f"+{text}" for text in edit.lines), *behind])


def _show_scope(after: Source, scope: str, gap: Gap | None) -> str:
    """Return their side: the lines of the function that are nearest to our neighbours, or nothing where it is gone."""
    blocks = [b for b in after.blocks if b.scope == scope and b.kind == "body" and b.items]
    if not blocks:
        return ""
    wanted = {i.key for i in (gap.before, gap.after) if i} if gap else set()
    hits = [i for b in blocks for i in b.items if i.key in wanted] or [blocks[0].items[0]]
    shown: list[str] = []
    for hit in hits[:3]:
        shown += [
            f"{n + 1:5} {after.lines[n]}" for n in range(max(hit.first - 4, 0), min(hit.last + 3, len(after.lines)))
        ]
    return "".join(shown)
