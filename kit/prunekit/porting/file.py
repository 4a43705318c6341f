# SPDX-License-Identifier: AGPL-3.0-or-later
"""One file of one patch onto another version of the file: 3-way, checked by the anchors, or these alone."""

from __future__ import annotations

import ast
import re
from dataclasses import dataclass

from prunekit.git import Repo
from prunekit.porting.anchors import Refused
from prunekit.porting.python_file import check_merged, transplant
from prunekit.porting.text_file import transplant_text
from prunekit.temporary import temporary

# From the least to the most that happened to a file.
UNTOUCHED, ABSORBED, MOVED, REANCHORED, FAILED = "untouched", "absorbed upstream", "moved", "re-anchored", "failed"
REMEMBERED = "remembered"  # as a person has resolved the same conflict before


@dataclass(frozen=True)
class MovedFile:
    """A file after the patch (None where the patch removes it), what happened to it, what else there is to say."""

    text: str | None
    verdict: str
    note: str = ""


def move_file(path: str, old: str | None, new: str | None, target: str | None) -> MovedFile:
    """Return `target` changed as `new` is from `old`, lines ended as its own. Raises Refused for no certain place."""
    if old is None or new is None or target is None or _end(old) == _end(target) or not _end(old) or not _end(target):
        return _move(path, old, new, target)
    end = "\r\n" if _end(target) == "CRLF" else "\n"
    note = f"upstream's lines end in {_end(target)} by now, the patch's in {_end(old)}"
    old, new = (end.join(text.replace("\r\n", "\n").split("\n")) for text in (old, new))
    try:
        moved = _move(path, old, new, target)
    except Refused as error:
        raise Refused(f"{error.reason} ({note})", error.ours, error.theirs, form=error.form) from error
    return MovedFile(moved.text, moved.verdict, f"{note}: written as upstream's")


def _end(text: str) -> str:
    """Return how the lines of a file end: LF, CRLF, or nothing where there are both or none."""
    pairs, every = text.count("\r\n"), text.count("\n")
    return "" if not every or 0 < pairs < every else "CRLF" if pairs else "LF"


def _move(path: str, old: str | None, new: str | None, target: str | None) -> MovedFile:
    """Return `target` changed as `new` is from `old`."""
    if target == new:
        return MovedFile(new, ABSORBED)
    if target == old:
        return MovedFile(new, UNTOUCHED)
    if old is None or new is None:
        raise Refused(
            "upstream has a file of this name by now"
            if old is None
            else "upstream has changed the file that the patch removes"
        )
    if target is None:
        raise Refused("upstream no longer has this file")
    merged = merge(old, new, target)
    if merged is None and path.endswith(".py"):
        ours, changed = (spelled_as(target, text) for text in (old, new))
        merged = merge(ours, changed, target)
    try:
        placed = _transplant(path, old, new, target)
    except Refused as error:
        if not error.form:
            raise
        if merged is None:
            theirs = error.theirs or _conflicts(old, new, target)
            raise Refused(f"git's 3-way merge conflicts here, and {error.reason}", error.ours, theirs) from error
        if path.endswith(".py"):
            check_merged(old, new, target, merged)
        return MovedFile(merged, ABSORBED if merged == target else MOVED)
    if merged == target:
        return MovedFile(target, ABSORBED)
    return MovedFile(placed, MOVED if merged == placed else REANCHORED)


def merge(old: str, new: str, target: str) -> str | None:
    """Return git's 3-way merge of three texts, or None where it conflicts."""
    text, conflicts = merge_text(old, new, target)
    return None if conflicts else text


def spelled_as(target: str, text: str) -> str:
    """Return a text, the statements that `target` spells otherwise (quotes, blanks) as they stand there.

    Only statements of one line, each by its syntax; one that `target` spells in more than one way stays as it is.
    """
    spellings: dict[str, set[str]] = {}
    for line in target.splitlines():
        if key := _syntax_of(line):
            spellings.setdefault(key, set()).add(line.strip())
    lines = text.splitlines(keepends=True)
    for number, line in enumerate(lines):
        found = spellings.get(_syntax_of(line), set())
        if len(found) == 1:
            lines[number] = line.replace(line.strip(), next(iter(found)))
    return "".join(lines)


def _syntax_of(line: str) -> str:
    """Return the syntax of a line that is a whole statement, or nothing."""
    text = line.strip()
    if not text or text.startswith("#"):
        return ""
    try:
        return ast.dump(ast.parse(text))
    except (SyntaxError, ValueError):
        return ""


def _conflicts(old: str, new: str, target: str) -> str:
    """Return upstream's side of what git's 3-way merge cannot decide."""
    parts = merge_text(old, new, target)[0].split("<<<<<<< upstream now\n")[1:]
    return "...\n".join(part.partition("||||||| upstream at the pin\n")[0] for part in parts)


def merge_text(old: str, new: str, target: str) -> tuple[str, bool]:
    """Return git's 3-way merge, with conflict marks where it has them, and whether it has."""
    with temporary() as folder:
        for kind, text in (("upstream", target), ("pin", old), ("patch", new)):
            (folder / kind).write_bytes(text.encode())
        words = (
            "-p",
            "--diff3",
            "-L",
            "upstream now",
            "-L",
            "upstream at the pin",
            "-L",
            "the patch",
            "upstream",
            "pin",
            "patch",
        )
        done = Repo(folder).run("merge-file", *words, check=False)
    return done.out.decode(), done.status != 0


def _transplant(path: str, old: str, new: str, target: str) -> str:
    """Move the edits by their anchors."""
    if path.endswith(".py"):
        try:
            return transplant(old, new, target)
        except Refused as error:
            if not re.search(r"^\t", target, re.MULTILINE) or re.search(r"^\t", old, re.MULTILINE):
                raise
            reason = f"{error.reason} (upstream indents with tabs by now, the patch with spaces)"
            raise Refused(reason, error.ours, error.theirs, form=error.form) from error
    return transplant_text(old, new, target, yaml=path.endswith((".yaml", ".yml")))
