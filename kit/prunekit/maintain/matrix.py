# SPDX-License-Identifier: AGPL-3.0-or-later
"""`prunekit pins matrix`: the series on many releases side by side, kept up to date in docs/compatibility.{json,md}.

A row is done again only when the series or the drop-ins have changed since, and stays until then; a killed run goes on.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterable, Mapping
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass, replace
from pathlib import Path

from prunekit.console import Report
from prunekit.errors import PrunekitError, UserError
from prunekit.fork.compatibility import USUAL, Row, read_rows, release_key, save_rows, series_digest
from prunekit.fork.compose import older_patches
from prunekit.git import GitError, Repo
from prunekit.kit import PINS, Kit
from prunekit.kit_commit import dirty
from prunekit.maintain.edit_series import pick
from prunekit.maintain.series_repo import Bench, scratch, set_up_bench
from prunekit.maintain.smoke import Subject, import_modules, try_fork
from prunekit.maintain.staged_kit import make_fork, new_files, root_commit, trial_kit
from prunekit.patches.canonical import commit_series, export_series
from prunekit.patches.lint import read_tests
from prunekit.porting.file import FAILED
from prunekit.porting.series import Move, move_series
from prunekit.upstream.fetch import From
from prunekit.upstream.fetch_sdist import releases
from prunekit.upstream.manifest import read_manifest
from prunekit.upstream.new_pin import Candidate, from_sdist
from prunekit.upstream.pins import read_pins

LEVELS = ("none", "import", "walk", "full")


@dataclass(frozen=True)
class Trial:
    """What is done on every release: how much smoke, in which Python, and what the rows say they were made at."""

    level: str
    python: str
    digest: str
    kit_commit: str


def matrix(
    kit: Kit, name: str, count: int, start: str, level: str, python: str, jobs: int, report: Report
) -> list[Row]:
    """Try the series on `count` releases from `start` to the newest, spread evenly; writes the table as it goes."""
    (upstream,) = pick(read_pins(kit.pins), name)
    if upstream.project is None:
        raise UserError(f"{upstream.name} has no releases on a package index: `prunekit pins check` goes by git")
    chosen, digest = choose(releases(upstream.project), count, start), series_digest(kit, upstream)
    trial = Trial(level, python, digest, _kit_commit(kit))
    rows = {row.release: row for row in read_rows(kit, upstream.name)}
    missing = _missing(rows, chosen, digest, LEVELS.index(level))
    with ProcessPoolExecutor(max_workers=jobs) as pool:
        waiting = [pool.submit(try_release, kit, upstream.name, release, trial) for release in missing]
        for number, done in enumerate(as_completed(waiting), start=1):
            row = done.result()
            rows[row.release] = row
            report(f"{number} of {len(missing)}: {row.release} {'ok' if row.passed else row.reason}")
            save_rows(kit, upstream.name, rows.values())
    return [rows[release] for release in chosen]


def _missing(rows: Mapping[str, Row], chosen: list[str], digest: str, enough: int) -> list[str]:
    """Return the releases to be tried: those without a row, of all ages in turn, then those whose row is of before."""
    fresh = [release for release in chosen if release not in rows]
    fresh = [release for first in range(3) for release in fresh[first::3]]  # a stopped run has seen all ages
    old = [r for r in chosen if r in rows and (rows[r].series != digest or LEVELS.index(rows[r].smoke) < enough)]
    return fresh + old


def choose(every: list[str], count: int, start: str) -> list[str]:
    """Return `count` releases from `start` on, oldest first, spread evenly, the first and the last among them."""
    plain = sorted((r for r in every if re.fullmatch(r"\d+(\.\d+)*", r)), key=release_key)
    after = [release for release in plain if release_key(release) >= release_key(start)]
    if len(after) <= count:
        return after
    return [after[round(n * (len(after) - 1) / (count - 1))] for n in range(count)]


def try_release(kit: Kit, name: str, release: str, trial: Trial) -> Row:
    """Try the series on one release; a release that cannot be had is a row that says so."""
    begun = time.monotonic()
    (upstream,) = pick(read_pins(kit.pins), name)
    moves: list[Move] = []
    plain, usual, reason, applied = "", "", "", 0.0
    try:
        with scratch() as folder:
            bench = set_up_bench(kit, upstream, From(), folder / "old", _silent)
            old = read_manifest(kit.manifests / f"{name}.txt", upstream.tree)
            candidate = from_sdist(upstream, old, release, None, folder / "new", _silent)
            target = root_commit(bench, candidate)
            plain = _taken(bench.repo, target, bench.patches)
            usual = _taken(bench.repo, target, sorted((kit.root / USUAL / name).glob("*.diff")))
            moves = _moves(bench, target)
            if older := older_patches(kit, upstream, bench.patches, moves, folder):  # as `setup --at` does
                bench.repo.run("read-tree", bench.root)
                bench = replace(bench, patches=older, commits=commit_series(bench.repo, older, bench.root, _silent))
                moves = _moves(bench, target)
            reason = "; ".join(f"{m.name[:4]} {c.path}: {c.reason}" for m in moves for c in m.conflicts)
            applied = time.monotonic() - begun
            if not reason and trial.level != "none":
                reason = _smoke(kit, bench, candidate, target, moves, trial, folder)
    except PrunekitError as error:
        reason = str(error)
    verdicts = {move.name[:4]: move.verdict for move in moves}
    seconds = (round(applied, 1), round(time.monotonic() - begun - applied, 1))
    made_at = (trial.digest, trial.kit_commit)
    return Row(release, *made_at, verdicts, plain, usual, trial.level, not reason, reason, *seconds)


def _moves(bench: Bench, target: str) -> list[Move]:
    return move_series(bench.repo, bench.root, bench.commits, [path.name for path in bench.patches], target)


def _silent(_: str) -> None:
    """Nobody reads what one release of many says."""


def _smoke(
    kit: Kit, bench: Bench, candidate: Candidate, target: str, moves: list[Move], trial: Trial, folder: Path
) -> str:
    """Return what fails on the fork of a release, or nothing."""
    kept = [move.commit for move in moves if move.commit]
    patches = export_series(bench.repo, target, kept, bench.patches)
    own = trial_kit(kit, new_files(kit, candidate, patches), folder / "kit")
    made, _ = make_fork(own, candidate, folder / "fork")
    files = sorted({path for move in moves if move.verdict != FAILED for path in move.files})
    tests = read_tests(kit, candidate.upstream)
    subject = Subject(kit, own, candidate.upstream.name, made, files, {m.name: tests.get(m.name, []) for m in moves})
    if trial.level == "import":
        tried = [import_modules(made, files, trial.python, folder / "smoke")]
    else:
        tried = try_fork(subject, trial.python, folder / "smoke", _silent, tests=trial.level == "full")
    bad = [item for item in tried if not item.passed]
    return f"{bad[0].name}: {' | '.join(bad[0].said.splitlines()[-4:]) or 'failed'}" if bad else ""


def _taken(repo: Repo, target: str, diffs: Iterable[Path]) -> str:
    """Return the numbers of the diffs that `git apply` takes as they are, one after another, without fuzz."""
    repo.run("read-tree", target)
    taken = []
    for path in diffs:
        try:
            repo.run("apply", "--cached", "--whitespace=nowarn", str(path))
            taken.append(path.name.partition("-")[0])
        except GitError:
            continue
    repo.run("read-tree", target)
    return " ".join(taken)


def _kit_commit(kit: Kit) -> str:
    """Return the kit's commit, marked where its code or its data differ from it; nothing where it is no checkout."""
    done = Repo(kit.root).run("rev-parse", "--short=12", "HEAD", check=False)
    if done.status:
        return ""
    changed = dirty(kit, "kit", "patches", "manifests", PINS)
    return done.out.decode().strip() + ("+changes" if changed else "")
