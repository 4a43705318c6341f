# SPDX-License-Identifier: AGPL-3.0-or-later
"""`setup --into`: the series and the drop-ins as commits on a git clone of the user's own, on a branch of their own.

Nothing that is there is rewritten: the commits stand on the clone's last one, and the branch that it was on stays.
Objects first, then what is to be remembered, then the branch, then files, index and HEAD: a run that was killed is
finished by the next one.
"""

from __future__ import annotations

import shlex
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path

from prunekit.console import Console
from prunekit.errors import DriftError, PatchConflict, UserError
from prunekit.fork import repository as fork
from prunekit.fork.at import known_of
from prunekit.fork.checkout import need_clean, need_folders, switch
from prunekit.fork.clone import Clone, bring, held, look, own_git
from prunekit.fork.compose import compose_moved
from prunekit.fork.local_changes import holds, local_work
from prunekit.fork.reading import head_ref, reading
from prunekit.fork.setup import Outcome
from prunekit.fork.verify import drift, expected
from prunekit.git import Repo, need_git
from prunekit.kit import Kit
from prunekit.patches.series import read_series
from prunekit.temporary import temporary
from prunekit.upstream.fetch import Fetched, From, fetch_said
from prunekit.upstream.manifest import Manifest, read_manifest
from prunekit.upstream.pins import Pins, Target, Upstream, read_pins

BRANCH = "prunekit"


@dataclass(frozen=True)
class IntoWish:
    """What the user asked for: the target, the clone, the name of the new branch, where the pin's files come from."""

    target: str
    directory: Path
    branch: str = BRANCH
    origin: From = field(default_factory=From)


def set_up_into(kit: Kit, wish: IntoWish, console: Console) -> Outcome:
    """Put the series and the drop-ins on a new branch of a clone, or find that they are there already.

    Raises UserError, PatchConflict or DriftError; the clone is as it was then.
    """
    need_git()
    pins, directory = read_pins(kit.pins), wish.directory
    target = pins.target(wish.target)
    with held(directory):
        record = fork.read_record(directory)
        if record is not None:
            return _again(kit, target, directory, record, console)
        clone = _looked_at(kit, pins, target.upstream, wish, console)
        with ExitStack() as stack:
            room, scratch = stack.enter_context(reading(directory)), stack.enter_context(temporary())
            room = room.with_env(GIT_INDEX_FILE=str(scratch / "index"))
            manifest = read_manifest(kit.manifests / f"{target.upstream.name}.txt", target.upstream.tree)
            fetched = fetch_said(target.upstream, manifest, wish.origin, scratch, console)
            record = _composed(kit, target, clone, (fetched, manifest), room, wish, console)
            bring(room, directory)
            pin = room.text("rev-parse", fork.PIN)
        own_git(directory).run("update-ref", fork.PIN, pin)
        fork.write_record(directory, record)
        _check_out(kit, target.upstream, directory, record, console)
        return Outcome("created", directory, target, record, fetched.size)


def _looked_at(kit: Kit, pins: Pins, upstream: Upstream, wish: IntoWish, console: Console) -> Clone:
    """Return what the clone holds; raises UserError where nothing can be put there."""
    with console.step("clone") as step:
        others = [it for name, it in pins.upstreams.items() if name != upstream.name]
        patches = {it.name: read_series(kit, it) for it in (upstream, *others)}
        clone = look(wish.directory, upstream, others, patches)
        need_clean(wish.directory, clone.head, clone.head)
        _need_branch(wish)
        on = clone.was.removeprefix("refs/heads/")[:40]
        step.result = f"{upstream.name} {clone.version or ''} on {on}, {clone.head[:12]}".replace("  ", " ")
    return clone


def _need_branch(wish: IntoWish) -> None:
    """Raise UserError unless the branch can be made."""
    git = own_git(wish.directory)
    if git.run("check-ref-format", f"refs/heads/{wish.branch}", check=False).status or wish.branch.startswith("-"):
        raise UserError(f"--branch '{wish.branch}' is no name for a branch")
    there = git.text("for-each-ref", "--format=%(refname:short)", "refs/heads").split("\n")
    clash = [it for it in there if it == wish.branch or f"{it}/".startswith(f"{wish.branch}/")]
    clash += [it for it in there if wish.branch.startswith(f"{it}/")]
    if clash:
        raise UserError(f"{wish.directory} has a branch '{clash[0]}' already: name another one with --branch")


def _composed(
    kit: Kit,
    target: Target,
    clone: Clone,
    files: tuple[Fetched, Manifest],
    room: Repo,
    wish: IntoWish,
    console: Console,
) -> fork.Record:
    """Make the commits in the reading room; returns what is to be remembered. Nothing in the clone changes."""
    pin, (fetched, manifest) = target.upstream, files
    release = f"{clone.version}-{clone.head[:12]}" if clone.version else clone.head[:12]
    own = {"commit": clone.head, "release": release, "date": clone.date, "tag": None, "tree": clone.tree}
    version = replace(pin, **own, sdist=None)  # type: ignore[arg-type]
    with console.step("series") as step:
        fork.keep_pin(room, fetched.folder, manifest, pin)
        made, moves = compose_moved(room, kit, pin, version, step.report, clone.head)
        need_folders(room, clone.head, made.head)
        step.result = ", ".join(f"{move.name[:4]} {move.verdict}" for move in moves) or "no patches"
    known = known_of(kit, pin, release) if clone.version else "which release this is, its files do not say"
    at = fork.At(clone.head, clone.date, None, clone.tree, None, known)
    names = (target.name, pin.name, release, clone.head, fetched.how)
    return fork.Record(*names, clone.head, made.head, made.tree, at, fork.Into(wish.branch, clone.was))


def _check_out(kit: Kit, upstream: Upstream, directory: Path, record: fork.Record, console: Console) -> None:
    """Make the branch, bring files, index and HEAD there, and compare with what the kit makes."""
    assert record.into is not None
    ref = f"refs/heads/{record.into.branch}"
    with console.step("branch") as step:
        try:
            need_clean(directory, record.root, record.head)
        except UserError:
            if not tip_of(directory, record.into.branch):  # nothing is written yet
                forget(directory)
            raise
        own_git(directory).run("update-ref", "-m", "prunekit setup", ref, record.head)
        switch(directory, record.root, record.head, ref)
        step.result = f"{record.into.branch}, {record.head[:12]}"
    with console.step("verify") as step:
        wrong = drift(directory, kit, upstream, record)
        if wrong:
            raise DriftError(f"{directory} is not what the kit makes: {wrong[0].path}; `prunekit verify` shows it")
        step.result = f"tree {record.tree[:12]}"


def _again(kit: Kit, target: Target, directory: Path, record: fork.Record, console: Console) -> Outcome:
    """Say that the clone has been set up, or finish what a killed run has begun; raises UserError for anything else."""
    if record.into is None:
        raise UserError(f"{directory} is a fork that `prunekit setup` made: it needs no --into")
    if record.upstream != target.upstream.name:
        raise UserError(
            f"{directory} was set up as {record.target}: `{way_out(directory, record)}` takes that out first"
        )
    if not holds(directory, record):
        if not _unfinished(directory, record):
            raise UserError(elsewhere(directory, record))
        if not _is_of_kit(kit, target.upstream, directory, record):
            raise UserError(
                f"the set-up of {directory} was killed, and the kit makes something else now: "
                f"`{way_out(directory, record)}` takes away what is there, then again"
            )
        _check_out(kit, target.upstream, directory, record, console)
        return Outcome("created", directory, target, record)
    if not _is_of_kit(kit, target.upstream, directory, record):
        place = shlex.quote(str(directory))
        raise UserError(f"{directory} was set up by another state of the kit: prunekit upgrade {place}")
    if work := local_work(directory, record):
        console.warn(f"{directory} has {work.describe()}: kept as they are; `prunekit diff {directory}` shows them")
    return Outcome("already set up", directory, target, record)


def _is_of_kit(kit: Kit, upstream: Upstream, directory: Path, record: fork.Record) -> bool:
    """Return whether the kit makes the commits that are remembered: a clone, and its record, may come from anybody."""
    try:
        made = expected(directory, kit, upstream, record)
    except PatchConflict:
        return False
    return made is not None and made[0].head == record.head


def _unfinished(directory: Path, record: fork.Record) -> bool:
    """Return whether a run was killed before HEAD went to the new branch."""
    assert record.into is not None
    tip = tip_of(directory, record.into.branch)
    with reading(directory) as repo:
        head = repo.text("rev-parse", "HEAD")
    was = head_ref(directory) or head
    return (tip in ("", record.head)) and head == record.root and was == record.into.was


def tip_of(directory: Path, branch: str) -> str:
    """Return the last commit of a branch of the clone, or ""."""
    done = own_git(directory).run("rev-parse", "--verify", "--quiet", f"refs/heads/{branch}^{{commit}}", check=False)
    return done.out.decode().strip() if done.status == 0 else ""


def forget(directory: Path) -> None:
    """Remove what setup remembers, and the pin's files."""
    own_git(directory).run("update-ref", "-d", fork.PIN)
    (directory / fork.RECORD).unlink(missing_ok=True)


def way_out(directory: Path, record: fork.Record) -> str:
    """Return the command that takes prunekit out of a clone."""
    return f"prunekit setup {shlex.quote(record.target)} --into {shlex.quote(str(directory))} --remove"


def elsewhere(directory: Path, record: fork.Record) -> str:
    """Return what to do in a clone whose HEAD does not hold prunekit's commits."""
    assert record.into is not None
    on = head_ref(directory).removeprefix("refs/heads/") or "a commit"
    typed = shlex.join(["git", "-C", str(directory), "switch", record.into.branch])
    return f"{directory} is on {on}, which does not hold what prunekit put there: {typed}"
