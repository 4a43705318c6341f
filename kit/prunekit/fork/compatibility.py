# SPDX-License-Identifier: AGPL-3.0-or-later
"""docs/compatibility.json and .md: what `prunekit pins matrix` found, for scripts and for people."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass

from prunekit.fork.compose import OLDER
from prunekit.fork.dropins import dropins
from prunekit.kit import Kit
from prunekit.kit_commit import write
from prunekit.patches.series import read_series
from prunekit.porting.file import FAILED
from prunekit.upstream.pins import Upstream

JSON, TABLE = "docs/compatibility.json", "docs/compatibility.md"
USUAL = "benchmarks/usual_diffs"
_HEAD = """\
# Compatibility

Written by `prunekit pins matrix`; do not edit. No release had a hand edit.

Smoke: none (not run); import (the patched modules import); walk (train under the penalty, prune, fine-tune, kill -9,
resume, validate, parameter counts; docs/upstream-moves.md); full (also each patch's own test, which shows that it fails
without the patch).
"""


@dataclass(frozen=True)
class Row:
    """One release and what was tried on it: digest of series and drop-ins, the kit's commit, verdict of each patch.

    `plain`: numbers of the patches that `git apply` takes as plain diffs; `usual`: the same of the diffs of the usual
    kind. `reason`: of a failure. Seconds: to apply (download included), and of the smoke.
    """

    release: str
    series: str
    kit: str
    verdicts: dict[str, str]
    plain: str
    usual: str
    smoke: str
    passed: bool
    reason: str
    apply_seconds: float
    smoke_seconds: float

    @property
    def applied(self) -> bool:
        """Return whether every patch found its place."""
        return bool(self.verdicts) and FAILED not in self.verdicts.values()


def read_rows(kit: Kit, name: str) -> list[Row]:
    """Return the rows of earlier runs; those of an older form are not taken."""
    path = kit.root / JSON
    found = json.loads(path.read_text()).get(name, []) if path.is_file() else []
    return [Row(**row) for row in found if row.keys() == Row.__dataclass_fields__.keys()]


def save_rows(kit: Kit, name: str, rows: Iterable[Row]) -> None:
    """Write the tables, each file whole."""
    path = kit.root / JSON
    every = json.loads(path.read_text()) if path.is_file() else {}
    every[name] = [asdict(row) for row in sorted(rows, key=lambda row: release_key(row.release))]
    text = "".join(_section(kit, other, [Row(**row) for row in found]) for other, found in sorted(every.items()))
    write(kit, {JSON: (json.dumps(every, indent=1) + "\n").encode(), TABLE: (_HEAD + text).encode()})


def series_digest(kit: Kit, upstream: Upstream) -> str:
    """Return a hash of what is tried: the patches, their lines for older versions, and the drop-ins."""
    total, older = hashlib.sha256(), kit.patches / upstream.name / OLDER
    for path in [*read_series(kit, upstream), *([older] if older.is_file() else []), *dropins(kit, upstream).values()]:
        total.update(hashlib.sha256(path.read_bytes()).digest())
    return total.hexdigest()[:16]


def release_key(release: str) -> tuple[int, ...]:
    """Return a release as numbers."""
    return tuple(int(part) for part in release.split("."))


def _section(kit: Kit, name: str, rows: list[Row]) -> str:
    """Return the table of one upstream."""
    total, patches = len(rows), max((len(row.verdicts) for row in rows), default=0)
    applied, passed = sum(row.applied for row in rows), sum(row.passed for row in rows)
    full = sum(row.passed and row.smoke == "full" for row in rows)
    plain = sum(len(row.plain.split()) == patches for row in rows)
    diffs = len(list((kit.root / USUAL / name).glob("*.diff")))
    whole = sum(len(row.usual.split()) == diffs for row in rows)
    made = ", ".join(sorted({row.kit for row in rows if row.kit}))
    lines = [
        f"\n## {name}\n",
        f"- the series found its place at {applied} of {total} releases ({applied / max(total, 1):.0%})",
        f"- applied and passed the smoke at {passed} of {total} ({passed / max(total, 1):.0%}), {full} of them in full",
        f"- the same patches as plain diffs (`git apply`): all {patches} at {plain} of {total}",
        f"- diffs of the usual kind ({USUAL}): all {diffs} at {whole} of {total}",
        f"- made at kit {made or '?'}\n",
        "| release | patches | plain diffs that apply | usual diffs that apply | smoke | result |",
        "|---|---|---|---|---|---|",
    ]
    return "\n".join([*lines, *map(_line, rows)]) + "\n"


def _line(row: Row) -> str:
    """Return the line of one release."""
    kinds = ", ".join(f"{number} {verdict}" for number, verdict in row.verdicts.items())
    result = "ok" if row.passed else row.reason.replace("|", "/")
    return f"| {row.release} | {kinds} | {row.plain or '-'} | {row.usual or '-'} | {row.smoke} | {result} |"
