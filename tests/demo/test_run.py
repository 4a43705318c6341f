# SPDX-License-Identifier: AGPL-3.0-or-later
"""The demo as typed: quick, killed and gone on with, and whole.

Upstream's trainer takes the set of each other task in `scripts/test_runs.py`.
"""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import schemas

pytest.importorskip("torch", reason="the demo needs an upstream's extra: pip install -e '.[ultralytics]'")
pytest.importorskip("sklearn", reason="the demo needs an upstream's extra: pip install -e '.[ultralytics]'")

pytestmark = [pytest.mark.slow, pytest.mark.upstream]


def _command(target: str, fork: Path, folder: Path, *words: str) -> list[str]:
    return [sys.executable, "-m", "prunekit", "demo", target, "--fork", str(fork), "--dir", str(folder), *words]


def _demo(target: str, fork: Path, folder: Path, *words: str) -> dict[str, Any]:
    """Run a demo with --json; returns the document."""
    done = subprocess.run(_command(target, fork, folder, "--json", *words), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def quick(fork: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    folder = tmp_path_factory.mktemp("demo") / "quick"
    return folder, _demo("v8", fork, folder, "--quick")


def test_the_quick_demo_goes_through_every_step(quick: tuple[Path, dict[str, Any]]) -> None:
    folder, told = quick
    networks = told["networks"]
    assert networks["pruned"]["macs"] == pytest.approx(0.5 * networks["dense"]["macs"], rel=0.01)
    assert networks["extra"]["macs"] == networks["dense"]["macs"]
    assert "only show that every step works" in told["verdict"]
    schemas.check("comparison", json.loads((folder / "comparison.json").read_text()))
    page = Path(told["report"])
    assert page == folder / "pruned" / "report.html" and "Pruning report: best.pt" in page.read_text()
    assert "Accuracy against MACs" in page.read_text() and not (folder / "report.html").exists()
    assert not (folder / "running").exists()


def test_upstream_reads_every_label_of_the_set(quick: tuple[Path, dict[str, Any]]) -> None:
    """It leaves out labels that it cannot read, with a warning only."""
    said = (quick[0] / "logs" / "dense.log").read_text()
    assert "64 images" in said and "0 corrupt" in said, "it tells what it leaves out"
    assert "corrupt" not in said.replace("0 corrupt", "") and "ignoring" not in said


def test_a_finished_demo_is_not_run_again(quick: tuple[Path, dict[str, Any]], fork: Path) -> None:
    folder, told = quick
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*.pt")}
    assert _demo("v8", fork, folder, "--quick")["networks"] == told["networks"]
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*.pt")} == before


def test_killed_in_each_step_it_goes_on_to_the_same_end(
    quick: tuple[Path, dict[str, Any]], fork: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "killed"
    for name in ("dense", "pruned", "extra"):
        process = subprocess.Popen(
            _command("v8", fork, folder, "--quick"), stdout=subprocess.DEVNULL, start_new_session=True
        )
        _wait_for(folder / "logs" / f"{name}.log", process)
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        assert not (folder / name).exists()
    told = _demo("v8", fork, folder, "--quick")
    assert [told["networks"][name]["params"] for name in ("dense", "extra", "pruned")] == [
        quick[1]["networks"][name]["params"] for name in ("dense", "extra", "pruned")
    ]
    # Losses of every epoch: what was trained before, between and after the kills is the same training.
    for place in ("dense", "pruned/step1_finetune", "extra"):
        assert _losses(folder / place) == _losses(quick[0] / place)


def _losses(folder: Path) -> list[list[str]]:
    """The losses in upstream's results.csv; they are never zero, as an accuracy after two epochs is."""
    with (folder / "results.csv").open(newline="") as file:
        rows = [[value for key, value in row.items() if "loss" in key] for row in csv.DictReader(file)]
    assert rows and all(float(value) > 0 for row in rows for value in row)
    return rows


def _wait_for(path: Path, process: subprocess.Popen[bytes]) -> None:
    """Wait until the step that writes `path` has been at work for a second."""
    for _ in range(600):
        if path.exists() or process.poll() is not None:
            break
        time.sleep(0.1)
    time.sleep(1)
    assert process.poll() is None, "the demo ended before it could be killed"


@pytest.mark.timeout(1500)
def test_the_demo_keeps_its_promise(fork: Path, tmp_path: Path) -> None:
    told = _demo("v8", fork, tmp_path / "demo")
    networks = told["networks"]
    assert networks["dense"]["map50"] > 0.8
    assert networks["pruned"]["macs"] == pytest.approx(0.5 * networks["dense"]["macs"], rel=0.01)
    assert networks["pruned"]["map50"] > networks["extra"]["map50"] - 0.05
