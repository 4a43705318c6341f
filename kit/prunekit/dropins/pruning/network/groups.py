# SPDX-License-Identifier: AGPL-3.0-or-later
"""From torch-pruning's dependency graph to groups that can be pruned exactly, and reasons for the other layers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

from torch import nn
from torch_pruning import ops
from torch_pruning.dependency import graph as tp_graph

from .trace import Trace

_LAYERS = (ops.TORCH_CONV, ops.TORCH_LINEAR)
# The largest group seen (yolo12x) has 77 couplings with 29,568 indices; attention that is not ignored never stops.
_MOST_COUPLINGS, _MOST_INDICES = 2_000, 500_000


@dataclass(frozen=True)
class FoundGroup:
    """A group as graph.Group, with torch-pruning's items."""

    name: str
    channels: int
    layers: tuple[str, ...]
    items: Any = field(repr=False)
    tie: str | None = None


@dataclass
class Found:
    """All groups in the model's order, and layer name -> reason for the rest."""

    groups: list[FoundGroup] = field(default_factory=list)
    frozen: dict[str, str] = field(default_factory=dict)


def discover(model: nn.Module, traced: Trace, kept: Mapping[str, str], halves: Mapping[str, tuple[str, str]]) -> Found:
    """Find the groups of a traced model.

    Args:
        kept: layer name -> why its output channels stay.
        halves: split block -> its two halves, to get equal widths.
    """
    found = Found()
    seen: set[str] = set()
    for name, layer in _roots(model):
        if name in kept:
            found.frozen[name] = kept[name]
        elif layer not in traced.dependencies.module2node:
            found.frozen[name] = _unreached(traced, name)
        elif layer not in seen:
            group, endless = _group(traced, name, layer)
            seen.update(item.dep.target.module for item in group.items if _is_output(traced, item))
            _file(found, group, endless or _obstacle(traced, group, kept))
    _tie(found, halves)
    order = {name: place for place, name in enumerate(traced.names.values())}
    found.groups.sort(key=lambda group: order[group.name])
    return found


def item_width(item: Any, channels: int) -> int | None:
    """How many channels of an item's layer go with each channel of its group; None if not the same for each."""
    times = Counter(item.root_idxs)
    if None in times or len(times) != channels or len(set(times.values())) != 1:
        return None
    return len(item.idxs) // channels


def _roots(model: nn.Module) -> list[tuple[str, nn.Module]]:
    """Convolutions and linear layers in the model's order, depthwise ones last: their channels are another's."""
    layers = [(name, module) for name, module in model.named_modules() if isinstance(module, _LAYERS)]
    return sorted(layers, key=lambda layer: ops.module2type(layer[1]) == ops.OPTYPE.DEPTHWISE_CONV)


def _unreached(traced: Trace, name: str) -> str:
    within = (why for block, why in traced.sealed.items() if name == block or name.startswith(block + "."))
    return next(within, "not reached by the traced forward")


def _group(traced: Trace, name: str, layer: nn.Module) -> tuple[FoundGroup, str | None]:
    """The group of a layer's channels, as far as it could be followed, and why it could not be to the end."""
    graph, endless = traced.dependencies, None
    pruner = graph.get_pruner_of_module(layer)
    channels = pruner.get_out_channels(layer)
    try:
        with _bounded():
            items = graph.get_pruning_group(layer, pruner.prune_out_channels, list(range(channels)))
    except _Endless as stop:
        items = stop.group
        endless = f"its couplings have no end, at {items[-1].dep.target.name.partition(' ')[0]}"
    members = dict.fromkeys([layer] + [item.dep.target.module for item in items if _is_output(traced, item)])
    names = tuple(traced.names[module] for module in members if isinstance(module, _LAYERS))
    return FoundGroup(name, channels, names, items), endless


def _is_output(traced: Trace, item: Any) -> bool:
    graph, dep = traced.dependencies, item.dep
    return isinstance(dep.target.module, nn.Module) and graph.is_out_channel_pruning_fn(dep.handler)


def _obstacle(traced: Trace, group: FoundGroup, kept: Mapping[str, str]) -> str | None:
    """Why `group` cannot be pruned exactly, if so."""
    for layer in group.layers:
        if layer in kept:
            return f"tied to {layer} ({kept[layer]})"
    for item in group.items:
        node = item.dep.target
        reason = traced.barriers.get(node) or _node_obstacle(node) or _outside(traced, item)
        if _is_output(traced, item) and any(node.grad_fn is function for function in traced.outputs):
            reason = "its channels are an output of the traced forward"
        if reason is None and item_width(item, group.channels) is None:
            reason = f"its channels do not map evenly to {traced.names.get(node.module, node.name)}"
        if reason is not None:
            return reason
    return None


def _outside(traced: Trace, item: Any) -> str | None:
    """An index that the layer does not have: the channels before it are not its own."""
    node, graph = item.dep.target, traced.dependencies
    if not isinstance(node.module, (*_LAYERS, ops.TORCH_BATCHNORM, ops.TORCH_PARAMETER)):
        return None
    width = graph.get_out_channels(node) if _is_output(traced, item) else graph.get_in_channels(node)
    lies = width is None or not item.idxs or max(item.idxs) >= width
    return f"its channels are not those of {traced.names.get(node.module, node.name)}" if lies else None


_FREE = (
    ops.OPTYPE.BN,
    ops.OPTYPE.LINEAR,
    ops.OPTYPE.DEPTHWISE_CONV,
    ops.OPTYPE.CONCAT,
    ops.OPTYPE.SPLIT,
    ops.OPTYPE.ELEMENTWISE,
    ops.OPTYPE.PARAMETER,
    ops.OPTYPE.RESHAPE,
    ops.OPTYPE.UNBIND,
    ops.OPTYPE.EXPAND,
    ops.OPTYPE.SLICE,
    ops.OPTYPE.OUTPUT,
)


def _node_obstacle(node: Any) -> str | None:
    if node.type == ops.OPTYPE.CONV:
        return "tied to a grouped convolution that is not depthwise" if node.module.groups > 1 else None
    if node.type == ops.OPTYPE.PRELU and node.module.num_parameters == 1:
        return None
    if node.type == ops.OPTYPE.DEPTHWISE_CONV and node.module.in_channels != node.module.out_channels:
        return "tied to a depthwise convolution with a channel multiplier"
    return None if node.type in _FREE else f"tied to a {type(node.module).__name__}, which cannot be pruned exactly"


def _file(found: Found, group: FoundGroup, obstacle: str | None) -> None:
    if obstacle is None:
        found.groups.append(group)
    else:
        for layer in group.layers:
            found.frozen.setdefault(layer, obstacle)


def _tie(found: Found, halves: Mapping[str, tuple[str, str]]) -> None:
    """Give the halves of each split block one tie; freeze a half whose other half is frozen, until nothing changes."""
    changed = True
    while changed:
        owner = {layer: group for group in found.groups for layer in group.layers}
        both_ways = [way for pair in halves.values() for way in (pair, pair[::-1])]
        lost = [(owner[half], other) for half, other in both_ways if half in owner and other not in owner]
        for group, other in lost:
            if group in found.groups:
                found.groups.remove(group)
                reason = found.frozen.get(other, "kept")
                found.frozen.update(dict.fromkeys(group.layers, f"half of a block, equal to {other} ({reason})"))
        changed = bool(lost)
    for block, pair in halves.items():
        members = {index for index, group in enumerate(found.groups) if set(pair) & set(group.layers)}
        if len(members) > 1:
            _join_ties(found, members, block)


def _join_ties(found: Found, members: set[int], block: str) -> None:
    """Tie these groups under the name of `block`, with all that was tied to one of them before."""
    before = {found.groups[index].tie for index in members} - {None}
    for index, group in enumerate(found.groups):
        if index in members or group.tie in before:
            found.groups[index] = replace(group, tie=block)


class _Endless(Exception):
    """A group that grew beyond all bounds."""

    def __init__(self, group: Any) -> None:
        super().__init__()
        self.group = group


@contextmanager
def _bounded() -> Iterator[None]:
    """Stop at couplings without end, as those of an attention block that is looked into are."""

    class Bounded(tp_graph.Group):
        indices = 0

        def add_dep(self, dep: Any, idxs: Any) -> None:
            super().add_dep(dep, idxs)
            self.indices += len(idxs)
            if len(self) > _MOST_COUPLINGS or self.indices > _MOST_INDICES:
                raise _Endless(self)

    original = tp_graph.Group
    tp_graph.Group = Bounded
    try:
        yield
    finally:
        tp_graph.Group = original
