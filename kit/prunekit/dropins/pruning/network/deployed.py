# SPDX-License-Identifier: AGPL-3.0-or-later
"""What a network costs once deployed, where that drops a branch that training needs (yolo26's one-to-many head)."""

from __future__ import annotations

from collections.abc import Collection

import torch
from torch import Tensor, nn

from ..settings import Settings
from .counts import Cost, CostModel, count_layers
from .graph import PruningGraph


def deployed_cost(model: nn.Module, example: Tensor, dropped: Collection[str]) -> Cost:
    """Cost of `model` for one image without the blocks named in `dropped`."""
    total, layers = count_layers(model, example)
    gone = {module for name in dropped for module in model.get_submodule(name).modules()}
    macs = sum(ops for module, ops in layers.items() if module in gone)
    params = {id(p): p.numel() for module in gone for p in module.parameters(recurse=False)}
    return Cost(total.macs - macs, total.params - sum(params.values()))


def deployed_costs(graph: PruningGraph, dropped: Collection[str]) -> CostModel:
    """The graph's costs without the blocks named in `dropped`: what `--deployed` counts targets by."""
    prefixes = tuple(f"{name}." for name in dropped)
    layers = [layer for layer in graph.costs.layers if not f"{layer.name}.".startswith(prefixes)]
    total = deployed_cost(graph.model, torch.zeros(graph.example_shape), dropped)
    known = CostModel(layers)({group.name: group.channels for group in graph.groups})
    return CostModel(layers, Cost(total.macs - known.macs, total.params - known.params))


def deployed_line(dense: Cost, pruned: Cost, settings: Settings, steps_left: int) -> str:
    """What pruning has come to once deployed; at the last step, what to ask for to end at a target there.

    Args:
        dense, pruned: deployed costs.
        steps_left: steps that follow.
    """
    share = pruned.macs / dense.macs
    line = (
        f"deployed    {dense.macs:,.0f} -> {pruned.macs:,.0f} MACs ({share:.1%}), without the one-to-many head, which "
        "deployment drops; all other figures are with it"
    )
    target = settings.target_macs
    if settings.deployed or target is None or not target < 1 or steps_left or abs(share / target - 1) < 0.01:
        return line
    return f"{line}. To end at {target:g} of the deployed network, add --deployed"
