# SPDX-License-Identifier: AGPL-3.0-or-later
"""Is a fork what its pin, its series and its drop-ins make? Made in a scratch store and compared byte for byte."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from prunekit import git_objects
from prunekit.errors import DriftError
from prunekit.fork import repository as fork
from prunekit.fork.compose import Composed, compose, compose_moved
from prunekit.fork.reading import reading
from prunekit.git import GitError, Repo
from prunekit.kit import Kit
from prunekit.upstream.manifest import Entry, blob_id
from prunekit.upstream.pins import Upstream


@dataclass(frozen=True)
class Drift:
    """A file that differs; `what` is "modified", "missing", "added" (by a commit), "mode", or "outdated".

    Outdated: as setup made it, and the kit makes something else by now.
    """

    path: str
    what: str


def expected(
    directory: Path, kit: Kit, upstream: Upstream, record: fork.Record
) -> tuple[Composed, dict[str, Entry]] | None:
    """Return what the kit makes of a fork's version, and its files; None where the fork does not hold the pin's files.

    Writes nothing into the fork.
    """
    version = record.version(upstream)
    with _scratch(directory, version) as repo:
        try:
            for tree in {upstream.tree, version.tree}:
                repo.run("read-tree", tree)
            repo.run("read-tree", version.tree)
            root = git_objects.commit(repo, fork.root_message(version))
        except GitError:
            return None
        if record.at is None:
            composed = compose(repo, kit, upstream, root, lambda _: None)
        else:
            base = record.root if record.into else None
            composed, _ = compose_moved(repo, kit, upstream, version, lambda _: None, base)
        return composed, git_objects.files_of(repo, composed.head)


def drift(directory: Path, kit: Kit, upstream: Upstream, record: fork.Record) -> list[Drift]:
    """Return every file of the fork that is not what the kit makes; untracked files are the user's own and never count.

    In a clone of the user's own only the files that setup changed or added are looked at.

    Raises DriftError where the fork does not hold the pin's files at all.
    """
    try:
        made = expected(directory, kit, upstream, record)
        with reading(directory) as repo:
            at_setup = git_objects.files_of(repo, record.head)
            own = git_objects.files_of(repo, "HEAD")
            before = git_objects.files_of(repo, record.root) if record.into else {}
    except GitError as error:
        raise DriftError(f"git cannot read {directory} ({error}); {_anew(record)}") from error
    if made is None:
        pin = f"{upstream.name} at {upstream.short}, the kit's pin"
        raise DriftError(f"{directory} does not hold {pin}; {_anew(record)}")
    paths = own.keys() | made[1].keys()
    if record.into:
        sides = (made[1], at_setup)
        paths = {path for side in sides for path in side.keys() | before.keys() if side.get(path) != before.get(path)}
    found = [_look(directory, path, made[1].get(path), at_setup.get(path)) for path in paths]
    return sorted((item for item in found if item.what), key=lambda item: item.path)


def _anew(record: fork.Record) -> str:
    """Return what sets a fork up again."""
    if record.into:
        return (
            "`prunekit setup TARGET --into DIR --remove` takes prunekit out, and without --remove it puts it in again"
        )
    return "`prunekit setup TARGET DIR --force` sets it up again and keeps the old one beside it"


def _look(directory: Path, path: str, entry: Entry | None, at_setup: Entry | None) -> Drift:
    """Compare one file with what the kit makes now and with what it made at setup."""
    wrong = "added" if entry is None else _compare(directory / path, entry)
    if wrong and entry != at_setup and not (at_setup and _compare(directory / path, at_setup)):
        there = at_setup is not None or not (directory / path).exists()
        wrong = "outdated" if there else wrong
    return Drift(path, wrong)


def _compare(path: Path, entry: Entry) -> str:
    """Return what is wrong with one file, or an empty string."""
    if path.is_symlink() or not path.is_file():
        return "modified" if path.is_symlink() or path.exists() else "missing"
    if blob_id(path.read_bytes()) != entry.blob:
        return "modified"
    return "" if bool(path.stat().st_mode & 0o100) == (entry.mode == "100755") else "mode"


@contextmanager
def _scratch(directory: Path, upstream: Upstream) -> Iterator[Repo]:
    """Yield the fork's objects with an empty index; new objects go into a temporary folder."""
    with reading(directory) as repo:
        yield fork.dated(repo.with_env(GIT_INDEX_FILE=str(repo.folder / "index")), upstream)
