# SPDX-License-Identifier: AGPL-3.0-or-later
"""Build the cost model of a traced network: each layer's widths as sums of group widths."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from torch import Tensor, nn
from torch_pruning import ops

from .calls import callers_in_use
from .counts import Cost, CostModel, LayerCost, Width, count_layers, fit_example
from .groups import item_width
from .trace import Call, Trace

# id of a module, parameter or autograd node -> ((group name, its channels, times), ...)
Terms = dict[int, tuple[tuple[str, int, int], ...]]


def cost_model(model: nn.Module, example: Tensor, traced: Trace, items: Mapping[str, Any]) -> CostModel:
    """The cost of `model` for one image like `example`, as a function of {group name: channels}.

    Args:
        items: group name -> torch-pruning's group of all its channels.
    """
    inputs, outputs = _terms(traced, items)
    total, macs = count_layers(model, example)
    layers: list[LayerCost] = []
    for name, module in model.named_modules():
        if isinstance(module, (ops.TORCH_CONV, ops.TORCH_LINEAR)):
            made = [_product(module, macs.get(module, 0), inputs, outputs, traced.places.get(name))]
        elif isinstance(module, ops.TORCH_BATCHNORM):
            made = [_norm(module, macs.get(module, 0), outputs)]
        elif found := _used_calls(model, example, traced, name, macs.get(module, 0)):
            made = [_call(call, traced.dims.get(call.function), outputs) for call in found]
        else:
            continue
        layers.extend(replace(layer, name=name) for layer in made)
    lone = [(name, parameter) for name, parameter in model.named_parameters() if id(parameter) in outputs]
    layers.extend(replace(_parameter(parameter, outputs), name=name) for name, parameter in lone)
    return _completed(layers, total, {name: len(group[0].idxs) for name, group in items.items()})


def _terms(traced: Trace, items: Mapping[str, Any]) -> tuple[Terms, Terms]:
    """Which groups the input and the output channels of each layer, parameter or autograd node come from."""
    inputs: Terms = {}
    outputs: Terms = {}
    for name, group in items.items():
        channels = len(group[0].idxs)
        for item in group.items:
            node = item.dep.target
            weightless = node.type == ops.OPTYPE.ELEMENTWISE
            key = id(node.grad_fn if weightless else node.module)
            out = weightless or traced.dependencies.is_out_channel_pruning_fn(item.dep.handler)
            side = outputs if out else inputs
            side[key] = (*side.get(key, ()), (name, channels, item_width(item, channels) or 0))
    return inputs, outputs


def _width(dense: int, key: int, terms: Terms) -> Width:
    found = terms.get(key, ())
    fixed = dense - sum(channels * times for _, channels, times in found)
    return Width(fixed, tuple((name, times) for name, _, times in found))


def _product(module: Any, macs: int, inputs: Terms, outputs: Terms, transposed: tuple[int, int] | None) -> LayerCost:
    """A convolution or linear layer: weights between each input and each output channel.

    Args:
        transposed: positions of input and of output of a transposed convolution, over all calls.
    """
    linear = isinstance(module, nn.Linear)
    c_in, c_out = (module.in_features, module.out_features) if linear else (module.in_channels, module.out_channels)
    kernel = 1 if linear else module.weight[0, 0].numel()
    groups, bias = 1 if linear else module.groups, int(module.bias is not None)
    depthwise = groups == c_in == c_out and groups > 1
    weights = (kernel * c_in * c_out) // groups
    if not macs:
        places = bias_places = 0
    elif transposed is not None:
        places, bias_places = transposed
    elif linear:  # torch-pruning counts its bias once, at however many positions it works
        places, bias_places = (macs - bias * c_out) // weights, 1
    else:
        places = bias_places = macs // (weights + bias * c_out)
    return LayerCost(
        kind="depthwise" if depthwise else "product",
        inputs=_width(c_in, id(module), inputs),
        outputs=_width(c_out, id(module), outputs),
        kernel=kernel,
        bias=bias,
        places=places,
        bias_places=bias_places,
        groups=1 if depthwise else groups,
    )


def _norm(module: Any, macs: int, outputs: Terms) -> LayerCost:
    width, per = _width(module.num_features, id(module), outputs), 2 if module.affine else 0
    return LayerCost("each", Width(0), width, kernel=per, places=macs // module.num_features, ops=1)


def _used_calls(model: nn.Module, example: Tensor, traced: Trace, name: str, macs: int) -> list[Call]:
    """The calls of a layer without weights that count: none if the trace saw others than a forward in use makes."""
    found = traced.calls.get(name, [])
    if found and sum(call.elements for call in found) != macs:  # a branch that is trained only, or a shared activation
        left = callers_in_use(model, fit_example(model, example), name)
        found = [call for call in found if left[call.parent] > 0 and not left.subtract([call.parent])]
    return found if sum(call.elements for call in found) == macs else []


def _call(call: Call, dim: int | None, outputs: Terms) -> LayerCost:
    if dim is None:  # no channels that could go
        return LayerCost("each", Width(call.elements), Width(call.elements), places=1, ops=1)
    width = _width(call.shape[dim], id(call.function), outputs)
    return LayerCost("each", Width(0), width, places=call.elements // call.shape[dim], ops=1)


def _parameter(parameter: nn.Parameter, outputs: Terms) -> LayerCost:
    """A lone parameter with one value, or row, per channel (torch-pruning cuts its last dimension above 1)."""
    dense = [size for size in parameter.shape if size > 1][-1]
    return LayerCost("each", Width(0), _width(dense, id(parameter), outputs), kernel=parameter.numel() // dense)


def _completed(layers: list[LayerCost], total: Cost, dense: Mapping[str, int]) -> CostModel:
    """The model of these layers plus what they leave of the dense total: layers of other kinds keep their widths."""
    known = CostModel(layers)(dense)
    return CostModel(layers, Cost(total.macs - known.macs, total.params - known.params))
