# SPDX-License-Identifier: AGPL-3.0-or-later
"""Runs inside a fork of ultralytics: is what a walk has left what it should be? Ends with a message where it is not.

    python check_ultralytics.py RUNS DATA

The tool starts this as a program and never imports it.
"""

from __future__ import annotations

import csv
import math
import sys
from pathlib import Path

import torch
from ultralytics import YOLO
from ultralytics.nn.modules import Detect, block
from ultralytics.nn.tasks import DetectionModel
from ultralytics.prunekit.blocks import RULES, ignored_layers, trace_forward
from ultralytics.prunekit.releases import load_checkpoint
from ultralytics.pruning.network.graph import PruningGraph
from ultralytics.pruning.network.surgery import split_blocks
from ultralytics.pruning.planning.plan import make_plan
from ultralytics.pruning.planning.scores import score_groups

# Parameters of the dense network and with half of its channels removed (local, L2, 80 classes, only head outputs kept).
COUNTS = {"yolov8n": (3_157_200, 800_264), "yolo11n": (2_624_080, 757_576)}
OF_830 = (2_724_448, 693_968)  # 8.3.0 builds YOLOv8 with the head of YOLO11, which it knows no `legacy` of


def main(runs: Path, data: str) -> None:
    """Look at everything; the first thing that is wrong ends the program."""
    has_11 = hasattr(block, "C3k2")  # from 8.3.0 on
    for name, counts in COUNTS.items():
        if name == "yolo11n" and not has_11:
            continue
        early = name == "yolov8n" and has_11 and not hasattr(Detect, "legacy")
        need(halved(name), OF_830 if early else counts, f"parameters of {name} before and after")
    sparse = torch.load(runs / "sparse/weights/last.pt", map_location="cpu", weights_only=False)["train_args"]
    need([sparse["sparsity"], sparse["sparsity_beta"]], [0.01, 0.01], "penalty in the checkpoint")
    dense, pruned, last = (
        size(runs / name) for name in ("sparse/weights/last.pt", "pruned/pruned.pt", "tuned/weights/last.pt")
    )
    need(pruned < 0.5 * dense, True, f"pruning to less than half of {dense} parameters ({pruned})")
    need(last, pruned, "parameters after fine-tuning, a kill and a resume")
    rows = list(csv.DictReader((runs / "tuned/results.csv").open(), skipinitialspace=True))
    need([int(float(row["epoch"])) for row in rows], [1, 2, 3, 4], "epochs of a training that was killed and resumed")
    score = YOLO(runs / "tuned/weights/best.pt").val(data=data, imgsz=64, device="cpu", workers=0, plots=False).box.map
    need(math.isfinite(score) and 0 <= score <= 1, True, f"mAP50-95 {score}")


def halved(name: str) -> tuple[int, int]:
    """Return the parameters of a network before and after half of its channels are removed by plan."""
    model = DetectionModel(f"{name}.yaml", verbose=False).eval()
    split_blocks(model, RULES)
    ignored, example = ignored_layers(model, "outputs"), torch.zeros(1, 3, 64, 64)
    graph = PruningGraph.build(model, example, forward=trace_forward, ignored=ignored, rules=RULES)
    plan = make_plan(graph, score_groups(graph, "l2"), ratio=0.5, floor=1)
    return plan.dense.params, plan.pruned.params


def size(file: Path) -> int:
    """Return the number of parameters of a checkpoint's network."""
    return sum(p.numel() for p in load_checkpoint(file)[0].parameters())


def need(found: object, wanted: object, what: str) -> None:
    """End the program unless what was found is what was wanted."""
    if found != wanted:
        sys.exit(f"{what}: {found}, not {wanted}")


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
