# SPDX-License-Identifier: AGPL-3.0-or-later
"""Put lines inserted into a file that is not Python into another version of it: by key (YAML) or by whole line.

In a YAML mapping the order of keys means nothing, so a place beside either neighbour will do. In any other text both
neighbouring lines must be there, once each, and next to each other.
"""

from __future__ import annotations

import re

from prunekit.porting.anchors import Refused
from prunekit.porting.line_edits import Edit, apply, edits, slides

_KEY = re.compile(r"( *)([A-Za-z_][\w.-]*):(?:\s|$)")


def transplant_text(old: str, new: str, target: str, *, yaml: bool) -> str:
    """Return `target` with the lines that `new` has more than `old`. Raises Refused."""
    before, after = old.splitlines(keepends=True), target.splitlines(keepends=True)
    made = [_place(before, after, edit, yaml) for edit in edits(old, new)]
    return apply(target, made)


def _place(before: list[str], after: list[str], edit: Edit, yaml: bool) -> Edit:
    """Return where one insertion belongs in the target."""
    if edit.first != edit.last:
        return _replace(before, after, edit)
    reason: Refused | None = None
    for choice in slides(before, edit):
        try:
            return _insert_keys(before, after, choice) if yaml else _insert_lines(before, after, choice)
        except Refused as error:
            reason = reason or error
    assert reason is not None
    raise Refused(reason.reason, "".join(f"+{line}" for line in edit.lines), reason.theirs)


def _insert_keys(before: list[str], after: list[str], edit: Edit) -> Edit:
    """Return the insertion beside the key that stood before it, or the one after it, on the same level."""
    brought = [found for line in edit.lines if (found := _KEY.match(line))]
    if not brought or any(
        line.strip() and not _KEY.match(line) and not line.strip().startswith("#") for line in edit.lines
    ):
        raise Refused("the inserted lines are no plain `key: value` lines")
    level = brought[0].group(1)
    for found in brought:
        if _find_key(after, level, found.group(2)):
            raise Refused(f"upstream has the key '{found.group(2)}' itself by now")
    above = next((n for n in range(edit.first - 1, -1, -1) if _KEY.match(before[n])), None)
    below = next((n for n in range(edit.first, len(before)) if _KEY.match(before[n])), None)
    for number, step in ((above, 1), (below, 0)):
        key = _KEY.match(before[number]) if number is not None else None
        if key is None or key.group(1) != level or len(_find_key(before, level, key.group(2))) != 1:
            continue
        there = _find_key(after, level, key.group(2))
        if len(there) == 1 and (step == 0 or not _goes_on(after, there[0], level)):
            return Edit(there[0] + step, there[0] + step, edit.lines)
    raise Refused("neither the key before nor the key after is there exactly once")


def _find_key(lines: list[str], level: str, name: str) -> list[int]:
    """Return the lines (0-based) that set a key on a level."""
    return [n for n, line in enumerate(lines) if (m := _KEY.match(line)) and m.groups() == (level, name)]


def _goes_on(lines: list[str], number: int, level: str) -> bool:
    """Return whether a key's value goes on below its line."""
    below = next((line for line in lines[number + 1 :] if line.strip()), "")
    return len(below) - len(below.lstrip()) > len(level) or below.lstrip().startswith("- ")


def _insert_lines(before: list[str], after: list[str], edit: Edit) -> Edit:
    """Return the insertion between the same two lines."""
    above = before[edit.first - 1] if edit.first else None
    below = before[edit.first] if edit.first < len(before) else None
    for line in (above, below):
        if line is not None and (before.count(line) != 1 or after.count(line) != 1):
            raise Refused(f"the line {line.strip()!r} is there {after.count(line)} times", theirs="")
    at = after.index(above) + 1 if above is not None else 0
    if (after[at] if at < len(after) else None) != below:
        raise Refused("the lines before and after are no longer neighbours")
    return Edit(at, at, edit.lines)


def _replace(before: list[str], after: list[str], edit: Edit) -> Edit:
    """Return the replacement of lines that both versions hold once."""
    old = before[edit.first : edit.last]
    hits = [n for n in range(len(after) - len(old) + 1) if after[n : n + len(old)] == old]
    own = [n for n in range(len(before) - len(old) + 1) if before[n : n + len(old)] == old]
    if len(hits) != 1 or len(own) != 1:
        raise Refused(f"the replaced lines are there {len(hits)} times", "".join(f"-{line}" for line in old))
    return Edit(hits[0], hits[0] + len(old), edit.lines)
