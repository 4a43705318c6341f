# SPDX-License-Identifier: AGPL-3.0-or-later
"""`prunekit setup`: pin, source, fork, series, drop-ins, verify; then one rename makes the fork appear."""

from __future__ import annotations

import os
import shlex
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from prunekit.atomic import claimed, free_name
from prunekit.console import Console
from prunekit.errors import DiskFull, DriftError, UserError, from_os_error
from prunekit.fork import repository as fork
from prunekit.fork.at import Origin, find_version, is_pin, known_of, need_version, record_of, unpinned
from prunekit.fork.compose import compose_moved
from prunekit.fork.dropins import commit_dropins
from prunekit.fork.local_changes import keep_as_branch
from prunekit.fork.occupied import occupant
from prunekit.fork.pin_commit import record_commit
from prunekit.fork.verify import drift
from prunekit.git import GitError, Repo, need_git
from prunekit.kit import Kit
from prunekit.patches.series import read_series, replay
from prunekit.upstream.fetch import Fetched, From, fetch_said
from prunekit.upstream.manifest import Entry, read_manifest
from prunekit.upstream.pins import Target, read_pins

_ROOM = 10 * 10**6  # bytes; a step of setup that fails with less than this left has most likely failed for it


@dataclass(frozen=True)
class Wish:
    """What the user asked for."""

    target: str
    directory: Path
    source: str = "auto"
    mirror: str | None = None
    force: bool = False
    at: str | None = None


@dataclass(frozen=True)
class Outcome:
    """What setup did: "created" or "already set up"; `backup` is where --force put the old fork."""

    status: str
    directory: Path
    target: Target
    record: fork.Record
    fetched_bytes: int = 0
    backup: Path | None = None
    not_pinned: str = ""


def set_up(kit: Kit, wish: Wish, console: Console) -> Outcome:
    """Make the fork, or find that it is there already.

    Raises UserError, PatchConflict or DriftError; whatever happens, DIR is whole, as it was, or absent.
    """
    try:
        target = read_pins(kit.pins).target(wish.target)
        _need_outside(wish.directory)
        with console.step("pin") as step:
            need_git()
            manifest = read_manifest(kit.manifests / f"{target.upstream.name}.txt", target.upstream.tree)
            upstream = target.upstream
            at = None if wish.at is None or is_pin(upstream, wish.at) else wish.at
            if at is not None:
                need_version(upstream, at, wish.source)
            step.result = f"{upstream.name} {upstream.release}, {upstream.short}, {len(manifest)} files"
        with claimed(wish.directory) as staging, _disk_watched(wish.directory):
            record = occupant(kit, target, wish.directory, at, wish.force, console)
            if record is not None:
                return Outcome("already set up", wish.directory, target, record)
            return _create(kit, target, manifest, replace(wish, at=at), staging, console)
    except OSError as error:
        raise from_os_error(error, wish.directory) or error from error


def _need_outside(directory: Path) -> None:
    """Raise UserError for a folder within a fork: the command was typed again, after `cd` into what it had made."""
    for above in directory.parents:
        if (above / fork.RECORD).is_file():
            raise UserError(
                f"{above} is a fork already, and {directory} lies within it: nothing was set up. Go on in the fork, or "
                f"make another beside it: cd {shlex.quote(str(above.parent))}"
            )


@contextmanager
def _disk_watched(directory: Path) -> Iterator[None]:
    """Name a full disk as the reason, while the half-made fork still fills it: git does not always say so."""
    try:
        yield
    except DiskFull:
        raise DiskFull(directory) from None
    except GitError as error:
        if shutil.disk_usage(directory.parent).free < _ROOM:
            raise DiskFull(directory) from error
        raise


def _create(
    kit: Kit, target: Target, manifest: dict[str, Entry], wish: Wish, staging: Path, console: Console
) -> Outcome:
    """Build the fork in the staging folder and put it in its place."""
    upstream = target.upstream
    fetched = fetch_said(upstream, manifest, From(wish.source, wish.mirror), staging, console)
    said = ""
    if wish.at is None:
        repo, record = _build(kit, target, manifest, fetched, staging / "fork", console)
    else:
        repo, record, said = _build_at(kit, target, manifest, fetched, wish, staging, console)
    with console.step("verify") as step:
        fork.finish(repo, record)
        wrong = drift(repo.folder, kit, upstream, record)
        if wrong:
            raise DriftError(f"the new fork is not what the kit makes: {wrong[0].path}; nothing was set up, try again")
        step.result = f"tree {record.tree[:12]}"
    backup = _put(wish, repo, console)
    record_commit(kit, upstream, fetched, wish.mirror, console)
    return Outcome("created", wish.directory, target, record, fetched.size, backup, said)


def _build(
    kit: Kit, target: Target, manifest: dict[str, Entry], fetched: Fetched, folder: Path, console: Console
) -> tuple[Repo, fork.Record]:
    """Make the commits: upstream at its pin, the series, the drop-ins; returns the repository and its record."""
    upstream = target.upstream
    with console.step("fork") as step:
        repo, root = fork.start(folder, fetched.folder, manifest, upstream)
        step.result = f"root commit {root[:12]}"
    with console.step("series") as step:
        patches = read_series(kit, upstream)
        head = replay(repo, patches, root, step.report)
        step.result = f"{len(patches)} patches"
    with console.step("drop-ins") as step:
        head, count = commit_dropins(repo, kit, upstream, head)
        step.result = f"{count} files"
    return repo, _record(repo, target, fetched, root, head)


def _build_at(
    kit: Kit,
    target: Target,
    manifest: dict[str, Entry],
    fetched: Fetched,
    wish: Wish,
    staging: Path,
    console: Console,
) -> tuple[Repo, fork.Record, str]:
    """Make the fork at another version than the pin; returns repository, record, and what is not pinned."""
    pin, at = target.upstream, str(wish.at)
    with console.step("version") as step:
        origin = Origin(wish.source, wish.mirror, fetched)
        found = find_version(pin, manifest, at, origin, staging / "at", step.report)
        new = found.upstream
        step.result = f"{new.name} {new.release}, {new.short}, {len(found.manifest)} blob ids recorded"
    with console.step("fork") as step:
        repo, root = fork.start(staging / "fork", found.folder, found.manifest, new)
        fork.keep_pin(repo, fetched.folder, manifest, pin)
        step.result = f"root commit {root[:12]}"
    with console.step("series") as step:
        made, moves = compose_moved(repo, kit, pin, new, step.report)
        step.result = ", ".join(f"{move.name[:4]} {move.verdict}" for move in moves) or "no patches"
    how = "sdist" if new.sdist else "git"
    names = (target.name, pin.name, new.release, new.commit, how)
    own = record_of(found, at, known_of(kit, pin, new.release))
    return repo, fork.Record(*names, root, made.head, made.tree, own), unpinned(found)


def _record(repo: Repo, target: Target, fetched: Fetched, root: str, head: str) -> fork.Record:
    """Return what is to be remembered about the new fork."""
    upstream, tree = target.upstream, repo.text("rev-parse", f"{head}^{{tree}}")
    names = (target.name, upstream.name, upstream.release, fetched.commit, fetched.how)
    return fork.Record(*names, root, head, tree)


def _put(wish: Wish, repo: Repo, console: Console) -> Path | None:
    """Move the finished fork into its place, an old one aside first; returns where the old one is."""
    directory, backup = wish.directory, None
    if fork.read_record(directory) is not None:
        backup = free_name(directory)
        branch = keep_as_branch(directory, repo, backup.name.rpartition(".")[2])
        directory.rename(backup)
        console.say(
            f"the old fork is whole in {backup}" + (f", its code also on the branch {branch}" if branch else "")
        )
    os.replace(repo.folder, directory)
    return backup
