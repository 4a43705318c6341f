# SPDX-License-Identifier: AGPL-3.0-or-later
"""`import prune; prune.run(...)` in forks of YOLOv5 and YOLOv7: what the script makes, bit for bit, and refusals."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from calling import called
from forkhome import Home
from kinds import FIVE, SEVEN, Family, marks

pytestmark = [pytest.mark.upstream]
FLAGS = "--target-macs 0.6 --steps 1 --epochs 1 --batch-size 8 --workers 0 --device cpu --no-export"
SAME = {"target_macs": 0.6, "steps": 1, "epochs": 1, "batch_size": 8, "workers": 0, "device": "cpu", "no_export": True}
# Flags and keywords of the family's own; the names of the calls' runs.
CASES = (
    (FIVE, "--noplots", {"noplots": True, "rect": False}, ("first", "second")),
    (SEVEN, "--noautoanchor --img-size 64 64", {"noautoanchor": True, "img_size": [64, 64]}, ("first",)),
)


@pytest.mark.parametrize(
    "family, flags, keywords, names", [pytest.param(*case, id=case[0].name, marks=marks(case[0])) for case in CASES]
)
def test_call_and_script_make_the_same_network(
    home: Home, family: Family, flags: str, keywords: dict[str, Any], names: tuple[str, ...], tmp_path: Path
) -> None:
    """One step of each, from elsewhere; nothing of the program's own argv, path, seed or module `test` counts."""
    weights, data = home.root / "best.pt", home.root / "tiny.yaml"
    said = called(home, weights, data, tmp_path, [*FLAGS.split(), *flags.split()], {**SAME, **keywords}, *names)
    elsewhere = tmp_path / "elsewhere"
    assert said["differ"] == [[], []] * len(names), "the same widths and the same weights, each time"
    run, folder = said["run"], elsewhere / "calls" / "first"
    assert run["status"] == "done" and run["path"] == str(folder / "pruned.pt") and run["onnx"] is None
    assert run["plan"] == str(folder / "step1_plan.yaml") and Path(run["plan"]).is_file()
    assert 0.57 < run["macs_after"] / run["macs_before"] <= 0.63 and run["params_after"] < run["params_before"]
    assert 0 <= run["map_after"] <= run["map50_after"] and said["same"]
    assert said["planned"][:3] == ["planned", None, str(elsewhere / "calls/plan/plan.yaml")]
    assert 0.6 < said["planned"][3] < 0.9
    assert family is SEVEN or said["path"] == str(home.root)  # YOLOv7 appends "./" by itself
