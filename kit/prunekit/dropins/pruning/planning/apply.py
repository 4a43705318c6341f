# SPDX-License-Identifier: AGPL-3.0-or-later
"""Carry out a plan: mechanical, all choices stand in the plan."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from ..errors import PruneError
from ..network.graph import PruningGraph
from ..network.groups import item_width
from .plan import Plan, PlanEntry


class Unremovable(PruneError):
    """Channels of a layer that torch-pruning could not take out; `layer` names it, `reason` says why."""

    def __init__(self, layer: str, reason: str) -> None:
        super().__init__(f"{layer}: its channels cannot be removed ({reason}). Keep it: --ignore {layer}")
        self.layer, self.reason = layer, reason


def apply_plan(
    graph: PruningGraph, plan: Plan, scores: Mapping[str, Tensor], survivors: dict[str, list[int]] | None = None
) -> int:
    """Remove the least important channels, in place, until each group has its planned width.

    Afterwards `graph` is spent: build a new one for the next step. requires_grad of each weight stays.

    Args:
        scores: {group name: (channels,)}, of the network as it is now.
        survivors: receives {layer name: output channels of the network as it is now that stay}, of narrowed layers.

    Returns:
        How many channels were removed, over all groups.

    Raises:
        PruneError: the plan does not fit the graph or removes nothing, or a score is missing. The model is untouched.
        Unremovable: a layer's channels could not be taken out, which the proof before a run finds.
    """
    graph.check_usable()
    plan = plan.fitted(graph)
    require_scores(plan, scores)
    chosen = {entry.name: _weakest(entry, scores) for entry in plan.entries if entry.keep < entry.channels}
    flags = {name: parameter.requires_grad for name, parameter in graph.model.named_parameters()}
    wanted = _wanted(graph, plan)
    graph.applied = True
    for name, indices in chosen.items():
        _remove(graph, name, indices, survivors if survivors is not None else {})
    for name, parameter in graph.model.named_parameters():
        parameter.requires_grad_(flags[name])
    _confirm(graph, wanted)
    return plan.removed


def _wanted(graph: PruningGraph, plan: Plan) -> dict[str, int]:
    """{layer: output channels} after the plan: a layer that several groups share loses what each of them removes."""
    names = {module: name for name, module in graph.model.named_modules()}
    wanted = {name: _width(graph, name) for entry in plan.entries for name in entry.layers}
    for entry in plan.entries:
        for item in graph.items[entry.name]:
            name = names.get(item.dep.target.module)
            if name in wanted and graph.dependencies.is_out_channel_pruning_fn(item.dep.handler):
                wanted[name] -= (entry.channels - entry.keep) * (item_width(item, entry.channels) or 0)
    return wanted


def require_scores(plan: Plan, scores: Mapping[str, Tensor]) -> None:
    """PruneError if a plan removes nothing, or narrows a group that has no score: what `apply_plan` would say."""
    if not plan.removed and not plan.blocks:  # bottlenecks are gone already
        channels = sum(entry.channels for entry in plan.entries)
        raise PruneError(f"The plan keeps all {channels} channels of its {len(plan.entries)} groups: nothing to prune.")
    for entry in plan.entries:
        if entry.keep < entry.channels:
            _weakest(entry, scores)


def _weakest(entry: PlanEntry, scores: Mapping[str, Tensor]) -> list[int]:
    """The channels of a group to remove: lowest scores first, lower index first among equals."""
    score = scores.get(entry.name)
    if score is None or score.shape != (entry.channels,):
        got = "none" if score is None else f"shape {tuple(score.shape)}"
        raise PruneError(f"Group {entry.name} needs {entry.channels} scores to choose channels by, got {got}.")
    order = torch.argsort(score.detach().cpu().double(), stable=True)
    return sorted(order[: entry.channels - entry.keep].tolist())


def _remove(graph: PruningGraph, name: str, indices: list[int], survivors: dict[str, list[int]]) -> None:
    # Asked again now: earlier groups may have moved this one's places in a concatenation.
    layer = graph.model.get_submodule(name)
    pruner = graph.dependencies.get_pruner_of_module(layer)
    group = graph.dependencies.get_pruning_group(layer, pruner.prune_out_channels, indices)
    _note(graph, group, survivors)
    try:
        group.prune(record_history=False)
    except Exception as error:
        raise Unremovable(name, f"{type(error).__name__}: {next(iter(str(error).splitlines()), '')}") from error


def _note(graph: PruningGraph, group: Any, survivors: dict[str, list[int]]) -> None:
    """Take what a group is about to lose from the record of what stays."""
    names = {module: name for name, module in graph.model.named_modules()}
    gone: dict[str, set[int]] = {}
    for item in group:
        name = names.get(item.dep.target.module)
        if name is not None and graph.dependencies.is_out_channel_pruning_fn(item.dep.handler) and _width(graph, name):
            gone.setdefault(name, set()).update(item.idxs)
    for name, lost in gone.items():
        left = survivors.get(name) or list(range(_width(graph, name)))
        survivors[name] = [channel for place, channel in enumerate(left) if place not in lost]


def _width(graph: PruningGraph, name: str) -> int:
    """Output channels of a layer: those of its group, or a multiple (a depthwise layer behind a concatenation)."""
    layer = graph.model.get_submodule(name)
    return int(getattr(layer, "out_channels", getattr(layer, "out_features", 0)))


def _confirm(graph: PruningGraph, wanted: Mapping[str, int]) -> None:
    """Every layer of every group has its planned width."""
    for name, planned in wanted.items():
        if (width := _width(graph, name)) != planned:
            raise Unremovable(name, f"{width} channels are left, planned were {planned}")
