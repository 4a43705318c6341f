# SPDX-License-Identifier: AGPL-3.0-or-later
"""What YOLOv5 and YOLOv7 do alike with their data: loss gains scaled to the task, training images as validation's."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor

from .contract import Network
from .data_check import check_names_of_images


def scale_gains(hyp: dict[str, Any], model: Network, imgsz: int, smoothing: float) -> dict[str, Any]:
    """The hyperparameters with their loss gains scaled to the task, as train.py does before its first batch."""
    levels = model.model[-1].nl
    hyp["box"] *= 3 / levels
    hyp["cls"] *= model.yaml["nc"] / 80 * 3 / levels
    hyp["obj"] *= (imgsz / 640) ** 2 * 3 / levels
    hyp["label_smoothing"] = smoothing
    return hyp


def plain_images(make: Callable[..., Any], train: Any, imgsz: int, stride: int, opt: Any) -> Iterator[Tensor]:
    """See `Family.images`: upstream's training set without augmentation, letterboxed to a square.

    Args:
        make: upstream's `LoadImagesAndLabels`.
        train: the folders of the training images.
        imgsz: pixels.
        stride: largest of the network.
        opt: upstream's options.
    """
    made = make(train, imgsz, 1, augment=False, rect=False, stride=stride, single_cls=opt.single_cls)
    check_names_of_images(made.im_files if hasattr(made, "im_files") else made.img_files, opt.data)
    for number in torch.randperm(len(made), generator=torch.Generator().manual_seed(0)).tolist():
        yield made[number][0][None].float() / 255  # (1, 3, imgsz, imgsz)
