# SPDX-License-Identifier: AGPL-3.0-or-later
"""latency.py in the YOLOv5 fork."""

from __future__ import annotations

import json

import pytest
from home5 import HERE, Home

pytestmark = [pytest.mark.upstream, pytest.mark.slow]


def test_latency_line5(home: Home) -> None:
    for name in ("yolov5n", "yolov5s"):
        home.python(HERE / "make5.py", name, f"{name}.pt", "10")
    words = "latency.py --dense yolov5s.pt --pruned yolov5n.pt --imgsz 64 --threads 1 --rounds 9 --json speed.json"
    output = home.python(*words.split())
    found = json.loads((home.root / "speed.json").read_text())
    assert set(found["speeds"]) == {"torch", "onnxruntime"} and found["image"] == 64
    assert found["networks"]["yolov5n"]["params"] == 1_777_447 and found["networks"]["yolov5n"]["macs_ratio"] > 3
    assert "MACs ratio is arithmetic" in output
