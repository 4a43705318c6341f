# SPDX-License-Identifier: AGPL-3.0-or-later
"""`prunekit rebase`: a conflict mended by hand, left out, or given up; on a small upstream and on YOLOv5's own."""

from __future__ import annotations

import itertools
import json
import os
import random
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from pinworld import Place, git

SWAP = (
    "pkg/engine.py",
    "        clip(self.model)\n        self.optimizer.step()\n",
    "        self.optimizer.step()\n        clip(self.model)\n",
)
OURS = "        hooks.penalty(self)\n"


@pytest.fixture
def stopped(place: Place) -> Place:
    """A rebase onto an upstream that has swapped the statements around patch 0002's hook, stopped there."""
    place.upstream("lines", ("pkg/engine.py", "import os\n", "import os\nimport sys\n"))
    place.pin = place.upstream("swap", SWAP)
    assert place.prunekit("rebase", "small", "--onto", place.pin) == 4
    return place


def folder(place: Place) -> Path:
    """Where the rebase lies."""
    return place.root / "series" / "small-rebase"


def mend(place: Place) -> None:
    """Put the hook before the step by hand, and add it."""
    file = folder(place) / "pkg/engine.py"
    lines = [line for line in file.read_text().splitlines(keepends=True) if not line.startswith(tuple("<>|="))]
    kept = "".join(lines)
    start, end = kept.index("        self.unscale()"), kept.index("        self.optimizer.zero_grad()")
    body = f"        self.unscale()\n{OURS}        self.optimizer.step()\n        clip(self.model)\n"
    file.write_text(kept[:start] + body + kept[end:])
    git(folder(place), "add", "pkg/engine.py")


def test_stops_with_both_sides_and_what_to_type(stopped: Place) -> None:
    """Patch, file, reason, our lines and upstream's; the file is unmerged, with three sides; the kit is as it was."""
    assert "0002-Patch-penalty.patch stopped" in stopped.err and "git -C" in stopped.err
    assert all(word in stopped.err for word in ("--continue", "--skip", "--abort", "pkg/engine.py"))
    assert f"+{OURS}" in stopped.out and "self.optimizer.step()" in stopped.out
    assert "changed their order" in stopped.out
    rows = git(folder(stopped), "ls-files", "--unmerged").splitlines()
    assert [row.split()[2] for row in rows] == ["1", "2", "3"]
    assert git(folder(stopped), "log", "--format=%s").splitlines()[0] == "Patch amp off"
    assert stopped.state()[1] == "" and len(stopped.series()) == 6


def test_continue_writes_pin_and_patches(stopped: Place) -> None:
    """Refused while unmerged, unadded or marked; then the rest is placed, tested and written in one commit."""
    before = stopped.state()[0]
    assert stopped.prunekit("rebase", "small", "--continue") == 2 and "still unmerged" in stopped.err
    git(folder(stopped), "add", "pkg/engine.py")
    marked = "<<<<<<<" in (folder(stopped) / "pkg/engine.py").read_text()
    assert not marked or (stopped.prunekit("rebase", "--continue") == 2 and "conflict mark" in stopped.err)
    mend(stopped)
    (folder(stopped) / "LICENSE").write_text("changed\n")
    assert stopped.prunekit("rebase", "--continue") == 2 and "LICENSE has changes" in stopped.err
    git(folder(stopped), "checkout", "LICENSE")
    assert stopped.prunekit("rebase", "--continue", "--json") == 0, stopped.err
    verdicts = {row["patch"][:4]: row["verdict"] for row in json.loads(stopped.out)["patches"]}
    assert verdicts == {"0001": "moved", "0002": "by hand", "0003": "untouched", "0004": "moved"}
    assert git(stopped.kit, "rev-parse", "HEAD~1") == before and stopped.state()[1] == ""
    assert f"commit: {stopped.pin}" in (stopped.kit / "pinned_commits.yaml").read_text()
    assert not folder(stopped).exists() and stopped.prunekit("rebase", "--continue") == 2
    assert stopped.prunekit("patches", "export", "--check") == 0
    assert stopped.prunekit("setup", "s1", stopped.root / "fork") == 0
    assert f"{OURS}        self.optimizer.step()\n" in (stopped.root / "fork/pkg/engine.py").read_text()


def test_skip_drops_the_patch(stopped: Place) -> None:
    """The others are written without it, its test's row goes too."""
    assert stopped.prunekit("rebase", "--skip") == 0, stopped.err
    assert "0002-Patch-penalty.patch" not in stopped.series()
    assert stopped.prunekit("patches", "lint") == 0, stopped.out
    assert stopped.prunekit("patches", "export", "--check") == 0


def test_abort_leaves_everything_as_it_was(stopped: Place) -> None:
    """Also what the user has edited in the folder goes; a new rebase can begin."""
    before, series = stopped.state(), stopped.series()
    mend(stopped)
    assert stopped.prunekit("rebase", "--abort") == 0
    assert stopped.state() == before and stopped.series() == series and not folder(stopped).exists()
    assert stopped.prunekit("rebase", "--abort") == 2 and "no rebase is under way" in stopped.err
    assert stopped.prunekit("rebase", "small", "--onto", stopped.pin) == 4


def test_refusals(stopped: Place) -> None:
    """A second rebase, two wishes at once, a series that has changed meanwhile, nothing left of the patch."""
    assert stopped.prunekit("rebase", "small", "--onto", stopped.pin) == 2 and "under way" in stopped.err
    assert stopped.prunekit("rebase", "small", "--onto", stopped.pin, "--abort") == 2
    git(folder(stopped), "checkout", "HEAD", "--", "pkg/engine.py")
    assert stopped.prunekit("rebase", "--continue") == 2 and "nothing is left of 0002" in stopped.err
    (stopped.kit / "patches/small/0004-Patch-widths.patch").write_text("other\n")
    assert stopped.prunekit("rebase", "--continue") == 2 and "has changed since" in stopped.err


def test_failing_checks_keep_the_work(stopped: Place) -> None:
    """A patch's own test fails on the result: nothing is written, the commits stay, `--continue` tries again."""
    test = stopped.kit / "tests/test_it.py"
    test.write_text("def test_it():\n    assert False, 'no good'\n")
    git(stopped.kit, "commit", "--quiet", "-am", "a test that fails")
    before = stopped.state()
    mend(stopped)
    assert stopped.prunekit("rebase", "--continue") == 4 and "no good" in stopped.out
    assert stopped.state() == before and folder(stopped).exists()
    test.write_text("def test_it():\n    pass\n")
    git(stopped.kit, "commit", "--quiet", "-am", "mended")
    assert stopped.prunekit("rebase", "--continue") == 0


def test_a_kill_at_any_moment_is_gone_on_with(place: Place) -> None:
    """Killed at random moments until it stops, and again after the conflict is mended: the outcome is the same."""
    place.upstream("lines", ("pkg/engine.py", "import os\n", "import os\nimport sys\n"))
    place.pin = place.upstream("swap", SWAP)
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    words = [sys.executable, "-m", "prunekit", "--kit", str(place.kit), "rebase"]
    rng, windows, old = random.Random(1), itertools.count(), place.state()[0]

    def attempt(*more: str) -> int:
        process = subprocess.Popen([*words, *more], env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:  # longer each time, so that it comes to an end on a slow machine, too
            return process.wait(rng.uniform(0.3, 1.0) * 1.25 ** next(windows))
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            return process.wait()

    while not ((folder(place) / ".git").exists() and git(folder(place), "ls-files", "--unmerged")):
        if attempt("small", "--onto", place.pin) == 2:  # it had begun before it was killed
            attempt("--continue")
        assert place.state() == (old, "")
    assert place.prunekit("rebase", "--continue") in (2, 4)  # 4: killed while it wrote both sides: it does so again
    windows = itertools.count()
    mend(place)
    while place.state()[0] == old:
        attempt("--continue")
        assert place.prunekit("pins", "show") == 0 and place.state()[1] == ""
    assert place.prunekit("rebase", "--continue") in (0, 2)
    assert git(place.kit, "rev-parse", "HEAD~1") == old and not folder(place).exists()
    assert place.prunekit("patches", "export", "--check") == 0
