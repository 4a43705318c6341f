# SPDX-License-Identifier: AGPL-3.0-or-later
"""`import prune; prune.run(...)` in a YOLOv5 fork: what the script makes, bit for bit, and exceptions of one line."""

from __future__ import annotations

from pathlib import Path

import pytest
from calling import called
from home_five import Home

pytestmark = [pytest.mark.upstream, pytest.mark.slow]
SMALL = "--target-macs 0.6 --steps 1 --epochs 1 --batch-size 8 --workers 0 --device cpu --noplots --no-export".split()
KEYWORDS = {"target_macs": 0.6, "steps": 1, "epochs": 1, "batch_size": 8, "workers": 0, "device": "cpu"}
SWITCHES = {"noplots": True, "no_export": True, "rect": False}


def test_call_and_script_make_the_same_network(home: Home, nets5: Path, tiny5: dict[str, Path], tmp_path: Path) -> None:
    """One step of each; two calls in one process; refusals; nothing of the program's own argv, path or seed counts."""
    weights, data = nets5 / "dense.pt", tiny5["detect"]
    said = called(home, weights, data, tmp_path, SMALL, {**KEYWORDS, **SWITCHES}, "first", "second")
    elsewhere = tmp_path / "elsewhere"
    assert said["differ"] == [[], [], [], []], "the same widths and the same weights, each time"
    run, folder = said["run"], elsewhere / "calls" / "first"
    assert run["status"] == "done" and run["path"] == str(folder / "pruned.pt") and run["onnx"] is None
    assert run["plan"] == str(folder / "step1_plan.yaml") and Path(run["plan"]).is_file()
    assert 0.57 < run["macs_after"] / run["macs_before"] <= 0.63 and run["params_after"] < run["params_before"]
    assert 0 <= run["map_after"] <= run["map50_after"] and said["same"]
    assert said["planned"][:3] == ["planned", None, str(elsewhere / "calls/plan/plan.yaml")]
    assert 0.6 < said["planned"][3] < 0.9 and said["path"] == str(home.root)
