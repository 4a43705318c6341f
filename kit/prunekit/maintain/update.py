# SPDX-License-Identifier: AGPL-3.0-or-later
"""`prunekit pins update`: replay at the old pin, move the series, test the result, then write, in one commit."""

from __future__ import annotations

import difflib
import os
import sys
from dataclasses import dataclass, field
from pathlib import Path

from prunekit.console import Console
from prunekit.errors import PatchConflict, UserError
from prunekit.kit import PINS, Kit
from prunekit.kit_commit import commit, need_clean, recover
from prunekit.maintain.edit_series import pick
from prunekit.maintain.series_repo import Bench, scratch, set_up_bench
from prunekit.maintain.smoke import Subject, try_fork
from prunekit.maintain.staged_kit import make_fork, need_as_wanted, new_files, root_commit, trial_kit
from prunekit.patches.canonical import export_series
from prunekit.patches.lint import read_tests
from prunekit.porting.file import FAILED
from prunekit.porting.memory import FOLDER, forget_waiting, load, waiting
from prunekit.porting.series import Move, move_series
from prunekit.process import Tried
from prunekit.upstream.fetch import From
from prunekit.upstream.manifest import read_manifest
from prunekit.upstream.new_pin import Candidate, find_candidate
from prunekit.upstream.pins import UNRESOLVED, Upstream, read_pins


@dataclass(frozen=True)
class Wanted:
    """What the user asked for."""

    upstream: str
    to: str | None
    origin: From
    commit: str | None = None
    dry_run: bool = False
    smoke: bool = True
    python: str | None = None


@dataclass
class Updated:
    """What happened: the old pin, the new one, each patch, the checks, and the commit ("" where none was made).

    `pin_change` is the change of the pin file as a diff; `blocked` why a real run would stop, in a dry one.
    """

    old: Upstream
    candidate: Candidate
    moves: list[Move]
    tried: list[Tried] = field(default_factory=list)
    files: dict[str, bytes | None] = field(default_factory=dict)
    tree: str = ""
    commit: str = ""
    blocked: str = ""
    pin_change: str = ""

    @property
    def good(self) -> bool:
        """Return whether every patch found its place and every check passed."""
        return all(move.verdict != FAILED for move in self.moves) and all(item.passed for item in self.tried)


def update(kit: Kit, wanted: Wanted, console: Console) -> Updated:
    """Move one upstream's pin; raises UserError, and writes nothing unless everything is well.

    The caller looks at `good`: a result that is not has been reported in full and nothing was written.
    """
    if not wanted.dry_run:
        for note in recover(kit):
            console.warn(note)
    (upstream,) = pick(read_pins(kit.pins), wanted.upstream)
    manifests = f"manifests/{upstream.name}.txt"
    blocked = _blocked(kit) if wanted.dry_run else need_committed(kit)
    with scratch() as folder:
        with console.step("old pin") as step:
            bench = set_up_bench(kit, upstream, wanted.origin, folder / "old", step.report)
            step.result = f"{upstream.name} {upstream.release}, {len(bench.commits)} patches"
        with console.step("new pin") as step:
            old = read_manifest(kit.root / manifests, upstream.tree)
            words = (wanted.to, wanted.origin, wanted.commit, folder / "new", step.report)
            candidate = find_candidate(upstream, old, *words)
            step.result = f"{candidate.upstream.release} ({candidate.upstream.short}), {len(candidate.manifest)} files"
        done = _move(kit, bench, candidate, console)
        done.blocked = blocked
        if all(move.verdict != FAILED for move in done.moves):
            try_and_write(kit, wanted, bench, done, folder, console)
        return done


def need_committed(kit: Kit) -> str:
    """Raise UserError where what the commit will hold, or what the smoke goes by, has changes that no commit holds."""
    inside = kit.dropins.is_relative_to(kit.root)
    words = [str(kit.dropins.relative_to(kit.root))] if inside else []
    need_clean(kit, PINS, "manifests", "patches", FOLDER, *words)
    return ""


def _blocked(kit: Kit) -> str:
    """Return why a real run would stop before its first step, or nothing."""
    try:
        return need_committed(kit)
    except UserError as error:
        return str(error)


def _pin_change(kit: Kit, files: dict[str, bytes | None]) -> str:
    """Return what would change in the pin file, as a diff."""
    old = kit.pins.read_bytes()
    sides = [text.decode().splitlines(keepends=True) for text in (old, files.get(PINS) or old)]
    rows = difflib.unified_diff(sides[0], sides[1], n=0)
    return "".join(row for row in rows if not row.startswith(("---", "+++", "@@")))


def _move(kit: Kit, bench: Bench, candidate: Candidate, console: Console) -> Updated:
    """Put the series onto the new files."""
    with console.step("series") as step:
        repo, target = bench.repo, root_commit(bench, candidate)
        names, memory = [path.name for path in bench.patches], load(kit, bench.upstream.name)
        moves = move_series(repo, bench.root, bench.commits, names, target, memory)
        step.result = ", ".join(f"{move.name[:4]} {move.verdict}" for move in moves)
    return Updated(bench.upstream, candidate, moves)


def try_and_write(kit: Kit, wanted: Wanted, bench: Bench, done: Updated, folder: Path, console: Console) -> None:
    """Make the kit and the fork as they would be, run the checks on them, write if all is well."""
    kept = [move.commit for move in done.moves if move.commit]
    patches = export_series(
        bench.repo, bench.repo.text("rev-parse", f"{kept[0]}^") if kept else "", kept, bench.patches
    )
    done.files = {**new_files(kit, done.candidate, patches), **waiting(kit, bench.upstream.name)}
    done.pin_change = _pin_change(kit, done.files)
    trial = trial_kit(kit, done.files, folder / "kit")
    need_as_wanted(kit, trial, done.candidate.upstream)
    made, done.tree = make_fork(trial, done.candidate, folder / "fork")
    if wanted.smoke:
        with console.step("smoke") as step:
            subject = _subject(kit, trial, bench.upstream, done, made)
            done.tried = try_fork(subject, wanted.python or sys.executable, folder / "smoke", step.report)
            step.result = f"{sum(item.passed for item in done.tried)} of {len(done.tried)} passed"
    if done.good and not wanted.dry_run:
        with console.step("commit") as step:
            done.commit = commit(kit, done.files, message(done))
            forget_waiting(kit, bench.upstream.name)  # it is in the repository by now
            step.result = done.commit[:12]


def _subject(kit: Kit, trial: Kit, upstream: Upstream, done: Updated, made: Path) -> Subject:
    """Return the fork as it would be, with every patch's own test, an absorbed one's too."""
    files = sorted({path for move in done.moves for path in move.files})
    tests = read_tests(kit, upstream)
    return Subject(kit, trial, upstream.name, made, files, {m.name: tests.get(m.name, []) for m in done.moves})


def message(done: Updated) -> str:
    """Return the commit message: what happened to each patch."""
    old, new = done.old, done.candidate.upstream
    rows = [f"- {move.name}: {move.verdict}" for move in done.moves]
    tests = f"{len(done.tried)} checks passed on the result; fork tree {done.tree}"
    pins = f"from {old.commit}\nto   {new.commit}"
    return (
        f"{new.name}: pin moved from {old.release} to {new.release}\n\n{pins}\n\n" + "\n".join(rows) + f"\n\n{tests}\n"
    )


def need_good(done: Updated) -> None:
    """Raise PatchConflict that says what to type next, unless all is well."""
    bad = [move for move in done.moves if move.verdict == FAILED]
    if bad:
        to, commit = done.candidate.upstream.release, done.candidate.upstream.commit
        name = bad[0].name
        why = "" if commit == UNRESOLVED else f" See why: prunekit why {name} --onto {commit[:12]}."
        raise PatchConflict(
            f"{name} found no certain place in {to}; nothing was written.{why} "
            f"Anchor it elsewhere: prunekit patches checkout {done.old.name}; or: prunekit patches drop {name}"
        )
    failed = [item for item in done.tried if not item.passed]
    if failed:
        to = done.candidate.upstream.release
        raise PatchConflict(f"{failed[0].name} fails on {to}; nothing was written{os.linesep}{failed[0].said}")
