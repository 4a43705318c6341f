# SPDX-License-Identifier: AGPL-3.0-or-later
"""BatchNorm statistics after pruning: measured again on training images, without gradients.

Channels that are gone shift what the next layers see, and running means and variances still describe the old network.
Measuring them again is most of what a pruned network can get back without training, and ranks candidates (Li et al.,
EagleEye, ECCV 2020, arXiv:2007.02491, section 3.3).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import PruneError

Batches = Callable[[], Iterable[Any]]  # each a forward pass; what comes of it is not looked at


def recalibrate(model: nn.Module, batches: Batches) -> int:
    """Replace the running statistics of every BatchNorm by those of all images of these batches, in place.

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
    totals = {norm: _Total() for norm in norms}
    hooks = [hook for norm, total in totals.items() for hook in _watching(norm, total)]
    reached = False
    try:
        model.train()
        with torch.no_grad():
            seen = sum(1 for _ in batches())
        reached = any(total.count > 1 for total in totals.values())
    finally:
        for hook in hooks:
            hook.remove()
        for module, mode in modes.items():
            module.training = mode
        for norm, momentum, statistics in before:
            norm.momentum = momentum
            # a branch that training does not use keeps its own
            _put(norm, totals[norm].statistics(norm) if reached and totals[norm].count > 1 else statistics)
    if norms and not reached:
        raise PruneError("No training batch reached a BatchNorm: is the data set empty? Leave --recalibrate out.")
    return seen


@dataclass
class _Total:
    """Of all values that a norm was given, per channel: how many, their mean, and their squared distances from it."""

    count: int = 0
    calls: int = 0
    mean: Tensor | None = None
    square: Tensor | None = None

    def add(self, given: Tensor) -> None:
        """Values (n, channels, ...) (Chan et al., 1983, eq. 2.1: exact over batches of any size)."""
        dims = [axis for axis in range(given.dim()) if axis != 1]
        number = given.numel() // max(1, given.shape[1])
        variance, mean = (part.cpu().double() for part in torch.var_mean(given.float(), dims, correction=0))
        self.calls += 1
        if self.mean is None or self.square is None:
            self.count, self.mean, self.square = number, mean, variance * number
            return
        total, off = self.count + number, mean - self.mean
        self.square = self.square + variance * number + off.pow(2) * (self.count * number / total)
        self.mean, self.count = self.mean + off * (number / total), total

    def statistics(self, norm: Any) -> tuple[Tensor, Tensor, Tensor]:
        """Mean and (unbiased) variance over all images, and the number of batches."""
        assert self.mean is not None and self.square is not None
        return self.mean, self.square / (self.count - 1), torch.tensor(self.calls)


def _watching(norm: Any, total: _Total) -> list[Any]:
    """Add up what a norm in training mode is given; one value per channel has no variance to be normalised by."""
    skipped: list[bool] = []

    def before(module: nn.Module, args: Any) -> None:
        skipped.append(module.training and args[0].numel() == args[0].shape[1])
        if module.training:
            total.add(args[0])
            norm.momentum = 0.0  # its own running statistics stay
        if skipped[-1]:
            module.training = False

    def after(module: nn.Module, args: Any, output: Any) -> None:
        module.training = module.training or skipped.pop()

    return [norm.register_forward_pre_hook(before), norm.register_forward_hook(after)]


def _statistics(norm: Any) -> tuple[Tensor, Tensor, Tensor]:
    return norm.running_mean.clone(), norm.running_var.clone(), norm.num_batches_tracked.clone()


def _put(norm: Any, statistics: tuple[Tensor, Tensor, Tensor]) -> None:
    for buffer, value in zip((norm.running_mean, norm.running_var, norm.num_batches_tracked), statistics, strict=True):
        buffer.copy_(value)
