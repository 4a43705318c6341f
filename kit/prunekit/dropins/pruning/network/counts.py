# SPDX-License-Identifier: AGPL-3.0-or-later
"""MACs and parameters: counted by torch-pruning, and predicted from widths without touching a model.

MACs are torch-pruning's: multiply-adds of convolutions and linear layers (plus their biases), two per element of
a BatchNorm, one per element of pooling, upsampling and the activations it knows (ReLU, LeakyReLU, GELU; not SiLU).
Products of two activations (attention's q k and a v) are not in it, but for those of nn.MultiheadAttention, which
torch-pruning counts whole. Published numbers use these rules.

Two things are counted otherwise than torch-pruning does. A module that several parents share (one activation for all
blocks) is counted once per call; torch-pruning adds all of its calls once per parent. A transposed convolution works
at each position of its input; torch-pruning takes those of its output, four times as many at stride 2.
"""

from __future__ import annotations

import io
import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor, nn
from torch_pruning.utils import count_ops_and_params, op_counter

from ..errors import PruneError

Forward = Callable[[nn.Module, Tensor], Any]
TRANSPOSED = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)
WITH_WEIGHTS = (nn.modules.conv._ConvNd, nn.Linear, nn.modules.batchnorm._BatchNorm)


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
        bias_places: positions at which a bias is added, if others (transposed convolutions, linear layers).
        ops: MACs per channel and position, for "each".
        groups: of a convolution that is grouped but not depthwise (such a layer keeps its widths).
        name: the module's, or the lone parameter's.
    """

    kind: str
    inputs: Width
    outputs: Width
    kernel: int = 0
    bias: int = 0
    places: int = 0
    bias_places: int | None = None
    ops: int = 0
    groups: int = 1
    name: str = ""

    def cost(self, keep: Mapping[str, int]) -> tuple[int, int]:
        """(MACs, parameters) for these group widths."""
        out = self.outputs(keep)
        if self.kind == "each":
            return out * self.ops * self.places, out * self.kernel
        pairs = out if self.kind == "depthwise" else self.inputs(keep) * out // self.groups
        weights, biases = self.kernel * pairs, self.bias * out
        at = self.places if self.bias_places is None else self.bias_places
        return weights * self.places + biases * at, weights + biases


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
    """Count a model by `torch_pruning.utils.count_ops_and_params`, in eval mode, on a copy; see above for what differs.

    Args:
        model: any network; split and merged forms of a block count the same.
        example: one image, (1, channels, height, width).
        forward: how to call the model, if not `model(example)`.
    """
    subject = model if forward is None else _Called(model, forward)
    return count_layers(subject, fit_example(model, example))[0]


def count_layers(model: nn.Module, example: Tensor) -> tuple[Cost, dict[nn.Module, int]]:
    """`count`, and the MACs of each layer of `model` that was called, all its calls together."""
    check_example(example)
    with _counters(model) as known:
        # prints a line for each layer that shares its activation with another
        with redirect_stdout(io.StringIO()):
            _, params, found, _ = count_ops_and_params(model, fit_example(model, example), layer_wise=True)
    layers = {module: int(ops) for module, ops in found.items() if ops and type(module) in known}
    return Cost(float(sum(layers.values())), int(params)), layers


@contextmanager
def _counters(model: nn.Module) -> Iterator[set[type]]:
    """The types that are counted: torch-pruning's, and what in `model` derives from its layers with weights."""
    known = op_counter.MODULES_MAPPING
    own: dict[type, Any] = dict.fromkeys(TRANSPOSED, _transposed)
    for kind in {type(module) for module in model.modules()} - known.keys():
        base = next((base for base in kind.__mro__ if base in known), None)
        if base is not None and issubclass(base, WITH_WEIGHTS):
            own[kind] = own.get(base, known[base])
    before, op_counter.CUSTOM_MODULES_MAPPING = op_counter.CUSTOM_MODULES_MAPPING, own
    try:
        yield {*known, *own}
    finally:
        op_counter.CUSTOM_MODULES_MAPPING = before


def _transposed(module: Any, inputs: Any, output: Tensor) -> None:
    """torch-pruning's hook for a transposed convolution: weights at each place of the input, biases of the output."""
    weights = module.weight.numel() * math.prod(inputs[0].shape[2:])
    biases = 0 if module.bias is None else module.out_channels * math.prod(output.shape[2:])
    module.__flops__ += inputs[0].shape[0] * (weights + biases)


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
