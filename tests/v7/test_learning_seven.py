# SPDX-License-Identifier: AGPL-3.0-or-later
"""Learning is real: a small network on digits, half of its channels, in two steps and in one; then both in INT8.

benchmarks/recovery_v7.py, with less data and all digits as one class: ten classes need minutes more until they tell two
steps from one. Under three minutes on a quiet core.
"""

from __future__ import annotations

import importlib
import json
import os
import shutil
from argparse import Namespace
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from home_seven import CHARTLESS, YAMLS, Home

pytestmark = [pytest.mark.upstream, pytest.mark.slow, pytest.mark.timeout(3600)]
BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
SIZES = Namespace(train=96, imgsz=64, seed=0, dense_epochs=14, epochs=9, words=["--single-cls"])
QUICK = "--workers 0 --device cpu --single-cls --exist-ok".split()


@pytest.fixture(scope="module")
def learned(
    fork7: Path, copy7: Callable[[Path], Home], tmp_path_factory: pytest.TempPathFactory
) -> tuple[Home, dict[str, Any]]:
    """A fork whose runs/ holds the four trainings (dense, dense_more, one_shot, steps), and everyone's figures."""
    home = copy7(fork7)
    (home.root / "cfg/training/yolov7-tiny.yaml").write_text(YAMLS["small"])
    site = tmp_path_factory.mktemp("site")
    (site / "sitecustomize.py").write_text("from chartless import leave_charts_empty\nleave_charts_empty()\n")
    env = {**home.env, "PYTHONPATH": os.pathsep.join([str(site), home.env["PYTHONPATH"]])}
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(BENCHMARKS))
        found = importlib.import_module("recovery_v7").recovery(SIZES, home.root, home.root / "runs", env)
    print({name: round(figures.map50, 3) for name, figures in found.items()})
    return home, found


def test_two_steps_recover(learned: tuple[Home, dict[str, Any]]) -> None:
    """Within 0.05 mAP50 of the dense network given the same extra epochs, and no worse than one shot but for 0.02."""
    _, found = learned
    dense, steps, shot = found["dense, as many more epochs"], found["two steps"], found["one shot"]
    assert found["dense"].map50 > 0.8, "the network has learned"
    assert steps.params == shot.params < 0.27 * dense.params
    assert steps.map50 > dense.map50 - 0.05
    assert steps.map50 > shot.map50 - 0.02
    assert found["one shot, just pruned"].map50 < shot.map50 - 0.2, "pruning alone had cost more than that"


def test_losses_weigh_the_same_in_every_step(learned: tuple[Home, dict[str, Any]]) -> None:
    """Two trainings in one process: train() scales the gains in place, and a shared dict would shrink them."""
    home, _ = learned
    gains = [step["gains"] for step in home.report("runs/steps")["steps"]]
    assert gains[0] == gains[1] == {"box": pytest.approx(0.075), "obj": pytest.approx(0.6), "cls": pytest.approx(0.075)}


@pytest.mark.parametrize("weights, method", [("best.pt", "dynamic"), ("runs/steps/pruned.pt", "static")])
def test_int8_loses_next_to_nothing(learned: tuple[Home, dict[str, Any]], weights: str, method: str) -> None:
    """The published line, on a copy of the dense network too: mAP50 within 0.01 of float, under 0.35 of its size."""
    home, _ = learned
    shutil.copy(home.root / "runs/dense/weights/best.pt", home.root / "best.pt")
    said = home.python(
        CHARTLESS, *f"quantify.py --weight {weights} --method {method} --name {method} --placement all".split(), *QUICK
    )
    assert ("best.pt is runs/dense/weights/" in said) == (weights == "best.pt"), "whose data set, by the same bytes"
    folder = home.root / "runs/quantify" / method
    record = json.loads((folder / "quantify.json").read_text())
    full, small = record["float"], record["int8"]
    assert full["map50"] > 0.8 and full["map50"] - small["map50"] < 0.01 and record["status"] == "done"
    assert record["size_ratio"] < 0.35 and small["bytes"] == (folder / small["file"]).stat().st_size
    assert record["image"] == 64 and record["onnx_max_error"] < 1e-3
    assert small["layers"] == 16 and small["float_layers"] == 0
    assert f"INT8 beside float: {record['size_ratio']:.3f} of the size" in said
    noted = (home.root / "runs/steps/report.md").read_text()
    assert (f"INT8 ({method}): `" in noted) == (weights != "best.pt")


def test_deploy_ends_with_the_fastest_file(learned: tuple[Home, dict[str, Any]]) -> None:
    """Without epochs: repaired on images; the files themselves are validated, the chosen one is a copy of its file."""
    home, _ = learned
    line = "deploy.py --weights runs/dense/weights/best.pt --target-macs 0.9 --repair 16 --calibration-images 16"
    home.python(CHARTLESS, *line.split(), *"--max-map-drop 1 --project runs --name deployed".split(), *QUICK)
    folder = home.root / "runs/deployed"
    record = json.loads((folder / "deploy.json").read_text())
    rows = {row["name"]: row for row in record["ladder"]}
    assert list(rows) == ["dense", "dense + INT8", "pruned", "pruned + INT8"] and record["status"] == "done"
    assert rows["dense"]["map50"] > 0.8 and abs(rows["dense + INT8"]["drop"]) < 0.02
    assert rows["pruned"]["bytes"] < rows["dense"]["bytes"]
    chosen = folder / rows[record["chosen"]["name"]]["file"]
    assert (folder / "deployed.onnx").read_bytes() == chosen.read_bytes()
