# SPDX-License-Identifier: AGPL-3.0-or-later
"""What brings accuracy back, in whole runs: --recalibrate, --distill, and the estimate of --plan-only."""

from __future__ import annotations

from pathlib import Path

import pytest
from workshop import Workshop

pytestmark = [pytest.mark.upstream, pytest.mark.slow]
QUICK = "--imgsz 64 --batch 8 --epochs 1 --device cpu --workers 0 --plots False".split()


def test_recalibrated_and_taught(workshop: Workshop, tiny_set: Path) -> None:
    workshop.network("yolov8n.yaml", "best.pt")
    words = ("prune_one_shot.py", "--weights", "best.pt", "--data", str(tiny_set), "--target-macs", "0.5")
    output = workshop.python(*words, *QUICK, "--recalibrate", "--distill", "0.5", "--no-export", "--name", "taught")
    assert "BatchNorm statistics recalibrated on 2 training batches" in output and "MACs ratio=2.0" in output
    settings = workshop.report("runs/detect/taught")["settings"]
    assert settings["recalibrate"] is True and settings["distill"] == 0.5
    previewed = workshop.python(*words, *QUICK, "--plan-only", "--name", "preview")
    assert "estimate    mAP50 0." in previewed and "fine-tuning, repaired on 16 training images" in previewed
    assert "smallest    " in previewed and "layers: output" in previewed
    assert not (workshop.root / "best.yaml").exists() and (workshop.root / "runs/detect/preview/plan.yaml").is_file()
