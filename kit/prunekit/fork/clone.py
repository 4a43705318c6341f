# SPDX-License-Identifier: AGPL-3.0-or-later
"""A git clone of the user's own: what it holds, and how its files, index and HEAD go from one commit to another.

It is read as a fork is (reading.py), and its files are written here, byte for byte, so that no filter and no hook of
the clone is run. Only objects and refs go through git in the clone itself, as its user's own git.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from prunekit import git_objects
from prunekit.errors import UserError, need_plain
from prunekit.fork.at import is_too_old, version_in
from prunekit.fork.reading import PLAIN_DIFF, foreign_owner, head_ref, reading
from prunekit.git import GitError, Repo
from prunekit.patches.canonical import changed_files
from prunekit.patches.patch_file import read_hunks
from prunekit.upstream.manifest import Entry, blob_id
from prunekit.upstream.pins import Upstream

_AT_WORK = ("MERGE_HEAD", "CHERRY_PICK_HEAD", "REVERT_HEAD", "rebase-merge", "rebase-apply", "sequencer")
_SHOWN = 3


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
    """Return the clone's repository with its user's own git configuration: who may work there is said there."""
    return Repo(directory, fetching=True)


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


def need_clean(directory: Path, old: str, new: str, index: bool = True) -> None:
    """Raise UserError where going from commit `old` to `new` could lose something: a change that no commit holds.

    Files that are as in `new` already are no obstacle: an earlier run was killed. `index`: what is staged counts, too.
    """
    with reading(directory) as repo:
        dirty = {
            path
            for words in (("diff",), ("diff", "--cached"))[: 1 + index]
            for path in repo.text(*words, "--name-only", *PLAIN_DIFF, "-z", old, "--").split("\0")
            if path
        }
        wanted = _changes(repo, old, new)
    lost = sorted(path for path in dirty if path not in wanted or not _is(directory / path, wanted[path][1]))
    if lost:
        more = f" and {len(lost) - _SHOWN} more" if len(lost) > _SHOWN else ""
        raise UserError(
            f"{directory} has changes that no commit holds ({', '.join(lost[:_SHOWN])}{more}): commit or stash them"
        )
    for path, (before, after) in wanted.items():
        _need_room(directory, path, before, after)


def _need_room(directory: Path, path: str, before: Entry | None, after: Entry | None) -> None:
    """Raise UserError where an untracked file, or a link in its way, stands where a file is to be put."""
    linked = [part for part in Path(path).parents if (directory / part).is_symlink()]
    if linked:
        raise UserError(f"{directory / linked[0]} is a link, and {path} belongs below it: move it away first")
    place = directory / path
    if before is None and os.path.lexists(place) and not _is(place, after):
        raise UserError(f"{place} is in the way of a file of prunekit's: move or rename it first")


def switch(directory: Path, old: str, new: str, ref: str) -> None:
    """Bring files, index and HEAD of a clone from commit `old` to `new`, which `ref` names then ("": no branch).

    Each file is whole at any time; a run that was killed is finished by another one. Raises UserError (need_clean).
    """
    need_clean(directory, old, new)
    put_files(directory, old, new)
    put_index(directory, "-i", "-m", old, new)
    git = own_git(directory)
    if ref:
        git.run("symbolic-ref", "-m", "prunekit setup", "HEAD", ref)
    else:
        git.run("update-ref", "--no-deref", "-m", "prunekit setup", "HEAD", new)


def put_files(directory: Path, old: str, new: str) -> None:
    """Write the files that differ between two commits as the second has them."""
    with reading(directory) as repo:
        for path, (_, entry) in _changes(repo, old, new).items():
            _put(directory, path, None if entry is None else _content(repo, entry), entry)


def put_index(directory: Path, *words: str) -> None:
    """Make the index what `git read-tree WORDS` makes of it."""
    with reading(directory) as repo:
        repo.run("read-tree", *words)
        repo.run("update-index", "-q", "--refresh", check=False)
        _put_index(directory, (Path(repo.env["GIT_DIR"]) / "index").read_bytes())


def _changes(repo: Repo, old: str, new: str) -> dict[str, tuple[Entry | None, Entry | None]]:
    """Return the files that differ between two commits: path -> (before, after)."""
    sides = [git_objects.files_of(repo, commit) for commit in (old, new)]
    return {path: (sides[0].get(path), sides[1].get(path)) for path in changed_files(repo, old, new)}


def _content(repo: Repo, entry: Entry) -> bytes:
    """Return a file's bytes."""
    return repo.run("cat-file", "blob", entry.blob).out


def _is(place: Path, entry: Entry | None) -> bool:
    """Return whether a file is as an entry says; None: absent."""
    if entry is None or not os.path.lexists(place):
        return entry is None and not os.path.lexists(place)
    return place.is_file() and not place.is_symlink() and blob_id(place.read_bytes()) == entry.blob


def _put(directory: Path, path: str, content: bytes | None, entry: Entry | None) -> None:
    """Write a file whole, or remove it with the folders that are empty then."""
    place = directory / path
    if content is None or entry is None:
        place.unlink(missing_ok=True)
        _remove_empty(directory, place.parent)
        return
    place.parent.mkdir(parents=True, exist_ok=True)
    fresh = place.with_name(f".{place.name}.prunekit-new")
    fresh.write_bytes(content)
    fresh.chmod(fresh.stat().st_mode | (0o111 if entry.mode == "100755" else 0))
    fresh.replace(place)


def _remove_empty(directory: Path, folder: Path) -> None:
    """Remove a folder that holds nothing but Python's caches, and so those above it."""
    while folder != directory and folder.is_dir():
        cache = folder / "__pycache__"
        with suppress(OSError):
            if {path.name for path in folder.iterdir()} <= {"__pycache__"}:
                for file in cache.glob("*.pyc"):
                    file.unlink()
                for empty in (cache, folder):
                    if empty.is_dir():
                        empty.rmdir()
        if folder.exists():
            return
        folder = folder.parent


def _put_index(directory: Path, content: bytes) -> None:
    """Write the index as git does: through its lock."""
    lock = directory / ".git" / "index.lock"
    try:
        handle = os.open(lock, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
    except FileExistsError:
        raise UserError(f"{lock} is there: another git is at work on {directory}; wait, then try again") from None
    with os.fdopen(handle, "wb") as file:
        file.write(content)
    lock.replace(directory / ".git" / "index")
