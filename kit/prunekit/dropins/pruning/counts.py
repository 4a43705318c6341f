# SPDX-License-Identifier: AGPL-3.0-or-later
"""MACs and parameters: counted by torch-pruning, and predicted from widths without touching a model.

MACs are torch-pruning's: multiply-adds of convolutions and linear layers (plus their biases), two per element of
a BatchNorm, one per element of pooling, upsampling and the activations it knows. Published numbers use these rules.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, redirect_stdout
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor, nn
from torch_pruning.utils import count_ops_and_params

from .errors import PruneError

Forward = Callable[[nn.Module, Tensor], Any]


@dataclass(frozen=True)
class Cost:
    """MACs of one image and number of parameters."""

    macs: float
    params: int

    def __str__(self) -> str:
        return f"{self.macs:,.0f} MACs, {self.params:,} parameters"


@dataclass(frozen=True)
class Width:
    """A layer's width, linear in the widths of the groups: fixed + sum(times * keep[group])."""

    fixed: int
    terms: tuple[tuple[str, int], ...] = ()

    def __call__(self, keep: Mapping[str, int]) -> int:
        """Channels for these group widths."""
        return self.fixed + sum(times * keep[name] for name, times in self.terms)


@dataclass(frozen=True)
class LayerCost:
    """What one layer costs for given widths.

    Attributes:
        kind: "product" (convolution, linear), "depthwise", or "each" (a cost per channel: BatchNorm, pooling, ...).
        inputs, outputs: channels in and out.
        kernel: weights per pair of channels (product), or per channel (depthwise, each).
        bias: biases per output channel, 0 or 1.
        places: positions at which the layer works, summed over its calls (height * width).
        ops: MACs per channel and position, for "each".
        groups: of a convolution that is grouped but not depthwise (such a layer keeps its widths).
    """

    kind: str
    inputs: Width
    outputs: Width
    kernel: int = 0
    bias: int = 0
    places: int = 0
    ops: int = 0
    groups: int = 1

    def cost(self, keep: Mapping[str, int]) -> tuple[int, int]:
        """(MACs, parameters) for these group widths."""
        out = self.outputs(keep)
        if self.kind == "each":
            return out * self.ops * self.places, out * self.kernel
        if self.kind == "depthwise":
            return out * (self.kernel + self.bias) * self.places, out * (self.kernel + self.bias)
        weights = self.kernel * self.inputs(keep) * out // self.groups
        return (weights + self.bias * out) * self.places, weights + self.bias * out


@dataclass
class CostModel:
    """Cost of a whole network as a function of its groups' widths: exact integers, no forward pass."""

    layers: list[LayerCost] = field(default_factory=list)
    fixed: Cost = Cost(0, 0)

    def __call__(self, keep: Mapping[str, int]) -> Cost:
        """Cost for {group name: channels}; every group must be there."""
        macs, params = self.fixed.macs, self.fixed.params
        for layer in self.layers:
            layer_macs, layer_params = layer.cost(keep)
            macs, params = macs + layer_macs, params + layer_params
        return Cost(float(macs), params)


def count(model: nn.Module, example: Tensor, forward: Forward | None = None) -> Cost:
    """Count a model with `torch_pruning.utils.count_ops_and_params`, in eval mode, on a copy.

    Args:
        model: any network; split and merged forms of a block count the same.
        example: one image, (1, channels, height, width).
        forward: how to call the model, if not `model(example)`.
    """
    check_example(example)
    subject = model if forward is None else _Called(model, forward)
    with _quiet():
        macs, params, *_ = count_ops_and_params(subject, fit_example(model, example))
    return Cost(float(macs), int(params))


def count_layers(model: nn.Module, example: Tensor) -> tuple[Cost, dict[nn.Module, int]]:
    """`count`, and the MACs of each module of `model` that was called."""
    check_example(example)
    with _quiet():
        macs, params, layers, _ = count_ops_and_params(model, fit_example(model, example), layer_wise=True)
    return Cost(float(macs), int(params)), {module: int(ops) for module, ops in layers.items() if ops}


def _quiet() -> AbstractContextManager[Any]:
    """Without the line that torch-pruning prints for each layer that shares its activation with another."""
    return redirect_stdout(io.StringIO())


def check_example(example: Tensor) -> None:
    """PruneError unless `example` is a batch of one: costs are per image."""
    if not isinstance(example, Tensor) or example.dim() < 2 or example.shape[0] != 1:
        raise PruneError(
            f"The example must be one image, a tensor of shape (1, channels, height, width); got "
            f"{tuple(example.shape) if isinstance(example, Tensor) else type(example).__name__}."
        )


def fit_example(model: nn.Module, example: Tensor) -> Tensor:
    """`example` on the model's device and in its precision."""
    first = next(model.parameters(), None)
    return example if first is None else example.to(device=first.device, dtype=first.dtype)


class _Called(nn.Module):
    """A model with another way to call it, for a counter that can only call modules."""

    def __init__(self, model: nn.Module, call: Forward) -> None:
        super().__init__()
        self.model, self.call = model, call

    def forward(self, x: Tensor) -> Any:
        return self.call(self.model, x)
