# SPDX-License-Identifier: AGPL-3.0-or-later
"""A layer's fit by what its activation passes on, not by what goes into it.

SiLU and ReLU make next to nothing of a negative number, so a difference there costs nothing, and weights that fit it
are lost to what counts. The fit of responses behind an activation is that of Zhang et al., TPAMI 2016,
arXiv:1505.06798, section 3.2. There is no closed form for it; here it is least squares again and again, towards
targets that are as far from what the layer puts out now as the activation makes of it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

# Each number for itself, and nothing that is learned.
ELEMENTWISE = (nn.SiLU, nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.Hardswish, nn.GELU, nn.Mish, nn.ELU, nn.Hardtanh)
ROUNDS = 5  # after which hardly anything changes
MAX_BYTES = 1 << 28  # bytes of a layer's samples, above which it is fitted without its activation
SLOPE_QUANTILE = 0.95  # quantile of the squared slopes that counts as 1
QUANTILE_SAMPLES = 4096  # samples that this quantile is taken of
LEAST_DIFFERENCE = 1e-4  # differences below have no slope that float32 could tell


@dataclass
class NonlinearFit:
    """A layer's samples, and the activation behind it.

    Attributes:
        activation: elementwise; it may change what it is given.
        scale, offset: what a BatchNorm between them does to each output, each (groups, 1, o).
        given: features, by batch, each (groups, samples, k) without the 1 of the bias.
        wanted: the targets, (groups, samples, o).
    """

    activation: nn.Module
    scale: Tensor
    offset: Tensor
    given: list[Tensor]
    wanted: list[Tensor]

    @classmethod
    def behind(cls, activation: nn.Module, norm: Any, groups: int, outputs: int) -> NonlinearFit:
        """Without samples.

        Args:
            norm: the BatchNorm between, or None.
            groups, outputs: of the layer; outputs of each group.
        """
        scale, offset = torch.ones(groups, 1, outputs), torch.zeros(groups, 1, outputs)
        if norm is not None:
            scale = (norm.running_var.detach().float() + norm.eps).rsqrt().reshape(scale.shape)
            scale = scale * norm.weight.detach().float().reshape(scale.shape) if norm.affine else scale
            offset = -norm.running_mean.detach().float().reshape(scale.shape) * scale
            offset = offset + norm.bias.detach().float().reshape(scale.shape) if norm.affine else offset
        return cls(activation, scale, offset, [], [])

    def add(self, given: Tensor, wanted: Tensor) -> None:
        """A batch's samples."""
        self.given.append(given.float())
        self.wanted.append(wanted.float())

    def fits(self, batches: int) -> bool:
        """There is room for as many batches as large as the first."""
        return batches * self.given[0].numel() * self.given[0].element_size() <= MAX_BYTES

    def refined(
        self, start: Tensor, weights: Tensor, shift: Tensor, square: Tensor, ridge: Tensor, bias: bool
    ) -> tuple[Tensor, float, float]:
        """The change of weights (groups, k, o) that is best behind the activation, of all that were tried.

        Args:
            start: the change to begin with.
            weights, shift: the layer's now, (groups, k, o) and (groups, 1, o), float64.
            square: sum of x x^T over these samples, with a 1 at the end of x where there is a bias.
            ridge: the penalty of each feature's change, (groups, k).

        Returns:
            It, and the squared error behind the activation without any change and with this one, each relative to the
            variance of what is wanted there.
        """
        x, wanted = torch.cat(self.given, 1), torch.cat(self.wanted, 1)
        dense = self._pass(wanted)
        spread = float((dense - dense.mean(1, keepdim=True)).double().pow(2).sum())
        base = x @ weights.float() + shift.float()
        x = torch.cat([x, torch.ones_like(x[..., :1])], -1) if bias else x
        factor, failed = torch.linalg.cholesky_ex(square + torch.diag_embed(ridge))

        def error(put: Tensor) -> float:
            return float((self._pass(put) - dense).double().pow(2).sum()) / max(spread, 1e-300)

        change, before = start, error(base)
        found = [(error(base + x @ change.float()), change)]
        for _ in range(0 if bool(failed.any()) else ROUNDS):
            put = base + x @ change.float()
            toward = self._share(put, wanted, dense) * (wanted - put)
            pull = (x.transpose(1, 2) @ toward).double() - ridge[..., None] * change
            change = change + torch.cholesky_solve(pull, factor)
            found.append((error(base + x @ change.float()), change))
        after, best = min(found, key=lambda each: each[0])
        return best, before, after

    def _pass(self, put: Tensor) -> Tensor:
        return self.activation(put * self.scale + self.offset)

    def _share(self, put: Tensor, wanted: Tensor, dense: Tensor) -> Tensor:
        """How much of a difference the activation passes on, squared: at most 1."""
        between = (put - wanted) * self.scale
        slope = torch.where(
            between.abs() > LEAST_DIFFERENCE, (self._pass(put) - dense) / between, torch.ones_like(put)
        ).pow(2)
        some = slope[:, :: max(1, slope.shape[1] // QUANTILE_SAMPLES)]
        return (slope / torch.quantile(some, SLOPE_QUANTILE, 1, keepdim=True).clamp_min(1e-12)).clamp_max(1.0)
