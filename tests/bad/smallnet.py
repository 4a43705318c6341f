# SPDX-License-Identifier: AGPL-3.0-or-later
"""A checkpoint of six layers, as an upstream's training leaves it.

Most lines of the table load one; with a small network that takes no time.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
import yaml

ANCHORS = [[10, 13, 16, 30, 33, 23], [30, 61, 62, 45, 59, 119], [116, 90, 156, 198, 373, 326]]
CONVS = [[-1, 1, "Conv", [width, 3, 2]] for width in (16, 16, 24, 32, 32)]  # strides 2, 4, 8, 16, 32
HEADS = {"v8": ("Detect", ["nc"]), "v5": ("Detect", ["nc", "anchors"]), "v7": ("IDetect", ["nc", "anchors"])}


def structure(upstream: str, classes: int) -> dict[str, Any]:
    """The network's YAML: five convolutions and the head on the last three."""
    head, arguments = HEADS[upstream]
    scales: dict[str, Any] = {"depth_multiple": 1.0, "width_multiple": 1.0, "anchors": ANCHORS}
    own = {} if upstream == "v8" else scales
    return {"nc": classes, **own, "backbone": CONVS, "head": [[[2, 3, 4], 1, head, arguments]]}


def checkpoint(upstream: str, content: dict[str, Any], classes: int) -> dict[str, Any]:
    """What upstream's training saves, without optimizer; a file of ultralytics says its size and task, too."""
    names = dict(enumerate("abcdefghijklmnopqrstuvwxyz"[:classes]))
    if upstream == "v8":
        from ultralytics.nn.tasks import DetectionModel

        model: Any = DetectionModel(content, ch=3, nc=classes, verbose=False)
        model.args = {"imgsz": 64, "task": "detect", "model": "net.yaml"}
        more: dict[str, Any] = {"train_args": {"imgsz": 64, "task": "detect"}}
    else:
        from models.yolo import Model

        model = Model(content, ch=3, nc=classes)
        more = {"opt": {"imgsz": 64}} if upstream == "v5" else {}
    model.names, model.nc = names if upstream != "v7" else list(names.values()), classes
    empty = dict.fromkeys(("best_fitness", "ema", "updates", "optimizer"))
    return {**empty, "epoch": -1, "model": _scattered(model).half().requires_grad_(False), **more}


def _scattered(model: Any) -> Any:
    """Batch norms of different scales: criteria can rank."""
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.weight.data.uniform_(0.5, 1.5)
    return model


def write(upstream: str, target: Path, classes: int = 10) -> None:
    """Write the checkpoint, and net.yaml beside it; in the folder of the upstream's fork."""
    torch.manual_seed(0)
    content = structure(upstream, classes)
    target.with_name("net.yaml").write_text(yaml.safe_dump(content, sort_keys=False))
    torch.save(checkpoint(upstream, content, classes), target)
