# SPDX-License-Identifier: AGPL-3.0-or-later
"""`import prune; prune.run(...)` in a YOLOv7 fork: what the script makes, bit for bit, and exceptions of one line."""

from __future__ import annotations

from pathlib import Path

import pytest
from calling import called
from home_seven import HERE, Home

pytestmark = [pytest.mark.upstream, pytest.mark.slow]
SMALL = (
    "--target-macs 0.6 --steps 1 --epochs 1 --batch-size 8 --workers 0 --device cpu --noautoanchor --no-export "
    "--img-size 64 64"
).split()
KEYWORDS = {"target_macs": 0.6, "steps": 1, "epochs": 1, "batch_size": 8, "workers": 0, "device": "cpu"}
SWITCHES = {"noautoanchor": True, "no_export": True, "img_size": [64, 64]}


def test_call_and_script_make_the_same_network(home: Home, tiny7: Path, tmp_path: Path) -> None:
    """One step of each, from elsewhere, with a module `test` of Python's own before ours."""
    home.python(HERE / "make_seven.py", "training/yolov7-tiny", "best.pt", "10")
    weights = home.root / "best.pt"
    said = called(home, weights, tiny7, tmp_path, SMALL, {**KEYWORDS, **SWITCHES}, "first")
    elsewhere = tmp_path / "elsewhere"
    assert said["differ"] == [[], []], "the same widths and the same weights"
    assert said["run"]["path"] == str(elsewhere / "calls/first/pruned.pt") and said["same"]
    assert 0.57 < said["run"]["macs_after"] / said["run"]["macs_before"] <= 0.63
