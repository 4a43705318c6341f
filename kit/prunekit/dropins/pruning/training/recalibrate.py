# SPDX-License-Identifier: AGPL-3.0-or-later
"""BatchNorm statistics after pruning: measured anew on training images, without gradients.

Channels that are gone shift what the next layers see, and running means and variances still describe the old network.
Measuring them anew is most of what a pruned network can get back without training, and ranks candidates (Li et al.,
EagleEye, ECCV 2020, arXiv:2007.02491, section 3.3).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import PruneError

Batches = Callable[[], Iterable[Any]]  # each a forward pass; what comes of it is not looked at


def recalibrate(model: nn.Module, batches: Batches) -> int:
    """Replace the running statistics of every BatchNorm by the average over these batches, in place.

    Weights, modes, momenta and requires_grad stay as they are.

    Args:
        model: the pruned network.
        batches: each item it yields stands for one training batch that it ran through `model` (a family's `losses`).

    Returns:
        How many batches were seen.

    Raises:
        PruneError: there was no batch, or none of them reached a BatchNorm; the statistics are as before then.
    """
    norms = [m for m in model.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm) and m.track_running_stats]
    modes = {module: module.training for module in model.modules()}
    before = [(norm, norm.momentum, _statistics(norm)) for norm in norms]
    reached = False
    try:
        for norm in norms:
            norm.reset_running_stats()
            norm.momentum = None  # torch then averages over all batches alike
        model.train()
        with torch.no_grad():
            seen = sum(1 for _ in batches())
        reached = any(_tracked(norm) for norm in norms)
    finally:
        for module, mode in modes.items():
            module.training = mode
        for norm, momentum, statistics in before:
            norm.momentum = momentum
            if not (reached and _tracked(norm)):  # a branch that training does not use keeps its own
                _put_back(norm, statistics)
    if norms and not reached:
        raise PruneError("No training batch reached a BatchNorm: is the data set empty? Leave --recalibrate out.")
    return seen


def _statistics(norm: Any) -> tuple[Tensor, Tensor, Tensor]:
    return norm.running_mean.clone(), norm.running_var.clone(), norm.num_batches_tracked.clone()


def _put_back(norm: Any, statistics: tuple[Tensor, Tensor, Tensor]) -> None:
    for buffer, value in zip((norm.running_mean, norm.running_var, norm.num_batches_tracked), statistics, strict=True):
        buffer.copy_(value)


def _tracked(norm: nn.Module) -> int:
    """How many batches a norm has averaged."""
    return int(norm.get_buffer("num_batches_tracked"))
