# SPDX-License-Identifier: AGPL-3.0-or-later
"""How the files, index and HEAD of a user's clone go from one commit to another.

They are written here, byte for byte, so that no filter and no hook of the clone is run; below the clone's folder only,
whatever its commits and links name.
"""

from __future__ import annotations

import os
import shlex
from contextlib import suppress
from pathlib import Path

from prunekit import git_objects
from prunekit.errors import UserError
from prunekit.fork.clone import own_git
from prunekit.fork.reading import PLAIN_DIFF, reading
from prunekit.git import Repo
from prunekit.patches.canonical import changed_files
from prunekit.upstream.manifest import Entry, blob_id, is_below

_SHOWN = 3
_LINK, _SUBMODULE = "120000", "160000"
Changes = dict[str, tuple[Entry | None, Entry | None]]  # path -> (before, after)


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
        wanted = changes(repo, old, new)
        _need_seen(repo, directory, wanted)
        there = {} if index else git_objects.files_of(repo, old)  # a file may be as it was, and not in the index
    dirty = {path for path in dirty if path not in there or not _is(directory / path, there[path])}
    lost = sorted(path for path in dirty if path not in wanted or not _is(directory / path, wanted[path][1]))
    if lost:
        raise UserError(f"{directory} has changes that no commit holds ({_named(lost)}): commit or stash them")
    gone = {path for path, (_, after) in wanted.items() if after is None}
    for path, (before, after) in wanted.items():
        _need_room(directory, path, before, after, gone)


def need_seen(directory: Path, old: str, new: str, now: str) -> None:
    """Raise UserError where a file that differs between `old` and `new` has an edit that git was told not to see.

    `now`: the commit whose files are checked out.
    """
    with reading(directory) as repo:
        there = git_objects.files_of(repo, now)
        _need_seen(repo, directory, {path: (there.get(path), None) for path in changes(repo, old, new)})


def _need_seen(repo: Repo, directory: Path, wanted: Changes) -> None:
    """Raise UserError for files marked skip-worktree or assume-unchanged that are as on neither side."""
    rows = repo.text("ls-files", "-v", "-z").split("\0")
    marked = {row[2:] for row in rows if row[:1] == "S" or row[:1].islower()}
    lost = [path for path in sorted(marked & wanted.keys()) if os.path.lexists(directory / path)]
    lost = [path for path in lost if not any(_is(directory / path, side) for side in wanted[path])]
    if lost:
        git = f"git -C {shlex.quote(str(directory))} update-index"
        files = shlex.join(lost)
        raise UserError(
            f"{directory} has edits that git was told not to see ({_named(lost)}): {git} --no-skip-worktree -- {files} "
            f"&& {git} --no-assume-unchanged -- {files}, then commit or stash them"
        )


def _named(paths: list[str]) -> str:
    """Return the first of some paths, and how many more there are."""
    more = f" and {len(paths) - _SHOWN} more" if len(paths) > _SHOWN else ""
    return f"{', '.join(paths[:_SHOWN])}{more}"


def _need_room(directory: Path, path: str, before: Entry | None, after: Entry | None, gone: set[str]) -> None:
    """Raise UserError where something that is not in `gone`, which goes first, stands where a file is to be put."""
    if after is None:
        return
    place = directory / path
    for part in (it for it in Path(path).parents if it.name and it.as_posix() not in gone):
        if (directory / part).is_symlink():
            raise UserError(f"{directory / part} is a link, and {path} belongs below it: move it away first")
        if os.path.lexists(directory / part) and not (directory / part).is_dir():
            raise UserError(f"{directory / part} is a file, and {path} belongs below it: move or rename it first")
    if place.is_dir() and not place.is_symlink() and after.mode != _SUBMODULE:
        inside = {it.relative_to(directory).as_posix() for it in place.rglob("*") if it.is_symlink() or it.is_file()}
        in_way = any(it not in gone and "__pycache__" not in it for it in inside)
    else:
        in_way = before is None and os.path.lexists(place) and not _is(place, after)
    if in_way:
        raise UserError(f"{place} is in the way of a file of prunekit's: move or rename it first")


def need_folders(repo: Repo, old: str, new: str) -> None:
    """Raise UserError where a file of `old` has had to go, because `new` has files below its name."""
    wanted = changes(repo, old, new)
    gone = {path for path, (_, after) in wanted.items() if after is None}
    for path in (path for path in wanted if path not in gone):
        if taken := gone & {part.as_posix() for part in Path(path).parents}:
            raise UserError(f"{min(taken)} is a file, and {path} belongs below it: rename it, commit, then again")


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
        _put_all(repo, directory, {path: after for path, (_, after) in changes(repo, old, new).items()})


def put_back(directory: Path, old: str, new: str) -> list[str]:
    """Bring what is as in `new`, of files and index, back to `old`; returns the files that are as in neither."""
    with reading(directory) as repo:
        wanted = changes(repo, old, new)
        own = [path for path, sides in wanted.items() if not any(_is(directory / path, side) for side in sides)]
        back = {path: old for path, (old, new) in wanted.items() if path not in own and not _is(directory / path, old)}
        _put_all(repo, directory, back)
        rows = [row.split("\t", 1) for row in repo.text("ls-files", "-s", "-z").split("\0") if row]
        staged = {path: Entry(*head.split()[:2]) for head, path in rows}
        unstaged = {path: old for path, (old, new) in wanted.items() if staged.get(path) == new}
        if unstaged:
            absent = Entry("0", "0" * 40)
            git_objects.stage(repo, {path: entry or absent for path, entry in unstaged.items()})
            _bring_index(repo, directory)
    return sorted(own)


def put_index(directory: Path, *words: str) -> None:
    """Make the index what `git read-tree WORDS` makes of it."""
    with reading(directory) as repo:
        repo.run("read-tree", *words)
        _bring_index(repo, directory)


def _bring_index(repo: Repo, directory: Path) -> None:
    """Put the reading room's index into the clone: as one file, whatever it was split into."""
    repo.run("update-index", "--no-split-index")
    repo.run("update-index", "-q", "--refresh", check=False)
    _put_index(directory, (Path(repo.env["GIT_DIR"]) / "index").read_bytes())


def changes(repo: Repo, old: str, new: str) -> Changes:
    """Return the files that differ between two commits; raises UserError for one that is no place in a clone."""
    before, after = (git_objects.files_of(repo, commit) for commit in (old, new))
    found = {path: (before.get(path), after.get(path)) for path in changed_files(repo, old, new)}
    for path in found:
        if not is_below(path) or (path in after and any(part.as_posix() in after for part in Path(path).parents)):
            raise UserError(f"a commit ({new[:12]}) names {path!r}, which is no place for a file: leave it out")
    return found


def _is(place: Path, entry: Entry | None) -> bool:
    """Return whether a file is as an entry says; None: absent."""
    if entry is None or not os.path.lexists(place):
        return entry is None and not os.path.lexists(place)
    if entry.mode == _SUBMODULE:
        return place.is_dir() and not place.is_symlink()
    if place.is_symlink():
        return entry.mode == _LINK and blob_id(os.fsencode(os.readlink(place))) == entry.blob
    return place.is_file() and entry.mode != _LINK and blob_id(place.read_bytes()) == entry.blob


def _put_all(repo: Repo, directory: Path, entries: dict[str, Entry | None]) -> None:
    """Write files; those that go (None) go first, for a folder may come in the place of one."""
    for path in sorted(entries, key=lambda it: entries[it] is not None):
        entry = entries[path]
        has_bytes = entry is not None and entry.mode != _SUBMODULE
        content = repo.run("cat-file", "blob", entry.blob).out if entry is not None and has_bytes else None
        _put(directory, path, content, entry)


def _put(directory: Path, path: str, content: bytes | None, entry: Entry | None) -> None:
    """Write a file whole, or remove it with the folders that are empty then; never through a link."""
    place = directory / path
    if any((directory / part).is_symlink() for part in Path(path).parents if part.name):
        if entry is None:
            return
        raise UserError(f"{place.parent} is a link: move it away first")
    if entry is None:
        _remove(place)
        _remove_empty(directory, place.parent)
        return
    place.parent.mkdir(parents=True, exist_ok=True)
    if content is None:  # a submodule: git puts an empty folder there, too
        place.mkdir(exist_ok=True)
        return
    fresh = place.with_name(f".{place.name}.prunekit-new")
    _write_new(fresh, content, entry)
    if place.is_dir() and not place.is_symlink():
        _remove_empty(directory, place)
        place.parent.mkdir(parents=True, exist_ok=True)
    fresh.replace(place)


def _write_new(fresh: Path, content: bytes, entry: Entry) -> None:
    """Write a file or link that is new: what a killed run or somebody else has left there goes."""
    fresh.unlink(missing_ok=True)
    if entry.mode == _LINK:
        os.symlink(os.fsdecode(content), fresh)
        return
    with open(fresh, "xb") as file:
        file.write(content)
    fresh.chmod(fresh.stat().st_mode | (0o111 if entry.mode == "100755" else 0))


def _remove(place: Path) -> None:
    """Remove a file or link; of a submodule, the folder where it is empty."""
    if place.is_dir() and not place.is_symlink():
        with suppress(OSError):
            place.rmdir()
    else:
        with suppress(FileNotFoundError, NotADirectoryError):
            place.unlink()


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
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
        lock.replace(directory / ".git" / "index")
    except BaseException:
        lock.unlink(missing_ok=True)
        raise
