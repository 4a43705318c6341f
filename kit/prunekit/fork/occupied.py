# SPDX-License-Identifier: AGPL-3.0-or-later
"""What DIR holds before setup: nothing, this very fork, another one, or something that is not the tool's business."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

from prunekit.atomic import free_name
from prunekit.console import Console
from prunekit.errors import PatchConflict, UserError
from prunekit.fork import repository as fork
from prunekit.fork.local_changes import LocalWork, local_work
from prunekit.fork.verify import expected
from prunekit.git import GitError
from prunekit.kit import Kit
from prunekit.upstream.pins import Target, Upstream


def occupant(
    kit: Kit, target: Target, directory: Path, at: str | None, force: bool, console: Console
) -> fork.Record | None:
    """Return the record of the fork that setup would make, where it is there already; None where there is room for it.

    `at`: the version that was asked for, if it is another than the pin.

    With `force` a fork makes room (it is moved aside later), and what is in it is said. Raises UserError for the rest.
    """
    record = _fork_in(directory)
    if record is None:
        return None
    work, wrong = _judge(kit, target.upstream, directory, record, at)
    if force:
        _announce(directory, wrong, work, console)
        return None
    if wrong:
        raise UserError(f"{directory} {wrong}: --force moves it to {free_name(directory)} and sets up again")
    if work:
        console.warn(f"{directory} has {work.describe()}: kept as they are; `prunekit diff {directory}` shows them")
    return record


def _fork_in(directory: Path) -> fork.Record | None:
    """Return the record of the fork in DIR, None for an absent or empty DIR; raises UserError for anything else."""
    if not directory.exists():
        return None
    if not directory.is_dir():
        raise UserError(f"{directory} is a file: name another DIR")
    record = fork.read_record(directory)
    if record is not None and record.into:
        raise UserError(f"{directory} is a clone of your own that has prunekit's commits: name it with --into DIR")
    if record is None and any(directory.iterdir()):
        raise UserError(f"{directory} is not empty and no fork of prunekit: name another DIR, or move it away")
    return record


def _judge(kit: Kit, upstream: Upstream, directory: Path, record: fork.Record, at: str | None) -> tuple[LocalWork, str]:
    """Return the local work in a fork, and why it is not the fork that setup would make ("" where it is)."""
    try:
        work = local_work(directory, record)
        if record.upstream == upstream.name and not is_version(record, at):
            return work, f"is a fork of {record.upstream} {record.release} ({_asked(record)}; {work.describe()})"
        made = expected(directory, kit, upstream, record) if record.upstream == upstream.name else None
    except PatchConflict:
        made = None
    except GitError as error:
        return LocalWork((), (), ()), f"is a fork with a damaged repository ({error})"
    if made is None or made[0].head != record.head:
        origin = f"{record.upstream} {record.release}; {work.describe()}; `prunekit upgrade` brings it up to date"
        return work, f"was made from another pin or version of the kit ({origin})"
    return work, ""


def is_version(record: fork.Record, at: str | None) -> bool:
    """Return whether a fork is of the version that `at` names; without it, of the kit's pin."""
    if record.at is None or at is None:
        return record.at is None and at is None
    names = (record.at.asked, record.release, f"v{record.release}", record.at.tag)
    return at in names or (is_commit(at) and record.commit.startswith(at))


def is_commit(text: str) -> bool:
    """Return whether a text can be a commit id, or the start of one."""
    return re.fullmatch(r"[0-9a-f]{7,40}", text) is not None


def _asked(record: fork.Record) -> str:
    """Return how a fork's version was chosen."""
    return f"--at {shlex.quote(record.at.asked)}" if record.at else "the kit's pin"


def _announce(directory: Path, wrong: str, work: LocalWork, console: Console) -> None:
    """Say what --force is going to move aside."""
    state = wrong or f"has {work.describe()}"
    console.warn(f"--force: {directory} {state}; it moves as a whole to {free_name(directory)}, nothing is deleted")
    names = (*work.commits, *work.changed)
    for name in names[:10]:
        console.say(f"  {name}")
    if len(names) > 10:
        console.say(f"  and {len(names) - 10} more")
