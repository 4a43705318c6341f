# SPDX-License-Identifier: AGPL-3.0-or-later
"""Train, prune, fine-tune in a fork, or load the result in a plain upstream; `python at_release.py ACTION FOLDER`.

The line on which ANSWERS stands holds parameters of the network and its outputs on one image, summed.
"""

from __future__ import annotations

import json
import runpy
import sys
from contextlib import suppress
from pathlib import Path
from unittest.mock import patch

import torch
from ultralytics import YOLO, __version__

SMALL = {"imgsz": 64, "batch": 8, "workers": 0, "device": "cpu", "plots": False, "epochs": 1, "optimizer": "SGD"}


def made(folder: Path) -> Path:
    """A pruned and fine-tuned checkpoint, made as a user would: upstream's trainer, then prune_one_shot.py."""
    given = {**SMALL, "data": str(folder / "data" / "data.yaml"), "project": str(folder / "runs"), "exist_ok": True}
    YOLO("yolov8n.yaml").train(**given, name="dense")
    words = [f"{key}={value}" for key, value in {**given, "name": "pruned"}.items()]
    line = ["prune_one_shot.py", "--weights", str(folder / "runs/dense/weights/last.pt"), "--no-export", *words]
    with patch.object(sys, "argv", line), suppress(SystemExit):
        runpy.run_path(line[0], run_name="__main__")
    return folder / "runs" / "pruned" / "pruned.pt"


def answer(checkpoint: Path) -> dict[str, object]:
    """What a checkpoint holds: its parameters, and the sum of its outputs in float64."""
    model = YOLO(checkpoint).model.double().eval()
    image = torch.linspace(0, 1, 3 * 64 * 64, dtype=torch.float64).reshape(1, 3, 64, 64)
    with torch.no_grad():
        total = model(image)[0].sum().item()
    return {"version": __version__, "params": sum(p.numel() for p in model.parameters()), "sum": total}


if __name__ == "__main__":
    action, folder = sys.argv[1], Path(sys.argv[2])
    found = answer(made(folder) if action == "make" else folder / "runs" / "pruned" / "pruned.pt")
    print("ANSWERS" + json.dumps(found))
