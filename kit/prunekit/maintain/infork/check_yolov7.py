# SPDX-License-Identifier: AGPL-3.0-or-later
"""Runs inside a fork of YOLOv7: is what a walk has left what it should be? Ends with a message where it is not.

    python check_yolov7.py RUNS DATA

The tool starts this as a program and never imports it.
"""

from __future__ import annotations

import math
import sys
from argparse import Namespace
from pathlib import Path

import torch
from checks import LAST, last_size, need
from models import yolo
from prunekit_v7.network import graph_of
from prunekit_v7.quiet import quiet
from pruning.planning.plan import make_plan
from pruning.planning.scores import score_groups

# Parameters of the dense network and with half of its channels removed (local, L2, 80 classes). Those of yolov7 are
# the published ones.
COUNTS = {"yolov7": (37_622_682, 9_534_154), "yolov7-tiny": (6_228_762, 1_619_594)}


def main(runs: Path, data: str) -> None:
    """Look at everything; the first thing that is wrong ends the program."""
    for name, counts in COUNTS.items():
        need(halved(name), counts, f"parameters of {name} before and after")
    last_size(runs, size)
    epochs = [line.split()[0] for line in (runs / "tuned/results.txt").read_text().splitlines()]
    need(epochs, ["0/3", "1/3", "2/3", "3/3"], "epochs of a training that was killed and resumed")
    score = validated(str(runs / LAST), data, runs)
    need(math.isfinite(score) and 0 <= score <= 1, True, f"mAP50-95 {score}")


def halved(name: str) -> tuple[int, int]:
    """Return the parameters of a network before and after half of its channels are removed by plan."""
    file = Path(yolo.__file__).parents[1] / f"cfg/training/{name}.yaml"
    with quiet():
        model = yolo.Model(str(file), ch=3, nc=80).eval()
    graph = graph_of(model, torch.zeros(1, 3, 64, 64))
    plan = make_plan(graph, score_groups(graph, "l2"), ratio=0.5, floor=1)
    return plan.dense.params, plan.pruned.params


def size(file: Path) -> int:
    """Return the number of parameters of a checkpoint's network, unfused."""
    return sum(p.numel() for p in torch.load(file, map_location="cpu", weights_only=False)["model"].parameters())


def validated(weights: str, data: str, runs: Path) -> float:
    """Return a network's mAP50-95 by upstream's test.py, which reads a part of its options from a global."""
    import test

    test.opt = Namespace(device="cpu", project=str(runs), name="test", exist_ok=True, task="val", single_cls=False)
    return float(test.test(data, [weights], batch_size=8, imgsz=64, plots=False)[0][3])


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
