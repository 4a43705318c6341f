# SPDX-License-Identifier: AGPL-3.0-or-later
"""Upstream's training loss on a few batches of its own train loader, for criteria that look at gradients."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Iterator
from itertools import islice
from typing import Any

from pruning.family.anchor_based import scale_gains
from pruning.family.contract import Network
from pruning.family.data_check import check_split
from torch import Tensor
from utils import loss
from utils.datasets import LoadImagesAndLabels, create_dataloader
from utils.general import init_seeds

from .data import read_yaml

BATCHES = 8


def losses(model: Network, opt: Namespace) -> Iterator[Tensor]:
    """One scalar a batch, graph attached, weighted as upstream weights it; `model` is in training mode meanwhile."""
    hyp, had = _hyp(model, opt), {key: getattr(model, key, None) for key in ("hyp", "gr")}
    model.hyp, model.gr, mode = hyp, 1.0, model.training
    aux = type(model.model[-1]).__name__ == "IAuxDetect"
    criterion = loss.ComputeLossAuxOTA(model) if aux else loss.ComputeLossOTA(model)
    init_seeds(2)  # as train.py does
    try:
        loader = _loader(model, opt, hyp)
        check_split(lambda: loader.dataset, "train", model.yaml["nc"], opt.data)
        for images, targets, *_ in islice(loader, BATCHES):
            model.train()
            scaled = images.float() / 255  # (n, 3, h, w), 0 to 1
            yield criterion(model(scaled), targets, scaled)[0].sum()
    finally:
        for key, value in had.items():
            setattr(model, key, value)
        model.train(mode)


def check_val(model: Network, opt: Namespace) -> None:
    """Refuse images and labels to validate on that training would trip over after its first epoch."""
    val = read_yaml("--data", opt.data)["val"]
    check_split(
        lambda: LoadImagesAndLabels(val, opt.img_size[1], batch_size=1, single_cls=opt.single_cls),
        "val",
        model.yaml["nc"],
        opt.data,
    )


def _hyp(model: Network, opt: Namespace) -> dict[str, Any]:
    """The hyperparameters with their loss gains scaled to the task, as train.py does before its first batch."""
    return scale_gains(read_yaml("--hyp", opt.hyp), model, opt.img_size[0], opt.label_smoothing)


def _loader(model: Network, opt: Namespace, hyp: dict[str, Any]) -> Any:
    """Upstream's training loader, without workers: what they would read ahead is thrown away."""
    train = read_yaml("--data", opt.data)["train"]
    size, stride = opt.img_size[0], max(int(model.stride.max()), 32)
    return create_dataloader(train, size, opt.batch_size, stride, opt, hyp=hyp, augment=True, workers=0)[0]
