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
# What is there when a kill may come: the imports are done, the run has a folder, a step is pruned, the last one trains.
MOMENTS = ("prune.py", "runs/it/report.json", "runs/it/step1_pruned.pt", "runs/it/step2_finetune")


def test_killed_runs_end_where_the_uninterrupted_one_ends(ready: Workshop) -> None:
    """One run is killed again and again, a random while after each moment: before it has a folder, and in each part."""
    started = time.perf_counter()
    ready.python(*LINE)
    longest = (time.perf_counter() - started) / 12  # of a whole run
    wanted = [step["widths"] for step in ready.report("runs/it")["steps"]]
    assert len(wanted) == 2
    shutil.rmtree(ready.root / "runs")
    chance = random.Random(0)
    line = LINE
    for moment in MOMENTS:
        _start_and_kill(ready, line, ready.root / moment, longest * chance.random())
        _nothing_half_made(ready.root / "runs" / "it")
        begun = (ready.root / "runs/it/report.json").exists()
        assert begun == (moment != MOMENTS[0]), "killed before the run had a folder: the line is typed again"
        line = ["prune.py", "--resume", "runs/it"] if begun else LINE
    ready.python(*line)
    report = ready.report("runs/it")
    assert [step["widths"] for step in report["steps"]] == wanted
    assert report["status"] == "done"


def _start_and_kill(workshop: Workshop, line: list[str], moment: Path, after: float) -> None:
    process = workshop.start(*line)
    while not moment.exists() and process.poll() is None:
        time.sleep(0.02)
    try:
        process.communicate(timeout=after)
        raise AssertionError(f"ended before it was killed at {moment.name}: the test has lost its point")
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


def _nothing_half_made(folder: Path) -> None:
    """Whatever carries a final name is whole."""
    import torch

    for file in (*folder.glob("*.yaml"), *folder.glob("*.json")):
        assert yaml.safe_load(file.read_text()), file
    for file in folder.glob("*.pt"):
        if not file.name.startswith("."):
            assert torch.serialization.get_unsafe_globals_in_checkpoint(file), file


def test_two_processes_on_one_run(ready: Workshop) -> None:
    line = [*LINE[:-1], "two"]
    first = ready.start(*line)
    report = ready.root / "runs/two/report.json"
    while not report.exists() and first.poll() is None:
        time.sleep(0.05)
    output = ready.python("prune.py", "--resume", "runs/two", code=2)
    os.killpg(first.pid, signal.SIGKILL)
    first.communicate()
    assert "another process is working on this run" in output
