# SPDX-License-Identifier: AGPL-3.0-or-later
"""The published train arguments, word for word where there is a GPU, and on the CPU where there is none."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from workshop import Workshop

pytestmark = [pytest.mark.upstream, pytest.mark.slow]
# Says whether a fine-tuning ran under AMP, by the arguments in its checkpoint.
AMP = "import sys, torch; print('amp', torch.load(sys.argv[1], weights_only=False)['train_args']['amp'])"


def test_published_arguments(ready: Workshop) -> None:
    device = "0" if torch.cuda.is_available() else "cpu"
    line = f"prune_one_shot.py --weights best.pt --data VOC.yaml --epochs 5 --imgsz 640 --device {device}"
    ready.python(*line.split())
    report = ready.report("runs/detect/prune")
    assert report["image"] == 640 and report["arguments"]["epochs"] == 5 and report["status"] == "done"
    assert "amp False" in ready.python("-c", AMP, "runs/detect/prune/step1_finetune/weights/last.pt")


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here")
def test_network_trains_on_the_gpu_without_amp(ready: Workshop, tiny_set: Path) -> None:
    probe = f"""
from ultralytics import YOLO
seen = []
yolo = YOLO("best.pt")
def look(trainer):
    seen.append((trainer.amp, trainer.scaler.is_enabled(), next(trainer.model.parameters()).is_cuda))
yolo.add_callback("on_train_batch_end", look)
yolo.train(data={str(tiny_set)!r}, epochs=1, imgsz=64, device=0, plots=False)
print("seen", set(seen))
"""
    assert "seen {(False, False, True)}" in ready.python("-c", probe)
