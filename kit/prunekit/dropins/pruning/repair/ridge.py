# SPDX-License-Identifier: AGPL-3.0-or-later
"""Ridge regression on second moments that are added up batch by batch, in float64.

What is solved for is the change of a layer's weights, so the penalty pulls towards the weights that are there: no
change is always allowed, and the fit on the data that was added up never gets worse.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

# Penalties, relative to the mean variance of a feature.
GRID = (1e-8, 1e-4, 1e-3, 1e-2, 1e-1, 1.0)


@dataclass
class Moments:
    """Sums over samples of x x^T, x r^T, r^2, and of the targets' y and y^2; x ends in a 1 where there is a bias.

    Shapes: square (groups, k, k), cross (groups, k, o), left and wanted_* (groups, o).
    """

    square: Tensor
    cross: Tensor
    left: Tensor
    wanted: Tensor
    wanted_square: Tensor
    samples: int

    @classmethod
    def of(cls, given: Tensor, wanted: Tensor, weights: Tensor, shift: Tensor, bias: bool) -> Moments:
        """Of one batch.

        Args:
            given: features, (groups, samples, k).
            wanted: targets, (groups, samples, o).
            weights: the layer's now, (groups, k, o) float64.
            shift: what it adds to them now, (groups, 1, o) float64.
            bias: the layer can shift its outputs.
        """
        x, wanted = given.double(), wanted.double()
        rest = wanted - x @ weights - shift
        x = torch.cat([x, torch.ones_like(x[..., :1])], -1) if bias else x
        turned = x.transpose(1, 2)
        return cls(turned @ x, turned @ rest, rest.pow(2).sum(1), wanted.sum(1), wanted.pow(2).sum(1), x.shape[1])

    def __add__(self, other: Moments) -> Moments:
        return Moments(*(a + b for a, b in zip(vars(self).values(), vars(other).values(), strict=True)))

    def error(self, change: Tensor | None = None) -> float:
        """Squared error left after a change (groups, k, o), relative to the targets' variance."""
        spread = float((self.wanted_square - self.wanted.pow(2) / max(1, self.samples)).sum())
        left = float(self.left.sum())
        if change is not None:
            left += float((change * (self.square @ change - 2 * self.cross)).sum())
        return max(0.0, left) / max(spread, 1e-300)


def penalties(moments: Moments, penalty: float, bias: bool) -> Tensor:
    """Of each feature's change, (groups, k): relative to the mean variance of a feature; the bias has none."""
    size = moments.square.shape[-1] - int(bias)
    spread = moments.square.diagonal(dim1=1, dim2=2)[:, :size]
    if bias:
        spread = spread - moments.square[:, :size, size].pow(2) / moments.samples
    scale = spread.clamp_min(0).mean(1, keepdim=True)  # of each group
    if not bool(scale.gt(0).any()):
        scale = scale + 1.0
    scale = torch.where(scale > 0, scale, scale.max())
    return torch.cat([penalty * scale.expand(-1, size), torch.zeros(len(scale), int(bias), dtype=scale.dtype)], 1)


def solve(moments: Moments, penalty: float, bias: bool) -> Tensor | None:
    """The change (groups, k, o) that leaves the least squared error plus penalty; None where there is nothing to go by.

    Args:
        penalty: relative to the mean variance of a feature; the bias has none.
    """
    factor, failed = torch.linalg.cholesky_ex(moments.square + torch.diag_embed(penalties(moments, penalty, bias)))
    if bool(failed.any()):
        return None
    change = torch.cholesky_solve(moments.cross, factor)
    return change if bool(change.isfinite().all()) else None


def choose(
    fitted: Moments, held: Moments | None, bias: bool, grid: Sequence[float] = GRID
) -> tuple[Tensor | None, float]:
    """The change of all data under the penalty that is best on what was held out, and that penalty.

    Returns:
        (None, inf) where no change is better than any.
    """
    if held is None:
        change = solve(fitted, 1e-2, bias)
        return change, 1e-2
    tried = [(held.error(change), penalty) for penalty in grid if (change := solve(fitted, penalty, bias)) is not None]
    error, best = min(tried, default=(float("inf"), float("inf")))
    if error >= held.error():
        return None, float("inf")
    return solve(fitted + held, best, bias), best
