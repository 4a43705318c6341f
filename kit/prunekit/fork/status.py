# SPDX-License-Identifier: AGPL-3.0-or-later
"""Forks that are there already: finding them, their state, and what differs in them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from prunekit.errors import DriftError, PatchConflict, UserError, nearest
from prunekit.fork import repository as fork
from prunekit.fork.into import elsewhere
from prunekit.fork.local_changes import LocalWork, holds, local_work
from prunekit.fork.reading import PLAIN_DIFF, reading
from prunekit.fork.verify import Drift, drift, expected
from prunekit.git import GitError
from prunekit.kit import Kit
from prunekit.upstream.pins import Upstream, read_pins


@dataclass(frozen=True)
class Fork:
    """A fork on disk, what setup remembers about it, and the kit's pin for its upstream."""

    directory: Path
    record: fork.Record
    upstream: Upstream


@dataclass(frozen=True)
class Status:
    """A fork's state: "as set up", "changed", "outdated" (the kit makes another by now) or "damaged".

    "not checked out": a clone of the user's own, on another branch than the one that setup made.
    """

    fork: Fork
    state: str
    work: LocalWork


@dataclass(frozen=True)
class Verdict:
    """What `verify` found in one fork; `message` says it where the files could not even be compared."""

    fork: Fork
    drift: tuple[Drift, ...]
    message: str

    @property
    def good(self) -> bool:
        """Return whether the fork is exactly what the kit makes."""
        return not self.drift and not self.message


class NoFork(UserError):
    """No folder was named, and there is no fork where one would be looked for."""


def find_forks(kit: Kit, directory: Path | None) -> list[Fork]:
    """Return the fork in `directory`; without one, that of the current folder, or all below forks/.

    Raises NoFork where there is none, UserError where one cannot be read.
    """
    if directory is not None:
        return [_open(kit, directory.expanduser().resolve())]
    here = next((path for path in (Path.cwd(), *Path.cwd().parents) if (path / fork.RECORD).is_file()), None)
    folders = [here] if here else sorted(path.parent.parent for path in Path.cwd().glob(f"forks/*/{fork.RECORD}"))
    if not folders:
        raise NoFork("there is no fork here nor in forks/: name its folder, or make one with `prunekit setup TARGET`")
    return [_open(kit, folder) for folder in folders]


def status_of(kit: Kit, it: Fork) -> Status:
    """Return a fork's state; reads only."""
    try:
        if it.record.into and not holds(it.directory, it.record):
            return Status(it, "not checked out", LocalWork((), (), ()))
        work = local_work(it.directory, it.record)
        made = expected(it.directory, kit, it.upstream, it.record)
    except PatchConflict:  # the kit's series of today has no place in the version that `--at` named
        return Status(it, "outdated", work)
    except GitError:
        return Status(it, "damaged", LocalWork((), (), ()))
    if made is None or made[0].head != it.record.head:
        return Status(it, "outdated", work)
    return Status(it, "changed" if work else "as set up", work)


def verdict_on(kit: Kit, it: Fork) -> Verdict:
    """Compare a fork byte for byte with what the kit makes."""
    try:
        if it.record.into and not holds(it.directory, it.record):
            return Verdict(it, (), elsewhere(it.directory, it.record))
        return Verdict(it, tuple(drift(it.directory, kit, it.upstream, it.record)), "")
    except (DriftError, GitError) as error:
        return Verdict(it, (), str(error))


def diff_of(it: Fork, base: str, *options: str) -> str:
    """Return git's diff of the fork's files against "setup" or "upstream" (before the series)."""
    commit = it.record.head if base == "setup" else it.record.root
    with reading(it.directory) as repo:
        return repo.text("diff", *PLAIN_DIFF, *options, commit, "--")


def _open(kit: Kit, directory: Path) -> Fork:
    """Return the fork in a folder; raises UserError where there is none, or the kit does not know its upstream."""
    if not directory.is_dir():
        raise UserError(f"there is no folder {directory}; `prunekit setup TARGET {directory}` makes a fork there")
    record = fork.read_record(directory)
    if record is None:
        raise UserError(f"{directory} is no fork of prunekit: name one, or make one with `prunekit setup TARGET DIR`")
    upstreams = read_pins(kit.pins).upstreams
    if record.upstream not in upstreams:
        raise UserError(
            f"{directory} is of upstream '{record.upstream}', unknown here{nearest(record.upstream, upstreams)}"
        )
    return Fork(directory, record, upstreams[record.upstream])
