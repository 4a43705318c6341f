# SPDX-License-Identifier: AGPL-3.0-or-later
"""Training images as validation sees them, for the ranges of an INT8 network; labels as a data set holds them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor
from ultralytics.cfg import get_cfg
from ultralytics.data.build import build_yolo_dataset
from ultralytics.data.dataset import ClassificationDataset
from ultralytics.data.utils import check_cls_dataset, check_det_dataset
from ultralytics.pruning.family.data_check import check_split


def check_labels(given: Mapping[str, Any], task: str, key: str, stride: int) -> None:
    """Refuse a split that training would end at, or that has no label; a set of folders (classify) has none to read.

    Args:
        given: upstream's train arguments; data and imgsz among them.
        task: the network's.
        key: the split (`val`).
        stride: largest stride of the network, in pixels.

    Raises:
        PruneError: naming the split and the reason.
    """
    if task == "classify":
        return
    args: Any = get_cfg(overrides={**given, "task": task, "rect": False, "cache": False})
    data = check_det_dataset(args.data)

    def made() -> SimpleNamespace:
        files: Any = build_yolo_dataset(args, data[key], batch=1, data=data, mode="val", stride=stride)
        return SimpleNamespace(labels=[row["cls"] for row in files.labels], im_files=files.im_files)

    check_split(made, key, 1 if args.single_cls else data["nc"], str(args.data))


def images(given: Mapping[str, Any], task: str, stride: int) -> Iterator[Tensor]:
    """See `Family.images`: upstream's data set of the training split, in its validation form.

    Args:
        given: upstream's train arguments; data and imgsz among them.
        task: the network's.
        stride: largest stride of the network, in pixels.
    """
    args: Any = get_cfg(overrides={**given, "task": task, "rect": False})
    if task == "classify":
        data = check_cls_dataset(args.data)
        made: Any = ClassificationDataset(root=data["train"], args=args, augment=False, prefix="calibration")
    else:
        data = check_det_dataset(args.data)
        made = build_yolo_dataset(args, data["train"], batch=1, data=data, mode="val", rect=False, stride=stride)
    for number in torch.randperm(len(made), generator=torch.Generator().manual_seed(0)).tolist():
        image = made[number]["img"]  # (channels, h, w): bytes, or for classify floats that are ready
        yield (image.float() / 255 if image.dtype == torch.uint8 else image.float())[None]
