# SPDX-License-Identifier: AGPL-3.0-or-later
"""A whole series onto another upstream commit: `git rebase --onto NEW OLD`, with anchors where it conflicts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from prunekit import git_objects
from prunekit.git import Repo
from prunekit.patches.canonical import changed_files
from prunekit.porting.anchors import Refused
from prunekit.porting.file import ABSORBED, FAILED, MOVED, REANCHORED, REMEMBERED, UNTOUCHED, MovedFile, move_file
from prunekit.porting.memory import Memory
from prunekit.porting.renames import holders, moved_to, renamed
from prunekit.porting.syntax_blocks import changed_scopes
from prunekit.upstream.manifest import Entry

_ORDER = (UNTOUCHED, MOVED, REANCHORED, REMEMBERED, FAILED)


@dataclass(frozen=True)
class Conflict:
    """A file of a patch that found no certain place, with both sides."""

    path: str
    reason: str
    ours: str
    theirs: str
    was: str = ""  # its name at the old pin


@dataclass
class Move:
    """What happened to one patch: verdict, that of each file, the commit it is now (None: failed, absorbed)."""

    name: str
    verdict: str
    files: dict[str, str] = field(default_factory=dict)
    conflicts: list[Conflict] = field(default_factory=list)
    commit: str | None = None
    notes: list[str] = field(default_factory=list)


def move_series(
    repo: Repo, root: str, commits: Sequence[str], names: Sequence[str], target: str, memory: Memory | None = None
) -> list[Move]:
    """Put the commits on top of `target`, one after another; a patch that fails is left out and the others go on.

    Uses the repository's index; touches no branch and no file.
    """
    parent, head, moves = root, target, []
    for name, commit in zip(names, commits, strict=True):
        move, texts = try_move(repo, name, parent, commit, head, memory)
        if move.verdict not in (FAILED, ABSORBED):
            head = move.commit = put(repo, commit, head, texts)
        moves.append(move)
        parent = commit
    return moves


def try_move(
    repo: Repo, name: str, parent: str, commit: str, head: str, memory: Memory | None = None
) -> tuple[Move, dict[str, str | None]]:
    """Return what becomes of one patch on `head`, and the files as they are then."""
    move, texts = Move(name, UNTOUCHED), {}
    for path in changed_files(repo, parent, commit):
        old, new = (text_of(repo, tree, path) for tree in (parent, commit))
        place = where(repo, parent, head, path) if old is not None and new is not None else path
        now = text_of(repo, head, place)
        try:
            moved = move_or_recall(memory, name, place, (old, new, now))
        except Refused as error:
            move.files[place] = FAILED
            hint = found_at(repo, (parent, head), (path, place), old, new)
            move.conflicts.append(Conflict(place, error.reason + hint, error.ours, error.theirs, path))
            continue
        move.files[place], texts[place] = moved.verdict, moved.text
        move.notes += [f"{place}: {moved.note}"] if moved.note else []
        if place != path and moved.verdict == UNTOUCHED:
            move.files[place] = MOVED
    kinds = set(move.files.values())
    move.verdict = ABSORBED if kinds == {ABSORBED} else max(kinds - {ABSORBED} or {UNTOUCHED}, key=_ORDER.index)
    return move, texts


def move_or_recall(
    memory: Memory | None, name: str, path: str, texts: tuple[str | None, str | None, str | None]
) -> MovedFile:
    """Return a file (at the pin, with the patch, now) after the patch; a refusal asks the memory first."""
    try:
        return move_file(path, *texts)
    except Refused:
        old, new, now = texts
        made = memory.recall(name, path, old, new, now) if memory and old and new and now else None
        if made is None:
            raise
        return MovedFile(made, REMEMBERED)


def where(repo: Repo, old: str, new: str, path: str) -> str:
    """Return the name that a file of commit `old` has in `new`: another one only where git finds it renamed."""
    there = repo.run("cat-file", "-e", f"{new}:{path}", check=False).status == 0
    return path if there else renamed(repo, old, new, path) or path


def gone(repo: Repo, parent: str, head: str, path: str, old: str | None, new: str | None) -> str:
    """Return, in words, the files that hold now what the patch changes in a file that is gone."""
    names = holders(repo, parent, head, changed_scopes(old, new)) if path.endswith(".py") else []
    return f"; what the patch changes is in {', '.join(names)} now" if names else ""


def found_at(repo: Repo, commits: tuple[str, str], paths: tuple[str, str], old: str | None, new: str | None) -> str:
    """Return, in words, where what a patch changes stands now, if its file is gone or lacks the function."""
    if text_of(repo, commits[1], paths[1]) is None:
        return gone(repo, *commits, paths[0], old, new)
    return moved_to(repo, *commits, paths[1], changed_scopes(old, new)) if paths[1].endswith(".py") else ""


def put(repo: Repo, commit: str, head: str, texts: dict[str, str | None]) -> str:
    """Commit the files on top of `head` with the message and the date of the patch; returns the commit."""
    repo.run("read-tree", head)
    modes = git_objects.files_of(repo, head)
    entries = {}
    for path, text in texts.items():
        if text is None:
            repo.run("rm", "--quiet", "--cached", "--", path)
            continue
        blob = repo.text("hash-object", "-w", "--stdin", "--no-filters", stdin=text.encode())
        entries[path] = Entry(modes[path].mode if path in modes else "100644", blob)
    git_objects.stage(repo, entries)
    message, date = repo.text("log", "-1", "--format=%B", commit), repo.text("log", "-1", "--format=%aI", commit)
    return git_objects.commit(repo.with_env(GIT_AUTHOR_DATE=date), message, head)


def text_of(repo: Repo, commit: str, path: str) -> str | None:
    """Return a file of a commit, or None where it has none."""
    done = repo.run("cat-file", "blob", f"{commit}:{path}", check=False)
    return done.out.decode("utf-8", "surrogateescape") if done.status == 0 else None
