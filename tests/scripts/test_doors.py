# SPDX-License-Identifier: AGPL-3.0-or-later
"""Upstream's own ways to a checkpoint in a fork of ultralytics: its loading code, and networks that hold their loss."""

from __future__ import annotations

import attacks
import pytest
from workshop import Workshop

pytestmark = [pytest.mark.upstream]
LOSS = """
import torch
from ultralytics.nn.tasks import DetectionModel
from ultralytics.nn.modules import v10Detect
from ultralytics.utils import IterableSimpleNamespace
from ultralytics.prunekit.adapter import Ultralytics
from pathlib import Path
for name in ("yolov8n.yaml", "yolov10n.yaml"):
    model = DetectionModel(name, nc=4, verbose=False)
    model.args = IterableSimpleNamespace(box=7.5, cls=0.5, dfl=1.5, imgsz=64, task="detect", model=Path("x.pt"))
    model.criterion = model.init_criterion()
    assert type(model.criterion).__name__[:1].islower() or isinstance(model.model[-1], v10Detect)
    torch.save({"epoch": 3, "model": None, "ema": model.half(), "optimizer": {"state": {}}, "train_args": {}}, "x.pt")
    Ultralytics({}).check(Path("x.pt"))
    loaded = Ultralytics({}).load(Path("x.pt"))
    assert type(loaded.model[-1]) is type(model.model[-1]) and not hasattr(loaded, "criterion")
    data = Path("x.pt").read_bytes()
print("loads")
"""


def test_an_interrupted_training_is_no_foreign_code(workshop: Workshop) -> None:
    """A network that still has its loss (v8DetectionLoss), and one whose head's name begins small (v10Detect)."""
    assert "loads" in workshop.python("-c", LOSS)


CHILD = """
from ultralytics import YOLO
from ultralytics.pruning.errors import PruneError
YOLO("best.pt")
try:
    YOLO("posix.pt")
except PruneError as error:
    print("refused", error)
"""


def test_processes_that_a_script_starts_are_behind_the_door(workshop: Workshop) -> None:
    """As a rank of DDP is: it loads the checkpoint by upstream's code alone."""
    workshop.network("yolov8n.yaml", "best.pt")
    (workshop.root / "posix.pt").write_bytes(attacks.archive(attacks.PICKLES["posix"]))
    said = workshop.python("-c", CHILD, PRUNEKIT_DOOR="closed")
    assert "refused posix.pt: loading this file would run posix.system" in said
    assert not (workshop.root / "owned").exists()
