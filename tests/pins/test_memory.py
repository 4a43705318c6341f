# SPDX-License-Identifier: AGPL-3.0-or-later
"""A conflict resolved by hand once: there and back, and there again, without a person."""

from __future__ import annotations

import json
from pathlib import Path

from pinworld import Place, git

SWAP = (
    "pkg/engine.py",
    "        clip(self.model)\n        self.optimizer.step()\n",
    "        self.optimizer.step()\n        clip(self.model)\n",
)
OURS = "        hooks.penalty(self)\n"
AFTER = "        self.optimizer.step()\n        clip(self.model)\n"


def mend(work: Path) -> None:
    """Put the hook before the step by hand, and add it."""
    git(work, "checkout", "--ours", "pkg/engine.py")
    file = work / "pkg/engine.py"
    assert file.read_text().count(AFTER) == 1 and OURS not in file.read_text()
    file.write_text(file.read_text().replace(AFTER, OURS + AFTER))
    git(work, "add", "pkg/engine.py")


def verdict(place: Place) -> str:
    """What became of patch 0002."""
    return next(row["verdict"] for row in json.loads(place.out)["patches"] if row["patch"].startswith("0002"))


def test_a_round_trip_by_hand_once(place: Place) -> None:
    """Stopped on the way there only; the way back and the second way there are remembered, from the repository."""
    new, work, old = place.upstream("swap", SWAP), place.root / "series/small-rebase", place.series()
    assert place.prunekit("pins", "update", "small", "--to", new) == 4 and "nothing was written" in place.err
    assert place.prunekit("rebase", "small", "--onto", new) == 4
    mend(work)
    assert place.prunekit("rebase", "--continue", "--json") == 0, place.err
    assert verdict(place) == "by hand"
    kept = git(place.kit, "ls-files", "resolved/small").splitlines()
    assert len(kept) == 2 and place.state()[1] == ""
    sizes = [len((place.kit / path).read_text().splitlines()) for path in kept]
    assert max(sizes) < 20, "a diff and its context, not upstream's file"
    there = place.series()
    clone = place.root / "clone"
    git(place.root, "clone", "--quiet", str(place.kit), str(clone))
    place.kit = clone  # somebody else's: the memory came with the repository
    assert place.prunekit("rebase", "small", "--onto", place.pin, "--json") == 0, place.err
    assert verdict(place) == "remembered"
    assert place.series().keys() == old.keys()
    diffs = [[it[name].partition(b"\ndiff --git")[2] for name in sorted(old)] for it in (old, place.series())]
    assert diffs[0] == diffs[1]
    assert place.prunekit("pins", "check", "small") == 0, place.out
    assert place.prunekit("pins", "update", "small", "--to", new, "--json") == 0, place.err
    assert verdict(place) == "remembered" and place.series() == there
    assert place.prunekit("pins", "update", "small", "--to", place.pin, "--dry-run", "--no-smoke") == 0
    said = next(line for line in place.out.splitlines() if line.startswith("0002"))
    assert "pkg/engine.py: remembered" in said
    assert place.prunekit("patches", "lint") == 0 and place.prunekit("setup", "s1", place.root / "fork") == 0
    assert OURS + AFTER in (place.root / "fork/pkg/engine.py").read_text()


def test_remembered_beside_other_changes_or_not_at_all(place: Place) -> None:
    """Also where the rest of the file has changed; not where the hook would mean something else."""
    new, work = place.upstream("swap", SWAP), place.root / "series/small-rebase"
    assert place.prunekit("rebase", "small", "--onto", new) == 4
    mend(work)
    (place.kit / "tests/test_it.py").write_text("def test_it():\n    assert False\n")
    git(place.kit, "commit", "--quiet", "-am", "a test that fails")
    assert place.prunekit("rebase", "--continue") == 4 and place.prunekit("rebase", "--abort") == 0
    assert not git(place.kit, "ls-files", "resolved/small")  # nothing written, and yet not forgotten
    words = ("pins", "update", "small", "--dry-run", "--no-smoke", "--json", "--to")
    lines = place.upstream("lines", ("pkg/engine.py", "import os\n", "import os\nimport re\n"))
    assert place.prunekit(*words, lines) == 0 and verdict(place) == "remembered"
    place.upstream("skip", ("pkg/engine.py", '"""One step."""\n', '"""One step."""\n        if self.off: return\n'))
    assert place.prunekit(*words, "main") == 0 and verdict(place) == "failed"
