# SPDX-License-Identifier: AGPL-3.0-or-later
"""Runs inside a fork of YOLOv5: is what a walk has left what it should be? Ends with a message where it is not.

    python check_yolov5.py RUNS DATA

The tool starts this as a program and never imports it.
"""

from __future__ import annotations

import csv
import math
import sys
from pathlib import Path

import torch
from checks import LAST, last_size, need
from models import yolo
from models.experimental import attempt_load
from prunekit_v5.adapter import Yolov5, ignored_layers
from pruning.network.graph import PruningGraph
from pruning.planning.plan import make_plan
from pruning.planning.scores import score_groups

# Parameters of the dense network and with half of its channels removed (local, L2, 80 classes, only head outputs kept).
COUNTS = {"yolov5n": (1_872_157, 499_981)}


def main(runs: Path, data: str) -> None:
    """Look at everything; the first thing that is wrong ends the program."""
    for name, counts in COUNTS.items():
        need(halved(name), counts, f"parameters of {name} before and after")
    last_size(runs, size)
    rows = list(csv.DictReader((runs / "tuned/results.csv").open(), skipinitialspace=True))
    epochs = [int(float(next(value for key, value in row.items() if key.strip() == "epoch"))) for row in rows]
    need(epochs, [0, 1, 2, 3], "epochs of a training that was killed and resumed")
    import val

    how = {"imgsz": 64, "batch_size": 8, "device": "cpu", "plots": False, "workers": 0}
    score = val.run(data=data, weights=str(runs / LAST), **how)[0][3]
    need(math.isfinite(score) and 0 <= score <= 1, True, f"mAP50-95 {score}")


def halved(name: str) -> tuple[int, int]:
    """Return the parameters of a network before and after half of its channels are removed by plan."""
    model = yolo.DetectionModel(str(Path(yolo.__file__).parent / f"{name}.yaml"), ch=3, nc=80).eval()
    with Yolov5().tracing(model):
        graph = PruningGraph.build(model, torch.zeros(1, 3, 64, 64), ignored=ignored_layers(model, "outputs"), rules=())
    plan = make_plan(graph, score_groups(graph, "l2"), ratio=0.5, floor=1)
    return plan.dense.params, plan.pruned.params


def size(file: Path) -> int:
    """Return the number of parameters of a checkpoint's network."""
    return sum(p.numel() for p in attempt_load(str(file), device="cpu", fuse=False).parameters())


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
