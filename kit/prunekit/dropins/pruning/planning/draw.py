# SPDX-License-Identifier: AGPL-3.0-or-later
"""What a proof looks at: random weights and images, and whether a network gives numbers with them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch_pruning import ops

from ..network.modes import modes_kept
from .compare import Film, settle

DRAWS = 3  # all weights; all but bare parameters; none
Tracing = Callable[[nn.Module], AbstractContextManager[None]]


def images(model: nn.Module, example: Tensor, tracing: Tracing) -> Iterator[Tensor]:
    """Random images that the network takes, (1, channels, h, w): two places at its coarsest stride, then larger ones.

    The last is of the run's own size, whatever the network does with it.
    """
    own, generator = example.shape[-1], torch.Generator().manual_seed(0)
    stride = getattr(model, "stride", None)
    small = min(64, own) if stride is None else max(64, 2 * int(torch.as_tensor(stride).max()))
    for size in dict.fromkeys((small, 2 * small, own)):
        image = torch.randn(1, example.shape[1], size, size, generator=generator, dtype=torch.float64)
        if size == own or _takes(model, image, tracing):
            yield image


def _takes(model: nn.Module, image: Tensor, tracing: Tracing) -> bool:
    try:
        with tracing(model), torch.no_grad():
            settle(model)
            model(image)
    except Exception:  # noqa: BLE001 - whatever it is, the trace will meet it at the size of the run
        return False
    return True


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """As the network is used: every module in eval mode."""
    with modes_kept(model):
        model.eval()
        yield


def lost(film: Film) -> str | None:
    """The first module with an output that says nothing: a NaN, or no finite value at all; None if there is none."""
    for name, side, found in film.frames:
        for tensor in found:
            finite = torch.isfinite(tensor)
            if side == "out" and tensor.numel() and (bool(tensor.isnan().any()) or not bool(finite.any())):
                return name
    return None


def _pairs(model: nn.Module, own: nn.Module | None) -> list[tuple[Tensor, Tensor]]:
    """Parameters and buffers of two copies; what a forward writes again, such as a grid, may have another shape."""
    if own is None:
        return []
    both = [[*each.parameters(), *each.buffers()] for each in (model, own)]
    return [(a, b) for a, b in zip(*both, strict=False) if a.shape == b.shape]


def randomise(model: nn.Module, own: nn.Module | None = None, draw: int = 0) -> None:
    """Draw every weight and statistic, in place: nothing is zero, equal, or too large for float64.

    A bare parameter keeps its signs and its size (it may be a temperature, of which the logarithm is taken).

    Args:
        own: the network with its own weights, which bare parameters are drawn from; by default `model`.
        draw: 0 everything; 1 bare parameters as they are; 2 everything as it is.
    """
    generator = torch.Generator().manual_seed(2)

    def uniform(like: Any, low: float, high: float) -> Tensor:
        return torch.rand(like.shape, generator=generator, dtype=like.dtype) * (high - low) + low

    with torch.no_grad():
        for tensor, source in _pairs(model, own):
            tensor.data.copy_(source)
        for module in model.modules() if draw < DRAWS - 1 else ():
            known = isinstance(module, (ops.TORCH_CONV, ops.TORCH_LINEAR))
            norm = isinstance(module, (nn.modules.batchnorm._NormBase, nn.LayerNorm, nn.GroupNorm))
            for name, tensor in module.named_parameters(recurse=False):
                if not tensor.is_floating_point():
                    continue
                if known and name == "weight":
                    spread = (3 / max(1, tensor[0].numel())) ** 0.5
                    tensor.data.copy_(uniform(tensor, -spread, spread))
                elif known or norm:
                    tensor.data.copy_(uniform(tensor, 0.5, 1.5) if name == "weight" else uniform(tensor, -0.3, 0.3))
                elif draw == 0:
                    factor = uniform(tensor, 0.8, 1.2)  # a layer scale may begin at zero, behind which errors hide
                    tensor.data.copy_(torch.where(tensor == 0, 0.2 * factor, tensor * factor))
            if isinstance(module, nn.modules.batchnorm._NormBase) and module.running_var is not None:
                module.get_buffer("running_mean").copy_(uniform(module.running_mean, -0.3, 0.3))
                module.running_var.copy_(uniform(module.running_var, 0.5, 1.5))
