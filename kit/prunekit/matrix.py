# SPDX-License-Identifier: AGPL-3.0-or-later
"""`prunekit pins matrix`: the series on many releases side by side, kept up to date in docs/compatibility.{json,md}.

A row is done again only when the series or the drop-ins have changed since; a killed run goes on where it stopped.
"""

from __future__ import annotations

import hashlib
import json
import re
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass
from pathlib import Path

from prunekit.candidate import Candidate, from_sdist
from prunekit.errors import PrunekitError, UserError
from prunekit.gitrepo import GitError, Repo
from prunekit.kitdir import Kit
from prunekit.kitwrite import write
from prunekit.lint import read_tests
from prunekit.mailpatch import export_series
from prunekit.manifest import read_manifest
from prunekit.movefile import FAILED
from prunekit.moves import move_series
from prunekit.overlay import dropins
from prunekit.patchwork import pick
from prunekit.pins import Upstream, read_pins
from prunekit.sdist import releases
from prunekit.series import read_series
from prunekit.smoke import import_modules, run_tests
from prunekit.trial import make_fork, new_files, root_commit, trial_kit
from prunekit.workbench import From, scratch, set_up_bench

LEVELS = ("none", "import", "tests")
JSON, TABLE = "docs/compatibility.json", "docs/compatibility.md"


@dataclass(frozen=True)
class Row:
    """One release: verdict of each patch, patches that `git apply` takes as plain diffs, smoke, reason of a failure."""

    release: str
    series: str
    verdicts: dict[str, str]
    plain: int
    smoke: str
    passed: bool
    reason: str
    seconds: float

    @property
    def applied(self) -> bool:
        """Return whether every patch found its place."""
        return bool(self.verdicts) and FAILED not in self.verdicts.values()


def matrix(
    kit: Kit, name: str, count: int, start: str, level: str, jobs: int, report: Callable[[str], None]
) -> list[Row]:
    """Try the series on `count` releases from `start` to the newest, spread evenly; writes the table as it goes."""
    (upstream,) = pick(read_pins(kit.pins), name)
    if upstream.sdist is None:
        raise UserError(f"{upstream.name} has no releases on a package index: `prunekit pins check` goes by git")
    chosen, digest = choose(releases(upstream.sdist.project), count, start), series_digest(kit, upstream)
    rows = {row.release: row for row in _known(kit, upstream) if row.series == digest}
    enough = LEVELS.index(level)
    missing = [r for r in chosen if r not in rows or LEVELS.index(rows[r].smoke) < enough]
    with ProcessPoolExecutor(max_workers=jobs) as pool:
        waiting = [pool.submit(try_release, kit, upstream.name, release, level, digest) for release in missing]
        for number, done in enumerate(as_completed(waiting), start=1):
            row = done.result()
            rows[row.release] = row
            report(f"{number} of {len(missing)}: {row.release} {'ok' if row.passed else row.reason}")
            _save(kit, upstream, rows.values())
    return [rows[release] for release in chosen]


def choose(every: list[str], count: int, start: str) -> list[str]:
    """Return `count` releases from `start` on, oldest first, spread evenly, the first and the last among them."""
    plain = sorted((r for r in every if re.fullmatch(r"\d+(\.\d+)*", r)), key=_key)
    after = [release for release in plain if _key(release) >= _key(start)]
    if len(after) <= count:
        return after
    return [after[round(n * (len(after) - 1) / (count - 1))] for n in range(count)]


def series_digest(kit: Kit, upstream: Upstream) -> str:
    """Return a hash of what is tried: the patches and the drop-ins."""
    total = hashlib.sha256()
    for path in [*read_series(kit, upstream), *dropins(kit, upstream).values()]:
        total.update(hashlib.sha256(path.read_bytes()).digest())
    return total.hexdigest()[:16]


def try_release(kit: Kit, name: str, release: str, level: str, digest: str) -> Row:
    """Try the series on one release; a release that cannot be had is a row that says so."""
    begun = time.monotonic()
    (upstream,) = pick(read_pins(kit.pins), name)
    verdicts: dict[str, str] = {}
    plain, reason = 0, ""
    try:
        with scratch() as folder:
            bench = set_up_bench(kit, upstream, From(), folder / "old", lambda _: None)
            old = read_manifest(kit.manifests / f"{name}.txt", upstream.tree)
            candidate = from_sdist(upstream, old, release, None, folder / "new", lambda _: None)
            target = root_commit(bench, candidate)
            plain = _plain(bench.repo, bench.patches)
            moves = move_series(bench.repo, bench.root, bench.commits, [p.name for p in bench.patches], target)
            verdicts = {move.name[:4]: move.verdict for move in moves}
            reason = "; ".join(f"{m.name[:4]} {c.path}: {c.reason}" for m in moves for c in m.conflicts)
            if not reason and level != "none":
                kept = [move.commit for move in moves if move.commit]
                patches = export_series(bench.repo, target, kept, bench.patches)
                reason = _smoke(kit, candidate, patches, sorted({p for m in moves for p in m.files}), level, folder)
    except PrunekitError as error:
        reason = str(error)
    return Row(release, digest, verdicts, plain, level, not reason, reason, round(time.monotonic() - begun, 1))


def _smoke(
    kit: Kit, candidate: Candidate, patches: dict[str, bytes], files: list[str], level: str, folder: Path
) -> str:
    """Return what fails on the fork of a release, or nothing."""
    trial = trial_kit(kit, new_files(kit, candidate, patches), folder / "kit")
    made, _ = make_fork(trial, candidate, folder / "fork")
    tried = import_modules(made, files, folder)
    if tried.passed and level == "tests":
        tests = [test for own in read_tests(kit, candidate.upstream).values() for test in own]
        tried = run_tests(kit, trial, made, tests)
    return "" if tried.passed else f"{tried.name}: {tried.said.splitlines()[-1] if tried.said else 'failed'}"


def _plain(repo: Repo, patches: Iterable[Path]) -> int:
    """Return how many patches `git apply` takes as they are, without fuzz; leaves the index changed."""
    count = 0
    for path in patches:
        try:
            repo.run("apply", "--cached", "--whitespace=nowarn", str(path))
            count += 1
        except GitError:
            continue
    return count


def _known(kit: Kit, upstream: Upstream) -> list[Row]:
    """Return the rows of earlier runs."""
    path = kit.root / JSON
    found = json.loads(path.read_text()).get(upstream.name, []) if path.is_file() else []
    return [Row(**row) for row in found]


def _save(kit: Kit, upstream: Upstream, rows: Iterable[Row]) -> None:
    """Write the table, for people and for scripts."""
    ordered = sorted(rows, key=lambda row: _key(row.release))
    path = kit.root / JSON
    every = json.loads(path.read_text()) if path.is_file() else {}
    every[upstream.name] = [asdict(row) for row in ordered]
    text = "".join(_section(name, [Row(**row) for row in found]) for name, found in sorted(every.items()))
    head = "# Compatibility\n\nWritten by `prunekit pins matrix`; do not edit.\n"
    write(kit, {JSON: (json.dumps(every, indent=1) + "\n").encode(), TABLE: (head + text).encode()})


def _section(name: str, rows: list[Row]) -> str:
    """Return the table of one upstream."""
    applied, passed = sum(row.applied for row in rows), sum(row.passed for row in rows)
    whole = sum(row.applied and row.plain == len(row.verdicts) for row in rows)
    lines = [
        f"\n## {name}\n",
        f"The series found its place at {applied} of {len(rows)} releases; the same patches as plain diffs",
        f"(`git apply`) all apply at {whole}. Smoke: none (not run), import (the patched modules import), tests (each",
        "patch's own test).\n",
        "| release | patches | plain diffs that apply | smoke | result |",
        "|---|---|---|---|---|",
    ]
    for row in rows:
        kinds = ", ".join(f"{number} {verdict}" for number, verdict in row.verdicts.items())
        lines.append(f"| {row.release} | {kinds} | {row.plain} | {row.smoke} | {'ok' if row.passed else row.reason} |")
    return "\n".join([*lines, f"\n{passed} of {len(rows)} rows are ok."]) + "\n"


def _key(release: str) -> tuple[int, ...]:
    """Return a release as numbers."""
    return tuple(int(part) for part in release.split("."))
