# SPDX-License-Identifier: AGPL-3.0-or-later
"""kill -9 at any moment: nothing half-made, and `--resume` ends where the uninterrupted run ends."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest
import yaml
from workshop import Workshop

pytestmark = [pytest.mark.upstream, pytest.mark.slow]
LINE = (
    "prune.py --weights best.pt --data VOC.yaml --steps 2 --prune-ratio 0.5 --scope global --imgsz 64 --batch 8 "
    "--epochs 1 --device cpu --workers 0 --plots False --val False --no-export --project runs --name it"
).split()
KILLS = 6


def _same_widths(workshop: Workshop, folder: str, wanted: list[dict[str, int]]) -> None:
    report = workshop.report(folder)
    assert [step["widths"] for step in report["steps"]] == wanted
    assert report["status"] == "done"


def test_killed_runs_end_where_the_uninterrupted_one_ends(workshop: Workshop, tiny_set: Path) -> None:
    shutil.copy(tiny_set, workshop.root / "VOC.yaml")
    workshop.network("yolov8n.yaml", "best.pt")
    started = time.perf_counter()
    workshop.python(*LINE)
    whole = time.perf_counter() - started
    wanted = [step["widths"] for step in workshop.report("runs/it")["steps"]]
    assert len(wanted) == 2
    chance = random.Random(0)
    killed = 0
    for number in range(KILLS):  # one in each sixth of the time after the imports, so that none is left out
        shutil.rmtree(workshop.root / "runs")
        killed += _start_and_kill(workshop, whole * (0.25 + 0.75 * (number + chance.random()) / KILLS))
        _nothing_half_made(workshop.root / "runs" / "it")
        if (workshop.root / "runs/it/report.json").exists():
            workshop.python("prune.py", "--resume", "runs/it")
        else:  # killed before the run had a folder: the line is typed again
            workshop.python(*LINE)
        _same_widths(workshop, "runs/it", wanted)
    assert killed >= KILLS // 2, "most runs ended before they were killed: the test has lost its point"


def _start_and_kill(workshop: Workshop, after: float) -> bool:
    process = workshop.start(*LINE)
    try:
        process.communicate(timeout=after)
        return False
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        return True


def _nothing_half_made(folder: Path) -> None:
    """Whatever carries a final name is whole."""
    import torch

    for file in (*folder.glob("*.yaml"), *folder.glob("*.json")):
        assert yaml.safe_load(file.read_text()), file
    for file in folder.glob("*.pt"):
        if not file.name.startswith("."):
            assert torch.serialization.get_unsafe_globals_in_checkpoint(file), file


def test_two_processes_on_one_run(workshop: Workshop, tiny_set: Path) -> None:
    shutil.copy(tiny_set, workshop.root / "VOC.yaml")
    workshop.network("yolov8n.yaml", "best.pt")
    first = workshop.start(*LINE)
    report = workshop.root / "runs/it/report.json"
    while not report.exists() and first.poll() is None:
        time.sleep(0.05)
    output = workshop.python("prune.py", "--resume", "runs/it", code=2)
    os.killpg(first.pid, signal.SIGKILL)
    first.communicate()
    assert "another process is working on this run" in output
