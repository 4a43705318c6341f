# SPDX-License-Identifier: AGPL-3.0-or-later
"""A git clone of the user's own: whether it can be worked on, and what it holds.

It is read as a fork is (reading.py). Only objects and refs go through git in the clone itself, as its user's own git;
files and index are written by checkout.py.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from prunekit.errors import UserError, need_plain
from prunekit.fork.at import is_too_old, version_in
from prunekit.fork.reading import foreign_owner, head_ref, reading
from prunekit.git import GitError, Repo
from prunekit.patches.patch_file import read_hunks
from prunekit.upstream.pins import Upstream

_AT_WORK = ("MERGE_HEAD", "CHERRY_PICK_HEAD", "REVERT_HEAD", "rebase-merge", "rebase-apply", "sequencer")


@dataclass(frozen=True)
class Clone:
    """A clone: its last commit with date and tree, what is checked out (a ref, or that commit), upstream's version."""

    directory: Path
    head: str
    date: str
    tree: str
    was: str
    version: str


@contextmanager
def held(directory: Path) -> Iterator[None]:
    """Hold a clone for as long as it is written; raises UserError for what is none, is busy, or is somebody else's."""
    need_plain(directory)
    need_clone(directory)
    handle = os.open(directory / ".git", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    except BlockingIOError:
        raise UserError(f"another prunekit is at work on {directory}: wait for it") from None
    finally:
        os.close(handle)


def need_clone(directory: Path) -> None:
    """Raise UserError unless a folder is a git clone with files, of this user, in which nothing is half-way."""
    place = directory / ".git"
    if not directory.is_dir():
        raise UserError(f"there is no folder {directory}: name a git clone")
    if place.is_file():
        raise UserError(f"{directory} is a linked worktree or a submodule: name a clone with a .git folder")
    if not place.is_dir():
        raise UserError(f"{directory} is no git clone: name one; `prunekit setup TARGET DIR` makes a fork")
    if (foreign := foreign_owner(directory)) and own_git(directory).run("rev-parse", "--git-dir", check=False).status:
        raise UserError(foreign)
    busy = [name for name in _AT_WORK if (place / name).exists()]
    if busy:
        raise UserError(f"{directory} is in the middle of a merge, pick or rebase ({busy[0]}): end it first")
    if (place / "index.lock").exists():
        raise UserError(f"{place / 'index.lock'} is there: another git is at work, or was killed; then remove the file")


def own_git(directory: Path) -> Repo:
    """Return the clone's repository with its user's own git configuration: who may work there is said there.

    Nothing is fetched: a missing object is missing, and a "remote" may be a command line. An older git knows
    only the second variable.
    """
    return Repo(directory, env={"GIT_NO_LAZY_FETCH": "1", "GIT_ALLOW_PROTOCOL": "none"}, fetching=True)


def look(directory: Path, upstream: Upstream, others: list[Upstream], patches: dict[str, list[Path]]) -> Clone:
    """Return what a clone holds; raises UserError where it is no clone of the upstream, or of too old a release.

    `patches`: the series of each upstream, whose files tell whose clone it is.
    """
    try:
        with reading(directory) as repo:
            head, date, tree = repo.text("log", "-1", "--format=%H %cI %T").split(" ")
            paths = set(repo.text("ls-tree", "-r", "-z", "--name-only", "HEAD").split("\0"))
    except GitError as error:
        raise UserError(f"git cannot read {directory} ({error}): is there a commit?") from error
    version = version_in(directory, upstream)
    if version and is_too_old(upstream, version):
        raise UserError(
            f"{directory} is {upstream.name} {version}, which is too old: {upstream.oldest} is the first that works"
        )
    _need_upstream(directory, upstream, others, patches, paths)
    return Clone(directory, head, date, tree, head_ref(directory) or head, version)


def _need_upstream(
    directory: Path, upstream: Upstream, others: list[Upstream], patches: dict[str, list[Path]], paths: set[str]
) -> None:
    """Raise UserError unless most of the files that the series changes are there, and no other upstream fits better."""
    shares = {it.name: _share(patches[it.name], paths) for it in (upstream, *others)}
    best = max(shares, key=lambda name: shares[name])
    if shares[upstream.name] <= 0.5 or shares[best] > shares[upstream.name]:
        other = f"; it looks like one of {best}" if best != upstream.name and shares[best] > 0.5 else ""
        raise UserError(f"{directory} is no clone of {upstream.name}: its files are not there{other}")


def _share(patches: list[Path], paths: set[str]) -> float:
    """Return which share of the files that a series changes is there."""
    hunks = [hunk for patch in patches for hunk in read_hunks(patch)]
    names = {hunk.path for hunk in hunks} - {hunk.path for hunk in hunks if hunk.old_start == 0}
    return len(names & paths) / max(len(names), 1)


def bring(room: Repo, directory: Path) -> None:
    """Put the objects that a reading room has made into the clone's store, as one pack."""
    store = Path(room.env["GIT_DIR"]) / "objects"
    ids = "".join(f"{path.parent.name}{path.name}\n" for path in sorted(store.glob("??/*")))
    if ids:
        pack = room.run("pack-objects", "--quiet", "--stdout", stdin=ids.encode()).out
        own_git(directory).run("index-pack", "--stdin", stdin=pack)
