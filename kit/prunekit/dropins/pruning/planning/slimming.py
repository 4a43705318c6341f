# SPDX-License-Identifier: AGPL-3.0-or-later
"""Network slimming: one threshold on |gamma| for the whole network, and what comes of it in coupled layers.

Liu et al., arXiv 1708.06519, section 3: after sparsity training the channels with the smallest BatchNorm scales go, the
threshold being a percentile of all scales. `inspect_bn.py` shows the same threshold.

Channels of several layers can be coupled (a shortcut, a depthwise convolution): one of them may be needed although the
others are not. A coupled channel counts as the largest of its |gamma|, so nothing that is above the threshold goes.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn.modules.batchnorm import _BatchNorm

from ..network.graph import Group, PruningGraph
from ..training.bn_sparsity import SMALL_SIGNAL, bn_layers, threshold_of

CRITERION = "bn_scale"


def largest_scales(items: Any) -> Tensor | None:
    """Per channel of a group the largest |gamma| of its BatchNorms, (channels,); None without a BatchNorm."""
    found = None
    for gamma, _, roots in _norms(items):
        if found is None:
            found = torch.zeros(len(items[0].idxs))
        found.scatter_reduce_(0, roots, gamma, "amax")
    return found


def global_threshold(graph: PruningGraph, ratio: float, first: Mapping[str, int]) -> float:
    """The |gamma| under which channels go, for a fraction of the first network's BatchNorm channels.

    Args:
        ratio: fraction to remove; 0.2 is `inspect_bn.py --keep 0.8`.
        first: {group name: channels} of the network that an iterative run began with.
    """
    scales = _scales(graph)
    gone = sum((first.get(g.name, g.channels) - g.channels) * _per_channel(graph, g) for g in graph.groups)
    stay = math.ceil(round((len(scales) + gone) * (1 - ratio), 6))
    return threshold_of(scales, stay)


@dataclass(frozen=True)
class Account:
    """What a threshold comes to, in BatchNorm channels.

    Attributes:
        channels: of all norms.
        below: those under the threshold.
        gone: those that the widths remove.
        coupled: under the threshold, but coupled with one that is not.
        held: under the threshold, but kept by the floor, the rounding, or an equal half of a block.
        frozen: under the threshold, in layers that are not pruned.
    """

    threshold: float
    channels: int
    below: int
    gone: int
    coupled: int
    held: int
    frozen: int

    def __str__(self) -> str:
        stays = {
            "coupled with one above it": self.coupled,
            "floor, rounding or equal halves": self.held,
            "in layers that are not pruned": self.frozen,
        }
        text = ", ".join(f"{number} ({why})" for why, number in stays.items() if number)
        return (
            f"one threshold |gamma| {self.threshold:.4g}: {self.below} of {self.channels} BatchNorm channels are under "
            f"it, {self.gone} go" + (f"; of the others stay {text}" if text else "")
        )


def account(graph: PruningGraph, threshold: float, keep: Mapping[str, int]) -> Account:
    """Where the channels under a threshold go or stay, for these widths: {group name: channels kept}."""
    scales = _scales(graph)
    below, under, free, gone = int((scales < threshold).sum()), 0, 0, 0
    for group in graph.groups:
        score = largest_scales(graph.items[group.name])
        if score is None:
            continue
        times = _per_channel(graph, group)
        under += sum(int((gamma < threshold).sum()) for gamma, _, _ in _norms(graph.items[group.name]))
        free += int((score < threshold).sum()) * times
        gone += (group.channels - keep.get(group.name, group.channels)) * times
    return Account(threshold, len(scales), below, gone, under - free, max(0, free - gone), below - under)


def slimming_notes(
    graph: PruningGraph, scores: Mapping[str, Tensor], keep: Mapping[str, int], threshold: float | None
) -> list[str]:
    """For a plan: what one threshold came to (None for a local plan), and a warning if biases are not small."""
    said = None if threshold is None else str(account(graph, threshold, keep))
    return [note for note in (said, bias_warning(graph, scores, keep)) if note]


def bias_warning(graph: PruningGraph, scores: Mapping[str, Tensor], keep: Mapping[str, int]) -> str | None:
    """A line if the biases of channels that go are not small: what they add everywhere is lost with them."""
    going, staying = [torch.zeros(0)], [torch.zeros(0)]
    for group in graph.groups:
        if group.name not in scores:
            continue
        order = torch.argsort(scores[group.name].double(), stable=True)  # as apply_plan chooses
        goes = torch.zeros(group.channels, dtype=torch.bool)
        goes[order[: group.channels - keep.get(group.name, group.channels)]] = True
        for gamma, beta, roots in _norms(graph.items[group.name]):
            going.append(beta[goes[roots]])
            staying.append((gamma.square() + beta.square()).sqrt()[~goes[roots]])
    lost, signal = torch.cat(going), torch.cat(staying)
    if not len(lost) or not len(signal) or float(lost.mean()) <= SMALL_SIGNAL * float(signal.mean()):
        return None
    return (
        f"warning: the BatchNorm biases of the channels that go are not small: mean |beta| {float(lost.mean()):.4g}, "
        f"{float(lost.mean() / signal.mean()):.0%} of what a kept channel carries (small is {SMALL_SIGNAL:.0%}). What "
        "they add is lost until fine-tuning: train longer with --sparsity-beta"
    )


def _norms(items: Any) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """(|gamma|, |beta|, index in the group) of each BatchNorm of a group, each (channels of that norm,), on the CPU."""
    for item in items.items:
        norm = item.dep.target.module
        if isinstance(norm, _BatchNorm) and norm.affine:
            at = torch.tensor(item.idxs)
            gamma, beta = (value.detach().float().abs().cpu()[at] for value in (norm.weight, norm.bias))
            yield gamma, beta, torch.tensor(item.root_idxs)


def _per_channel(graph: PruningGraph, group: Group) -> int:
    """BatchNorm channels that go with each channel of a group."""
    return sum(len(roots) for _, _, roots in _norms(graph.items[group.name])) // group.channels


def _scales(graph: PruningGraph) -> Tensor:
    """|gamma| of all norms, (channels,)."""
    found = [norm.weight.detach().float().abs().cpu() for norm in bn_layers(graph.model).values()]
    return torch.cat(found) if found else torch.zeros(0)
