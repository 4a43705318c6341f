# SPDX-License-Identifier: AGPL-3.0-or-later
"""A patch of the series as text: which files and hunks it has, and whether it stays inside the fork."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from prunekit.errors import UserError
from prunekit.text_file import read_text
from prunekit.upstream.manifest import is_plain

_HUNK = re.compile(r"@@ -(\d+)(?:,(\d+))? \+\d+(?:,(\d+))? @@")
_NAMED = re.compile(r"(?:---|\+\+\+|rename from|rename to|copy from|copy to) (.+)")
_LINK = re.compile(r"(?:new file mode|new mode|old mode|deleted file mode) (?:120000|160000)")


@dataclass(frozen=True)
class Hunk:
    """One hunk: file, number within the file from 1, first line in the old file, its lines in the patch (from 1)."""

    path: str
    number: int
    old_start: int
    first: int
    last: int


def read_hunks(patch: Path) -> list[Hunk]:
    """Return the hunks of a patch file.

    Raises UserError for a path that leaves the fork, a link or a submodule, or a file that is no patch.
    """
    lines = read_text(patch).split("\n")
    hunks: list[Hunk] = []
    path, index, named = "", 0, False
    while index < len(lines):
        line = lines[index]
        hunk = _HUNK.match(line)
        if hunk and path:
            last = _end_of_hunk(lines, index, hunk)
            number = 1 + sum(1 for other in hunks if other.path == path)
            hunks.append(Hunk(path, number, int(hunk.group(1)), index + 1, last))
            index = last
            continue
        named = named or line.startswith("diff --git ")  # before it stands the message, where anything may be written
        path = _check_line(patch, index + 1, line, path) if named else path
        index += 1
    if not named:
        raise UserError(f"{patch} holds no change; export it with git format-patch, or take it out of the series")
    return hunks


def _end_of_hunk(lines: list[str], index: int, hunk: re.Match[str]) -> int:
    """Return the number (from 1) of the hunk's last line: its body has as many lines as its head says."""
    old, new = (int(hunk.group(n)) if hunk.group(n) is not None else 1 for n in (2, 3))
    index += 1
    while (old > 0 or new > 0) and index < len(lines):
        kind = lines[index][:1]
        old -= kind in (" ", "-", "")
        new -= kind in (" ", "+", "")
        index += 1
    return index


def _check_line(patch: Path, number: int, line: str, path: str) -> str:
    """Check one header line of a diff; returns the path that the next hunks belong to."""
    if _LINK.match(line):
        raise UserError(f"{patch}:{number}: makes a link or a submodule: refused, nothing written")
    named = _NAMED.fullmatch(line.split("\t")[0])
    if named is None or named.group(1) == "/dev/null":
        return path
    name = named.group(1).strip('"')
    inside = name[2:] if line.startswith(("--- ", "+++ ")) and name[:2] in ("a/", "b/") else name
    if not is_plain(inside):
        raise UserError(f"{patch}:{number}: '{name}' is outside the fork: refused, nothing written")
    return inside
