# SPDX-License-Identifier: AGPL-3.0-or-later
"""Channels ranked by reconstruction error: what is lost without one when the layers that read it make the best of it.

Second moments of what each layer is given, on images without labels. Without a channel, the least squared error of a
layer's outputs grows by w_S^T (H_SS)^-1 w_S, H the inverse of the moments and S the channel's places in it (optimal
brain surgeon, Hassibi and Stork, NIPS 1992, eq. 5, for blocks as in Kwon et al., arXiv:2204.09656). Channels go one by
one, the least costly first, and both the weights and H are updated each time (as OSSCAR, arXiv:2403.12983).
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ..network.graph import PruningGraph
from ..repair import layer as layers
from ..repair.answers import apart
from ..repair.stages import Stages, frozen_modes, hooked, in_batches

BATCH = 8
LEAST_PLACES, PER_FEATURE = 16, 6
RIDGE = 1e-2  # relative to the mean variance of a feature
NOISE = 0.05  # of the variance, where a layer's outputs are disturbed to see what the network's outputs make of it
WIDEST = 2500  # features up to which a kernel's places are looked at together


@dataclass
class Reader:
    """A layer that reads channels of a group: inverse moments (sets, k, k), weights (sets, k, o), kernel places."""

    inverse: Tensor
    weights: Tensor
    places: int


@torch.no_grad()
def reconstruction_scores(
    graph: PruningGraph,
    images: list[Tensor],
    *,
    tracing: Callable[[nn.Module], AbstractContextManager[Any]] = nullcontext,
    seed: int = 0,
    per: str = "macs",
) -> dict[str, Tensor]:
    """Scores of a graph's groups: what a channel's removal adds to the outputs' error for each MAC that it saves.

    Error is relative to the variance of the network's outputs, so groups compare.

    Args:
        images: each (1, channels, h, w), without labels.
        tracing: the family's: the mode in which every branch runs.
        seed: of the positions that are looked at.
        per: a field of Cost, what a removal is to save.
    """
    model = graph.model
    modes = {module: module.training for module in model.modules()}
    batches = in_batches(images, BATCH)
    try:
        with tracing(model):
            frozen_modes(model)
            readers = _readers(graph, batches, seed)
    finally:
        for module, mode in modes.items():
            module.training = mode
    dense = getattr(graph.cost(), per)
    scores = {}
    for group in graph.groups:
        found = _members(graph, group.name, readers)
        if found:
            saved = dense - getattr(graph.cost({group.name: group.channels - 1}), per)
            scores[group.name] = (_removal_costs(found, group.channels) / max(saved / dense, 1e-12)).float()
    return scores


def _readers(graph: PruningGraph, batches: list[Tensor], seed: int) -> dict[str, Reader]:
    """Each layer's inverse moments and weights, scaled so that costs are shares of the outputs' variance."""
    model = graph.model
    named = {n: m for n, m in model.named_modules() if isinstance(m, layers.KINDS) and getattr(m, "groups", 1) == 1}
    named = {name: layer for name, layer in named.items() if layers.obstacle(layer) is None}
    sums, spread = _second_moments(model, named, batches, seed)
    share, norms = sensitivities(model, named, batches[0]), _gains(model, named, batches[0][:1])
    readers = {}
    for name in list(sums):
        square, mean, count = sums.pop(name)  # the sums or the inverse: both of all layers may be gigabytes
        layer = named[name]
        weights, kernel = layers.matrix(layer)[0], _kernel(layer)
        cov = square / count - mean[:, :, None] * mean[:, None, :] / count**2
        weights = weights.reshape(-1, kernel, weights.shape[1]).transpose(0, 1) if len(cov) > 1 else weights[None]
        ridge = RIDGE * cov.diagonal(dim1=1, dim2=2).mean(1).clamp_min(1e-12)
        inverse = _inverse(cov + torch.diag_embed(ridge[:, None].expand(-1, cov.shape[1])))
        gain = norms.get(name, torch.ones(weights.shape[-1], dtype=weights.dtype)).pow(2)
        scale = (share[name] * gain / (gain * spread[name]).sum().clamp_min(1e-12)).sqrt()
        readers[name] = Reader(inverse, weights * scale, 1 if len(cov) > 1 else kernel)
    return readers


def _inverse(moments: Tensor) -> Tensor:
    """Of positive definite matrices; of what is none, as of numbers that are not finite, whatever comes of it."""
    factor, failed = torch.linalg.cholesky_ex(moments)
    return torch.linalg.inv_ex(moments).inverse if bool(failed.any()) else torch.cholesky_inverse(factor)


def _kernel(layer: nn.Module) -> int:
    return int(layer.weight[0, 0].numel()) if isinstance(layer, nn.Conv2d) else 1


def _second_moments(
    model: nn.Module, named: Mapping[str, nn.Module], batches: list[Tensor], seed: int
) -> tuple[dict[str, tuple[Tensor, Tensor, int]], dict[str, Tensor]]:
    """{layer: (sums of x x^T (sets, k, k), of x (sets, k), samples)}, each about a middle; {layer: variance (o,)}."""
    sums: dict[str, tuple[Tensor, Tensor, int]] = {}
    wanted: dict[str, Tensor] = {}
    middle: dict[str, Tensor] = {}  # of a layer's features in the first batch; moments are about it
    images = sum(len(batch) for batch in batches)

    def watch(name: str, at: int) -> Any:
        def hook(layer: nn.Module, args: Any, output: Tensor) -> None:
            number = max(LEAST_PLACES, -(-PER_FEATURE * layers.features_of(layer) // images))
            generator = torch.Generator().manual_seed(zlib.crc32(f"{seed} {at} {name}".encode()))
            places = layers.places(layer, output, number, generator)
            x = layers.features(layer, args[0], places).float()  # (1, samples, k)
            if x.shape[2] > WIDEST and (kernel := _kernel(layer)) > 1:
                x = x[0].reshape(x.shape[1], -1, kernel).permute(2, 0, 1)  # (kernel, samples, channels)
            y = layers.targets(layer, output, places).double()
            # A batch in float32, at half the time, near its mean, or the variance would be lost in it; all in float64.
            x = x - middle.setdefault(name, x.mean(1, keepdim=True))
            square = x.transpose(1, 2) @ x
            old = sums.get(name) or (torch.zeros_like(square, dtype=torch.float64), 0.0, 0)
            sums[name] = (old[0].add_(square), old[1] + x.double().sum(1), old[2] + x.shape[1])
            wanted[name] = wanted.get(name, 0.0) + torch.stack([y.sum(0), y.pow(2).sum(0)])

        return hook

    for at, batch in enumerate(batches):
        with hooked([layer.register_forward_hook(watch(name, at)) for name, layer in named.items()]):
            model(batch)
    spread = {n: wanted[n][1] / sums[n][2] - (wanted[n][0] / sums[n][2]).pow(2) for n in sums}
    return sums, spread


def sensitivities(model: nn.Module, named: Mapping[str, nn.Module], batch: Tensor) -> dict[str, float]:
    """How much of the outputs' variance an error of a layer's outputs costs, relative to theirs.

    The error is another image's deviation from the mean: it has the shape and the correlations of the layer's outputs.
    """
    dense = Stages(model, [batch]).outputs_from(0)
    stages, found = Stages(model, [batch]), {}
    for number, stage in enumerate(stages.modules):
        inside = set(stage.modules())
        for name in [name for name, layer in named.items() if layer in inside and name not in found]:
            with hooked([named[name].register_forward_hook(_disturb)]):
                found[name] = apart(stages.outputs_from(number), dense) / NOISE
        stages.keep(number, [stages.run(number, 0)])
    return found


def _disturb(module: nn.Module, args: Any, output: Tensor) -> Tensor:
    others = output.roll(1, 0)
    dims = [0, 2, 3] if output.dim() == 4 else list(range(output.dim() - 1))
    return output + NOISE**0.5 * (others - others.mean(dims, keepdim=True))


def _gains(model: nn.Module, named: Mapping[str, nn.Module], image: Tensor) -> dict[str, Tensor]:
    """{layer: factor (o,)} by which the BatchNorm that takes a layer's output scales each channel."""
    found: dict[str, Tensor] = {}
    last: list[Any] = [None, ""]

    def before(norm: Any, args: Any) -> None:
        if args[0] is last[0] and norm.running_var is not None:
            scale = norm.weight.detach() if norm.affine else torch.ones_like(norm.running_var)
            found[last[1]] = (scale / (norm.running_var + norm.eps).sqrt()).double().abs()

    def after(name: str) -> Any:
        return lambda layer, args, output: last.__setitem__(slice(None), [output, name])

    norms = [module for module in model.modules() if isinstance(module, nn.modules.batchnorm._BatchNorm)]
    hooks = [layer.register_forward_hook(after(name)) for name, layer in named.items()]
    with hooked([*hooks, *(norm.register_forward_pre_hook(before) for norm in norms)]):
        model(image)
    return found


def _members(graph: PruningGraph, name: str, readers: Mapping[str, Reader]) -> list[tuple[Reader, Tensor]]:
    """The layers that read a group's channels, each with the features of each channel: (channels, places)."""
    names = {module: each for each, module in graph.model.named_modules()}
    channels = graph.group(name).channels
    found = []
    for item in graph.items[name]:
        reader = readers.get(names.get(item.dep.target.module, ""))
        if reader is None or graph.dependencies.is_out_channel_pruning_fn(item.dep.handler):
            continue
        rows: list[list[int]] = [[] for _ in range(channels)]
        for index, root in zip(item.idxs, item.root_idxs, strict=True):
            rows[root].extend(range(index * reader.places, (index + 1) * reader.places))
        found.append((reader, torch.tensor(rows)))
    return found


def _removal_costs(members: list[tuple[Reader, Tensor]], channels: int) -> Tensor:
    """(channels,) float64: what each costs when it goes, after all that cost less; never less than those before."""
    states = [_only(reader.inverse, reader.weights, rows) for reader, rows in members]
    alive = torch.arange(channels)  # the channels that the states hold
    left, costs, worst = torch.ones(channels, dtype=torch.bool), torch.zeros(channels, dtype=torch.float64), 0.0
    for number in range(channels):
        if 4 * int(left.sum()) < 3 * len(left):  # what has gone is only carried along: make the states smaller
            states, alive = [_only(*state[:2], state[2][left]) for state in states], alive[left]
            left = torch.ones(len(alive), dtype=torch.bool)
        cost = torch.stack([_costs(*state, left) for state in states]).sum(0)
        cost[~left] = float("inf")
        best = int(cost.argmin())
        worst = max(worst, float(cost[best])) * (1 + 1e-6)  # ties keep the order, in float32, too
        costs[alive[best]], left[best] = worst, False
        if number < channels - 1:
            for state in states:
                _remove(*state, best)
    return costs


def _only(inverse: Tensor, weights: Tensor, rows: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """A reader's state with the features of these channels alone: a removal changes each entry by its own rows only."""
    at = rows.flatten()
    return inverse[:, at][:, :, at].contiguous(), weights[:, at].clone(), torch.arange(len(at)).reshape(rows.shape)


def _costs(inverse: Tensor, weights: Tensor, rows: Tensor, left: Tensor) -> Tensor:
    """(channels,): growth of the squared error, over all outputs, without each channel that is left."""
    total = torch.zeros(len(left), dtype=torch.float64)
    at = rows[left]  # (channels left, places)
    block = inverse[:, at[:, :, None], at[:, None, :]]  # (sets, channels left, places, places)
    own = weights[:, at]  # (sets, channels left, places, o)
    total[left] = (own * torch.linalg.solve(block, own)).sum((0, 2, 3))
    return total


def _remove(inverse: Tensor, weights: Tensor, rows: Tensor, channel: int) -> None:
    """Take a channel out of the inverse moments and give its weights' work to the others, in place."""
    at = rows[channel]
    gain = torch.linalg.solve(inverse[:, at][:, :, at], inverse[:, at])  # (sets, places, k)
    turned = gain.transpose(1, 2)
    weights.baddbmm_(turned, weights[:, at], alpha=-1)
    inverse.baddbmm_(turned, inverse[:, at], alpha=-1)
    inverse[:, at], inverse[:, :, at] = 0.0, 0.0
