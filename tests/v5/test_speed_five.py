# SPDX-License-Identifier: AGPL-3.0-or-later
"""latency.py in the YOLOv5 fork, and what brings accuracy back in it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from home_five import HERE, Home

pytestmark = [pytest.mark.upstream, pytest.mark.slow]


def test_latency_line5(home: Home) -> None:
    for name in ("yolov5n", "yolov5s"):
        home.python(HERE / "make_five.py", f"{name} {name}.pt")
    words = "latency.py --dense yolov5s.pt --pruned yolov5n.pt --imgsz 64 --threads 1 --rounds 9 --json speed.json"
    output = home.python(*words.split())
    found = json.loads((home.root / "speed.json").read_text())
    assert set(found["speeds"]) == {"torch", "onnxruntime"} and found["image"] == 64
    assert found["networks"]["yolov5n"]["params"] == 1_777_447 and found["networks"]["yolov5n"]["macs_ratio"] > 3
    assert "MACs ratio is arithmetic" in output


def test_recalibrated_and_taught5(home: Home, tiny5: dict[str, Path]) -> None:
    home.python(HERE / "make_five.py", "yolov5n best.pt")
    words = f"prune_one_shot.py --weights best.pt --data {tiny5['detect']} --target-macs 0.5 --imgsz 64 --workers 0"
    more = "--batch-size 8 --epochs 1 --device cpu --noplots --recalibrate --distill 0.5 --no-export"
    output = home.python(*words.split(), *more.split())
    assert "BatchNorm statistics recalibrated on 2 training batches" in output and "MACs ratio=2.0" in output
    assert home.report("runs/prune/exp")["settings"]["distill"] == 0.5
