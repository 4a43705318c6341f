# SPDX-License-Identifier: AGPL-3.0-or-later
"""What a checkpoint finds in images, by upstream's predictor."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from torch import Tensor
from ultralytics import YOLO
from ultralytics.pruning.family.contract import Found
from ultralytics.pruning.family.detections import CONFIDENCE, box_outline, labelled


def found_in(weights: Path, task: str, images: Sequence[Tensor], imgsz: int, project: str) -> list[list[Found]]:
    """See `Family.found`: outlines of boxes, rotated boxes or masks; the most likely class of a classifier."""
    model: Any = YOLO(weights, task=task)
    settings = {"conf": CONFIDENCE, "device": "cpu", "verbose": False, "save": False, "imgsz": imgsz}
    return [_objects(model.predict(image, project=project, **settings)[0]) for image in images]


def _objects(result: Any) -> list[Found]:
    """The objects of one image; what a task has no outline of gets its box."""
    if result.probs is not None:
        return [labelled(result.names, result.probs.top1, float(result.probs.top1conf))]
    rows = result.obb if result.obb is not None else result.boxes
    if result.obb is not None:
        outlines: Any = rows.xyxyxyxy.tolist()
    elif result.masks is not None:
        outlines = result.masks.xy
    else:
        outlines = [box_outline(box) for box in rows.xyxy.tolist()]
    return [
        labelled(result.names, kind, sure, outline)
        for kind, sure, outline in zip(rows.cls.tolist(), rows.conf.tolist(), outlines, strict=True)
    ]
