# SPDX-License-Identifier: AGPL-3.0-or-later
"""A rebase that has stopped: both sides put into the folder as git itself would, and what the user made of them."""

from __future__ import annotations

from collections.abc import Mapping

from prunekit import git_objects
from prunekit.errors import UserError
from prunekit.git import Repo
from prunekit.maintain.rebase_state import BRANCH, State
from prunekit.porting.file import merge_text
from prunekit.porting.series import Move, text_of
from prunekit.upstream.manifest import Entry

_MARKS = ("<<<<<<< ", ">>>>>>> ")


def show_conflict(repo: Repo, parent: str, commit: str, move: Move, texts: Mapping[str, str | None], head: str) -> None:
    """Stage what has its place; write the others with conflict marks, unmerged in the index, for `git add` to settle.

    Where 3-way finds a place that the anchors do not confirm, the file holds that: it is for a person to look at.
    """
    modes = git_objects.files_of(repo, commit)
    for path, text in texts.items():
        _stage(repo, path, text, modes)
    for path, was in ((it.path, it.was or it.path) for it in move.conflicts):
        old, new, now = (text_of(repo, *side) for side in ((parent, was), (commit, was), (head, path)))
        sides = [(stage, text) for stage, text in ((1, old), (2, now), (3, new)) if text is not None]
        rows = [f"100644 {_blob(repo, text)} {stage}\t{path}\0" for stage, text in sides]
        repo.run("update-index", "-z", "--index-info", stdin=f"0 {'0' * 40}\t{path}\0{''.join(rows)}".encode())
        merged = merge_text(old, new, now)[0] if old and new and now else new or now or ""
        file = repo.folder / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(merged.encode("utf-8", "surrogateescape"))


def resolved(repo: Repo, state: State, number: int) -> str:
    """Return the commit of the patch as the user has fixed it, with the patch's own message and date.

    Raises UserError where files are still unmerged, hold conflict marks, or are changed and not added.
    """
    repo.run("update-index", "-q", "--refresh", check=False)
    head = repo.text("rev-parse", BRANCH)
    unmerged = sorted({row.split("\t")[1] for row in repo.text("ls-files", "--unmerged").splitlines()})
    if unmerged:
        raise UserError(f"{unmerged[0]} is still unmerged: resolve it, then: git -C {repo.folder} add {unmerged[0]}")
    changed = repo.text("diff-files", "--name-only").splitlines()
    if changed:
        raise UserError(f"{changed[0]} has changes that are not added: git -C {repo.folder} add {changed[0]}")
    if head != state.head and repo.text("rev-parse", f"{head}^") != state.head:
        raise UserError(f"the branch in {repo.folder} must be one commit ahead of {state.head[:12]}, or not at all")
    tree = repo.text("write-tree")
    if tree == repo.text("rev-parse", f"{state.head}^{{tree}}"):
        raise UserError(f"nothing is left of {state.names[number]}: add what it is to change, or leave it out: --skip")
    _refuse_marks(repo, state.head, tree)
    date = repo.text("log", "-1", "--format=%aI", state.commits[number])
    message = repo.text("log", "-1", "--format=%B", head if head != state.head else state.commits[number])
    dated = repo.with_env(GIT_AUTHOR_DATE=date)
    return dated.text("commit-tree", tree, "-p", state.head, "-F", "-", stdin=f"{message.strip()}\n".encode())


def _refuse_marks(repo: Repo, head: str, tree: str) -> None:
    """Raise UserError for a file that still holds conflict marks."""
    for path in repo.text("diff-tree", "-r", "--name-only", "--no-renames", head, tree).splitlines():
        lines = (text_of(repo, tree, path) or "").splitlines()
        number = next((n for n, line in enumerate(lines, start=1) if line.startswith(_MARKS)), 0)
        if number:
            raise UserError(f"{path}:{number} still holds a conflict mark: resolve it and add it again")


def _stage(repo: Repo, path: str, text: str | None, modes: Mapping[str, Entry]) -> None:
    """Put one file into the index and the folder."""
    if text is None:
        repo.run("rm", "--quiet", "--force", "--", path)
        return
    mode = modes[path].mode if path in modes else "100644"
    git_objects.stage(repo, {path: Entry(mode, _blob(repo, text))})
    repo.run("checkout-index", "--force", "--", path)


def _blob(repo: Repo, text: str) -> str:
    """Write a text into the object store; returns its id."""
    return repo.text("hash-object", "-w", "--stdin", "--no-filters", stdin=text.encode("utf-8", "surrogateescape"))
