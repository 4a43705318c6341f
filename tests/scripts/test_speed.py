# SPDX-License-Identifier: AGPL-3.0-or-later
"""latency.py as a user types it."""

from __future__ import annotations

import json

import pytest
from workshop import Workshop

pytestmark = [pytest.mark.upstream, pytest.mark.slow]


def test_latency_line(workshop: Workshop) -> None:
    """Two networks of known size, in both runtimes."""
    workshop.network("yolov8n.yaml", "best.pt")
    workshop.network("yolov8s.yaml", "wide.pt")
    words = ("latency.py", "--dense", "wide.pt", "--pruned", "best.pt", "--imgsz", "64", "--threads", "1")
    output = workshop.python(*words, "--rounds", "9", "--json", "speed.json")
    found = json.loads((workshop.root / "speed.json").read_text())
    assert set(found["speeds"]) == {"torch", "onnxruntime"} and found["image"] == 64
    assert found["networks"]["best"]["params"] == 3_012_798 and found["networks"]["best"]["macs_ratio"] > 3
    assert found["speeds"]["onnxruntime"]["best"]["rounds"] == 9 and "MACs ratio is arithmetic" in output
