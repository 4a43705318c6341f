# SPDX-License-Identifier: AGPL-3.0-or-later
"""Train, prune, fine-tune in a fork, or load the result in a plain upstream; `python at_release.py ACTION FOLDER`.

The line on which ANSWERS stands holds parameters, of the dense network too, and the outputs on one image, summed.
"""

from __future__ import annotations

import json
import os
import runpy
import sys
from contextlib import suppress
from pathlib import Path
from unittest.mock import patch

import torch
from ultralytics import YOLO, __version__

os.environ["TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD"] = "1"  # plain releases are older than torch's restricted reader
QUICK = {"imgsz": 64, "batch": 8, "workers": 0, "device": "cpu", "plots": False, "epochs": 1, "optimizer": "SGD"}


def make(folder: Path) -> None:
    """A pruned and fine-tuned checkpoint, made as a user would: upstream's trainer, then prune_one_shot.py."""
    given = {**QUICK, "data": str(folder / "data" / "data.yaml"), "project": str(folder / "runs"), "exist_ok": True}
    YOLO(folder / "small.yaml").train(**given, name="dense")
    words = [f"{key}={value}" for key, value in {**given, "name": "pruned"}.items()]
    line = ["prune_one_shot.py", "--weights", str(folder / "runs/dense/weights/last.pt"), "--no-export", *words]
    with patch.object(sys, "argv", line), suppress(SystemExit):
        runpy.run_path(line[0], run_name="__main__")


def answer(folder: Path) -> dict[str, object]:
    """What the checkpoints hold: their parameters, and the sum of the pruned one's outputs in float64."""
    dense, model = (YOLO(folder / "runs" / name).model for name in ("dense/weights/last.pt", "pruned/pruned.pt"))
    model = model.double().eval()
    image = torch.linspace(0, 1, 3 * 64 * 64, dtype=torch.float64).reshape(1, 3, 64, 64)
    with torch.no_grad():
        total = model(image)[0].sum().item()
    params, before = (sum(p.numel() for p in it.parameters()) for it in (model, dense))
    return {"version": __version__, "params": params, "dense": before, "sum": total}


if __name__ == "__main__":
    action, folder = sys.argv[1], Path(sys.argv[2])
    if action == "make":
        make(folder)
    print("ANSWERS" + json.dumps(answer(folder)))
