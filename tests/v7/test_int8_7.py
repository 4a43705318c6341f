# SPDX-License-Identifier: AGPL-3.0-or-later
"""quantify.py in the YOLOv7 fork, on a yolov7-tiny that has learned (digits as one class) and on half of it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from home7 import Home

pytestmark = [pytest.mark.upstream, pytest.mark.slow]
# As for 96 images: nothing mirrored, plain loss, each batch a step, gains that count at 64 px.
HYP = {"lr0": 0.02, "lrf": 0.1, "momentum": 0.9, "warmup_iters": 12, "nbs": 8, "obj": 40.0, "loss_ota": 0,
       "mosaic": 0.0, "mixup": 0.0, "paste_in": 0.0, "fliplr": 0.0, "scale": 0.3, "translate": 0.15,
       "hsv_h": 0.0, "hsv_s": 0.0, "hsv_v": 0.0, "warmup_bias_lr": 0.02}
QUICK = "--batch-size 8 --workers 0 --device cpu --single-cls --img-size 64 64 --exist-ok".split()


@pytest.fixture(scope="module")
def learned(fork7: Path, copy_of: Callable[[Path], Home]) -> Home:
    """runs/train/dense and runs/prune/half, a pruning run."""
    from prunekit.demo.digits import build

    home = copy_of(fork7)
    build(home.root / "digits", train=96, val=48, imgsz=64, seed=0)
    usual = yaml.safe_load((home.root / "data/hyp.scratch.tiny.yaml").read_text())
    (home.root / "hyp.yaml").write_text(yaml.safe_dump({**usual, **HYP}))
    more = ["--data", "digits/data.yaml", "--hyp", "hyp.yaml", "--noautoanchor", *QUICK]
    home.python("train.py", "--weights", "", "--cfg", "cfg/training/yolov7-tiny.yaml", "--epochs", "14",
                "--name", "dense", *more)
    home.python("prune_one_shot.py", "--weights", "runs/train/dense/weights/best.pt", "--prune-ratio", "0.5",
                "--epochs", "6", "--no-export", "--name", "half", *more)
    return home


@pytest.mark.parametrize("weights", ["runs/train/dense/weights/best.pt", "runs/prune/half/pruned.pt"])
def test_static_loses_next_to_nothing(learned: Home, weights: str) -> None:
    """mAP50 within 0.01 of float, under 0.35 of its size; data and size as the record beside the weights has them."""
    line = f"quantify.py --weight {weights} --method static --name static"
    said = learned.python(*line.split(), "--workers", "0", "--device", "cpu", "--single-cls", "--exist-ok")
    folder = learned.root / "runs/quantify/static"
    record = json.loads((folder / "quantify.json").read_text())
    full, small = record["float"], record["int8"]
    assert full["map50"] > 0.5, "the network has learned"
    assert full["map50"] - small["map50"] < 0.01 and record["status"] == "done"
    assert record["size_ratio"] < 0.35 and small["bytes"] == (folder / small["file"]).stat().st_size
    assert record["image"] == 64 and record["images"] == 96 and record["onnx_max_error"] < 1e-3
    assert small["layers"] == 58 and small["float_layers"] == 0
    assert f"INT8 beside float: {record['size_ratio']:.3f} of the size" in said
    noted = (learned.root / "runs/prune/half/report.md").read_text()
    assert ("INT8 (static): `" in noted) == weights.startswith("runs/prune")
