# SPDX-License-Identifier: AGPL-3.0-or-later
"""What a patch does to one file, as edits of lines: lines a to b of the old text become these lines."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class Edit:
    """Old lines `first` to `last` (0-based, `last` not included; empty for an insertion) become `lines`."""

    first: int
    last: int
    lines: tuple[str, ...]


def edits(old: str, new: str) -> list[Edit]:
    """Return the edits that make `new` of `old`, from top to bottom."""
    a, b = old.splitlines(keepends=True), new.splitlines(keepends=True)
    top = _alike(a, b)
    end = _alike(
        a[top:][::-1], b[top:][::-1]
    )  # what both begin and end with needs no search: files are long, patches short
    matcher = difflib.SequenceMatcher(None, a[top : len(a) - end], b[top : len(b) - end])
    changes = (code[1:] for code in matcher.get_opcodes() if code[0] != "equal")
    return [Edit(i + top, j + top, tuple(b[k + top : m + top])) for i, j, k, m in changes]


def _alike(a: list[str], b: list[str]) -> int:
    """Return how many lines both begin with."""
    return next((n for n, (one, other) in enumerate(zip(a, b, strict=False)) if one != other), min(len(a), len(b)))


def apply(text: str, changes: Iterable[Edit]) -> str:
    """Return the text with the edits made, the last first, so that line numbers stay true."""
    lines = text.splitlines(keepends=True)
    for change in sorted(changes, key=lambda e: (e.first, e.last), reverse=True):
        lines[change.first : change.last] = change.lines
    return "".join(lines)


def slides(old: list[str], edit: Edit) -> list[Edit]:
    """Return the edit and, for an insertion, those that make the same text a few lines up or down.

    A diff cannot tell whether a blank line was put in before or after; statements can.
    """
    found = [edit]
    if edit.first != edit.last:
        return found
    up = edit
    while up.first > 0 and old[up.first - 1] == up.lines[-1]:
        up = Edit(up.first - 1, up.first - 1, (up.lines[-1], *up.lines[:-1]))
        found.append(up)
    down = edit
    while down.first < len(old) and old[down.first] == down.lines[0]:
        down = Edit(down.first + 1, down.first + 1, (*down.lines[1:], down.lines[0]))
        found.append(down)
    return found
