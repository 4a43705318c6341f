# SPDX-License-Identifier: AGPL-3.0-or-later
"""The networks of ../shared/cases, end to end by their own run.sh: one of their right answers each."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
CASES = next((d for d in (ROOT.parent / "shared" / "cases", ROOT / "shared" / "cases") if d.is_dir()), None)
pytestmark = [
    pytest.mark.upstream,
    pytest.mark.slow,
    pytest.mark.skipif(CASES is None, reason="no ../shared/cases here"),
]
KEPT = {  # what the plan must name; None: all is pruned
    "01-cbam-v8": "model.9",
    "02-eca-v8": "model.9",
    "03-weighted-sum-v8": None,
    "04-c2f-subclass-v8": None,
    "06-gsconv-neck-v8": "GSConv",
    "07-ema-attention-advice": "--ignore|model.9",
    "08-mhsa-heads": "model.9",
    "10-pixel-unshuffle": "SPDUnshuffle|PixelUnshuffle",
    "11-pixel-shuffle-up": "PixelShuffle",
}


RELEASE = "8.4.49"  # the scripts edit upstream's tasks.py by lines of this release


def test_every_case_is_run() -> None:
    """A folder that nobody here knows is a case that nobody runs."""
    others = {"15-v7-own-rows", "16-own-tasks-py", "17-single-cls"}  # the first in v7/test_networks_seven.py
    assert {script.parent.name for script in CASES.glob("*/run.sh")} == {*KEPT, *others}


@pytest.fixture(scope="module")
def forks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a fork of the release that the scripts were written for; they copy it, and change the copy."""
    folder = tmp_path_factory.mktemp("forks")
    command = [sys.executable, "-m", "prunekit", "setup", "v8", str(folder / "v8"), "--at", RELEASE]
    done = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL, check=False)
    if done.returncode == 2:
        pytest.skip(f"no ultralytics {RELEASE} here: {done.stderr.strip().splitlines()[-1]}")
    assert done.returncode == 0, done.stdout + done.stderr
    subprocess.run([sys.executable, "-m", "compileall", "-q", str(folder / "v8")], check=True)  # copies bring it along
    return folder


@pytest.mark.parametrize("name", KEPT)
def test_case(forks: Path, tmp_path: Path, name: str) -> None:
    said = run(forks, tmp_path, name)
    assert "exit 0" in said and "Traceback" not in said, said[-2000:]
    assert re.search(r"Proof: pruned equals masked in \d+ .*largest difference \de-1[3-9]", said)
    plan = next(tmp_path.rglob("step1_plan.yaml")).read_text(encoding="utf-8")
    kept = [row for row in plan.partition("frozen:")[2].splitlines() if "output: " not in row and "DFL" not in row]
    assert (KEPT[name] is not None) is any(row.strip() for row in kept), kept
    assert KEPT[name] is None or re.search(KEPT[name], "\n".join(kept))


def test_a_fork_without_its_hooks(forks: Path, tmp_path: Path) -> None:
    said = run(forks, tmp_path, "16-own-tasks-py")
    assert "exit 2" in said and "tasks.py has lost prunekit's hooks" in said and "prunekit diff" in said
    assert "Traceback" not in said


def test_single_cls_is_taken_from_the_checkpoint(forks: Path, tmp_path: Path) -> None:
    said = run(forks, tmp_path, "17-single-cls")
    assert "exit 0" in said and "Traceback" not in said, said[-2000:]
    report = json.loads(next(tmp_path.rglob("report.json")).read_text(encoding="utf-8"))
    assert report["status"] == "done" and report["arguments"]["single_cls"] is True


def run(forks: Path, work: Path, name: str) -> str:
    """Output of a case's script."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    env = {**os.environ, "PATH": path, "FORKS": str(forks), "WORK": str(work), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(["bash", str(CASES / name / "run.sh")], env=env, capture_output=True, text=True, check=False)
    return done.stdout + done.stderr
