# SPDX-License-Identifier: AGPL-3.0-or-later
"""`prunekit upgrade DIR`: a fork, or a clone that setup put its commits on, as the kit makes it now; own work on top.

What the kit makes and the user's rebased commits are finished aside first. Then a journal is written, and files, index,
branch and record follow: a run that was killed before the journal has changed nothing, one after it is finished by the
next. What was there before stays under `refs/prunekit/before`.
"""

from __future__ import annotations

import shlex
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

from prunekit import git_objects
from prunekit.console import Console
from prunekit.errors import UserError
from prunekit.fork import journal, own_commits
from prunekit.fork import repository as fork
from prunekit.fork.checkout import need_clean, need_seen, put_files, put_index
from prunekit.fork.clone import bring, held, own_git
from prunekit.fork.compose import compose, compose_moved
from prunekit.fork.local_changes import holds
from prunekit.fork.own_commits import Plan, folder_of
from prunekit.fork.reading import head_ref, reading
from prunekit.git import Repo, need_git
from prunekit.kit import Kit
from prunekit.temporary import temporary
from prunekit.upstream.fetch import Fetched, From, fetch_said
from prunekit.upstream.manifest import read_manifest
from prunekit.upstream.pins import Upstream, read_pins

BEFORE = "refs/prunekit/before"


@dataclass(frozen=True)
class Upgraded:
    """What an upgrade did: "up to date", "upgraded" or "given up"; the releases, and how many commits were moved."""

    directory: Path
    status: str
    was: str
    now: str
    commits: int = 0
    uncommitted: bool = False


def upgrade(kit: Kit, directory: Path, origin: From, console: Console) -> Upgraded:
    """Bring a fork to what the kit makes now; raises UserError (a conflict, too), PatchConflict, GitError."""
    need_git()
    with held(directory):
        if (done := _finish(directory, console)) is not None:
            return done
        record, upstream = _known(kit, directory)
        if folder_of(directory).exists():
            ways = "--continue, or --abort" if own_commits.read_plan(directory) else "--abort, then again"
            raise UserError(f"{folder_of(directory)} is there: {_typed(directory)} {ways}")
        with reading(directory) as room:
            own_commits.need_one_state(room, directory)
        made = _made(kit, upstream, directory, record, origin, console)
        if made.head == record.head:
            return Upgraded(directory, "up to date", record.release, made.release)
        with reading(directory) as room:
            tip, work = own_commits.snapshot(room, directory)
            bring(room, directory)
        need_seen(directory, record.head, made.head, work)
        plan = Plan(tip, work, record.head, made.head)
        own_commits.begin(directory, plan, made)
        return _move(directory, plan, console)


def go_on(directory: Path, console: Console) -> Upgraded:
    """Go on after a conflict was resolved."""
    with held(directory):
        if (done := _finish(directory, console)) is not None:
            return done
        plan = own_commits.read_plan(directory)
        if plan is None:
            again = " --abort, then again" if folder_of(directory).exists() else ""
            raise UserError(f"no upgrade of {directory} has stopped: {_typed(directory)}{again}")
        return _move(directory, plan, console)


def give_up(directory: Path, console: Console) -> Upgraded:
    """Remove what a stopped upgrade has made; the fork was not touched. One that was killed as it wrote is finished."""
    with held(directory):
        if (done := _finish(directory, console)) is not None:
            console.warn(
                f"the upgrade of {directory} had been killed while it wrote, and is finished now, not given up: "
                f"{BEFORE} is what was there"
            )
            return done
        if not folder_of(directory).exists():
            raise UserError(f"no upgrade of {directory} has stopped: there is nothing to give up")
        if not (folder_of(directory) / ".git").is_dir() and any(folder_of(directory).iterdir()):
            raise UserError(f"{folder_of(directory)} is no folder of prunekit's: move it away")
        own_commits.end(directory)
        record = fork.read_record(directory)
        release = record.release if record else ""
        return Upgraded(directory, "given up", release, release)


def _typed(directory: Path) -> str:
    """Return the command that upgrades a fork, as it is typed."""
    return f"prunekit upgrade {shlex.quote(str(directory))}"


def _known(kit: Kit, directory: Path) -> tuple[fork.Record, Upstream]:
    """Return the fork's record and upstream; raises UserError where it is none, or is not checked out."""
    record = fork.read_record(directory)
    if record is None:
        raise UserError(f"{directory} is no fork of prunekit: `prunekit setup TARGET DIR` makes one")
    if not holds(directory, record):
        raise UserError(
            f"{directory} is on {head_ref(directory).removeprefix('refs/heads/') or 'a commit'}, which does not hold "
            "what setup made: git switch to the branch that does"
        )
    return record, read_pins(kit.pins).target(record.target).upstream


def _made(kit: Kit, pin: Upstream, directory: Path, record: fork.Record, origin: From, console: Console) -> fork.Record:
    """Make what the kit makes now, in the fork's store but on no branch; returns what will be remembered."""
    with ExitStack() as stack:
        room, scratch = stack.enter_context(reading(directory)), stack.enter_context(temporary())
        room = room.with_env(GIT_INDEX_FILE=str(scratch / "index"))
        fetched = _with_pin(kit, pin, room, scratch, origin, console)
        with console.step("series") as step:
            if record.at is None:
                version, root = pin, _root(room, pin)
                made = compose(fork.dated(room, pin), kit, pin, root, step.report)
            else:
                version, root = record.version(pin), record.root
                base = root if record.into else None
                made, _ = compose_moved(room, kit, pin, version, step.report, base)
            step.result = f"{made.patches} patches, {made.dropins} drop-ins on {version.release}"
        bring(room, directory)
        if record.at is not None:
            own_git(directory).run("update-ref", fork.PIN, room.text("rev-parse", fork.PIN))
    source = fetched.how if fetched else record.source
    commit = fetched.commit if fetched and record.at is None else version.commit
    own = {"release": version.release, "commit": commit, "source": source, "root": root}
    return replace(record, **own, head=made.head, tree=made.tree)  # type: ignore[arg-type]


def _with_pin(kit: Kit, pin: Upstream, room: Repo, scratch: Path, origin: From, console: Console) -> Fetched | None:
    """See to it that the room has the pin's files, under their ref; returns what was fetched for that, if anything."""
    there = room.run("cat-file", "-e", f"{pin.tree}^{{tree}}", check=False).status == 0
    if there:
        room.run("read-tree", pin.tree)
        room.run("update-ref", fork.PIN, git_objects.commit(fork.dated(room, pin), fork.root_message(pin)))
        return None
    manifest = read_manifest(kit.manifests / f"{pin.name}.txt", pin.tree)
    fetched = fetch_said(pin, manifest, origin, scratch, console)
    fork.keep_pin(room, fetched.folder, manifest, pin)
    return fetched


def _root(room: Repo, pin: Upstream) -> str:
    """Commit the pin's files, as setup does; the index holds them then."""
    room.run("read-tree", pin.tree)
    return git_objects.commit(fork.dated(room, pin), fork.root_message(pin))


def _move(directory: Path, plan: Plan, console: Console) -> Upgraded:
    """Rebase the user's work aside, then bring the fork there."""
    with console.step("own work") as step:
        head, result = own_commits.rebase(directory, plan)
        with reading(directory) as room:
            now = own_commits.snapshot(room, directory)
            count = len(room.text("rev-list", f"{plan.old}..{plan.tip}").split())
        if now != (plan.tip, plan.work):
            raise UserError(f"{directory} has changed since the upgrade began: {_typed(directory)} --abort, then again")
        own_commits.fetch_back(directory)
        need_clean(directory, plan.work, result, index=False)
        step.result = f"{count} commits" + (", and changes that no commit holds" if plan.work != plan.tip else "")
    own_git(directory).run("update-ref", BEFORE, plan.work)
    steps = journal.Journal(plan.work, result, plan.tip, head, head_ref(directory))
    journal.write(directory, steps, own_commits.read_record(directory))
    done = _finish(directory, console)
    assert done is not None
    return replace(done, commits=count, uncommitted=plan.work != plan.tip)


def _finish(directory: Path, console: Console) -> Upgraded | None:
    """Do what the journal says, from wherever a killed run has left it; None where there is no journal."""
    left = journal.read(directory)
    if left is None:
        return None
    (steps, record), before = left, fork.read_record(directory)
    with console.step("switch") as step:
        with reading(directory) as room:
            journal.need_place(directory, steps, room.text("rev-parse", "HEAD"))
        need_clean(directory, steps.work, steps.result, index=False)
        put_files(directory, steps.work, steps.result)
        put_index(directory, "--reset", steps.head)
        moved = [steps.ref] if steps.ref else ["--no-deref", "HEAD"]
        own_git(directory).run("update-ref", "-m", "prunekit upgrade", *moved, steps.head)
        fork.write_record(directory, record)
        step.result = f"{record.release}, {steps.head[:12]}"
    own_commits.end(directory)  # before the journal: a folder without one would be a stopped upgrade
    journal.remove(directory)
    return Upgraded(directory, "upgraded", before.release if before else "", record.release)
