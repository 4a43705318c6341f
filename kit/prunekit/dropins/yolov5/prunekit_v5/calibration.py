# SPDX-License-Identifier: AGPL-3.0-or-later
"""Upstream's training images: its loss on a few batches, for criteria that look at gradients, and images for INT8."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from itertools import islice
from typing import Any

import yaml
from pruning.family.anchor_based import plain_images, scale_gains
from pruning.family.contract import Network
from pruning.family.data_check import check_split
from torch import Tensor
from utils import dataloaders, loss
from utils.general import check_dataset
from utils.segment import dataloaders as mask_dataloaders
from utils.segment import loss as mask_loss

BATCHES = 8
BATCH = 16


def losses(model: Network, opt: argparse.Namespace, task: str) -> Iterator[Tensor]:
    """One scalar a batch, graph attached, weighted as train.py weights it; `model` is in training mode meanwhile."""
    hyp = _hyp(model, opt)
    own, model.hyp, mode = getattr(model, "hyp", None), hyp, model.training
    segment = task == "segment"
    criterion = mask_loss.ComputeLoss(model, overlap=not opt.no_overlap) if segment else loss.ComputeLoss(model)
    try:
        loader = _loader(model, opt, hyp, segment)
        check_split(lambda: loader.dataset, "train", model.yaml["nc"], opt.data)
        for images, targets, _, _, *masks in islice(loader, BATCHES):
            model.train()
            outputs = model(images.float() / 255)  # (n, 3, h, w), 0 to 1
            more = {"masks": masks[0].float()} if segment else {}
            yield criterion(outputs, targets, **more)[0].sum()
    finally:
        model.hyp = own
        model.train(mode)


def check_val(model: Network, opt: argparse.Namespace) -> None:
    """Refuse images and labels to validate on that training would trip over after its first epoch."""
    val = check_dataset(opt.data, autodownload=False)["val"]
    check_split(
        lambda: dataloaders.LoadImagesAndLabels(val, opt.imgsz, batch_size=1, single_cls=opt.single_cls),
        "val",
        model.yaml["nc"],
        opt.data,
    )


def images(opt: argparse.Namespace, stride: int) -> Iterator[Tensor]:
    """See `Family.images`."""
    train = check_dataset(opt.data)["train"]
    return plain_images(dataloaders.LoadImagesAndLabels, train, opt.imgsz, stride, opt)


def _hyp(model: Network, opt: argparse.Namespace) -> dict[str, Any]:
    """The hyperparameters with their loss gains scaled to the task, as train.py does before its first batch."""
    with open(opt.hyp, encoding="utf-8", errors="ignore") as file:
        hyp = yaml.safe_load(file)
    return scale_gains(hyp, model, opt.imgsz, opt.label_smoothing)


def _loader(model: Network, opt: argparse.Namespace, hyp: dict[str, Any], segment: bool) -> Any:
    """Upstream's training loader, without workers: what they would read ahead is thrown away."""
    batch = opt.batch_size if opt.batch_size > 0 else BATCH
    common = {"hyp": hyp, "augment": True, "rect": opt.rect, "workers": 0, "shuffle": True, "seed": opt.seed}
    place = (check_dataset(opt.data)["train"], opt.imgsz, batch, max(int(model.stride.max()), 32), opt.single_cls)
    if segment:
        masks = {"mask_downsample_ratio": opt.mask_ratio, "overlap_mask": not opt.no_overlap}
        create: Any = mask_dataloaders.create_dataloader
        return create(*place, **common, **masks)[0]
    create = dataloaders.create_dataloader
    return create(*place, **common)[0]
