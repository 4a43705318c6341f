# SPDX-License-Identifier: AGPL-3.0-or-later
"""BatchNorm scales: the L1 penalty of sparsity training, and the statistics that say whether it has done its work.

Network Slimming (Liu et al., arXiv 1708.06519, eq. 1): loss + lambda * sum |gamma|. The subgradient,
lambda * sign(gamma), is added to the gradient; here beta gets one too, so that a channel that goes quiet leaves no
constant behind.
"""

from __future__ import annotations

import logging
import math
import weakref
from argparse import Namespace
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn, optim
from torch.nn.modules.batchnorm import _BatchNorm

from ..errors import PruneError

# A channel's BatchNorm output has the root mean square sqrt(gamma^2 + beta^2). Below this fraction of what a kept
# channel carries, removing one changes little: a verdict for the eye, the fine-tuning has the last word.
SMALL_SIGNAL = 0.1


def bn_layers(model: nn.Module) -> dict[str, _BatchNorm]:
    """The norms with a scale, SyncBatchNorm included: {name: layer}."""
    return {name: m for name, m in model.named_modules() if isinstance(m, _BatchNorm) and m.affine}


def gamma_strength(sparsity: float, epoch: int, epochs: int) -> float:
    """Penalty on gamma in an epoch (from 0): full at first, 10% of it at the end, so that the last epochs settle."""
    return sparsity * (1 - 0.9 * epoch / max(epochs, 1))


@dataclass(frozen=True)
class Reach:
    """What one application of the penalty found, in layers."""

    layers: int
    reached: int
    frozen: int
    without_gradient: int


def add_l1(model: nn.Module, gamma: float, beta: float) -> Reach:
    """Add gamma * sign(weight) and beta * sign(bias) to the gradients of every norm that trains.

    Call it once per optimizer step, after gradient clipping (docs/series.md has the measurement).
    """
    layers = bn_layers(model).values()
    training = [m for m in layers if m.weight.requires_grad]
    reached = [m for m in training if m.weight.grad is not None]
    for m in reached:
        assert m.weight.grad is not None
        m.weight.grad.add_(m.weight.detach().sign(), alpha=gamma)
        if m.bias.grad is not None:
            m.bias.grad.add_(m.bias.detach().sign(), alpha=beta)
    return Reach(len(layers), len(reached), len(layers) - len(training), len(training) - len(reached))


_said: weakref.WeakSet[optim.Optimizer] = weakref.WeakSet()  # optimizers whose penalty was announced


def penalise(
    model: nn.Module,
    opt: Namespace,
    epoch: int,
    epochs: int,
    optimizer: optim.Optimizer,
    say: Callable[[str, int], object],
) -> None:
    """`add_l1` by the options `sparsity` and `sparsity_beta` of a train script; the first time, say what it reaches.

    Args:
        model: the network in training.
        opt: the script's options; without the two, or with both 0, nothing happens.
        epoch: from 0.
        epochs: of the whole training.
        optimizer: about to step.
        say: receives each line with its level (`logging`).

    Raises:
        PruneError: at the first step, if the penalty reaches no layer at all.
    """
    gamma, beta = getattr(opt, "sparsity", 0.0), getattr(opt, "sparsity_beta", 0.0)  # runs from before have neither
    if not (gamma or beta):
        return
    reach = add_l1(model, gamma_strength(gamma, epoch, epochs), beta)
    if optimizer in _said:
        return
    _said.add(optimizer)
    line, warnings = reach_report(reach, gamma, beta, type(optimizer).__name__)
    say(line, logging.INFO)
    for warning in warnings:
        say(warning, logging.WARNING)


# These divide a gradient by its own running size, so the strength of a constant sign(gamma) cancels out.
ADAPTIVE = frozenset({"Adam", "Adamax", "AdamW", "NAdam", "RAdam", "RMSprop"})


def reach_report(reach: Reach, gamma: float, beta: float, optimizer: str) -> tuple[str, list[str]]:
    """What the penalty does, with numbers: (a line of information, warnings).

    Args:
        reach: what the first application found.
        gamma, beta: the strengths that were asked for.
        optimizer: class name of the optimizer.

    Raises:
        PruneError: the penalty reaches no layer at all.
    """
    missed = f"{reach.frozen} frozen, {reach.without_gradient} without a gradient"
    if not reach.reached:
        raise PruneError(
            f"sparsity={gamma} sparsity_beta={beta} has no effect: of {reach.layers} BatchNorm layers, {missed}. "
            "Unfreeze layers (freeze=), use a network that is not fused, or set both to 0"
        )
    warnings = []
    if reach.reached < reach.layers:
        warnings.append(f"BN-L1 does not reach {reach.layers - reach.reached} BatchNorm layers: {missed}")
    if optimizer in ADAPTIVE:
        warnings.append(
            f"{optimizer} rescales gradients, so the strength of BN-L1 ({gamma}) hardly matters and its effect "
            "is about one learning rate per step: use optimizer=SGD for sparsity training"
        )
    return f"BN-L1 {gamma} on gamma, {beta} on beta of {reach.reached}/{reach.layers} BatchNorm layers", warnings


@dataclass(frozen=True)
class BnLayer:
    """One norm: mean and extremes of |gamma|, mean |beta|, its own threshold, and what a global one would keep."""

    name: str
    channels: int
    gamma_mean: float
    gamma_min: float
    gamma_max: float
    beta_mean: float
    threshold: float
    kept: int


@dataclass(frozen=True)
class BnReport:
    """All norms of a network, seen as if a fraction `keep` of the channels were to stay.

    `threshold` is the global |gamma| below which channels would go. `signal` is the mean sqrt(gamma^2 + beta^2) of the
    channels below it over that of the channels above it: 1 says that BatchNorm cannot tell them apart.
    """

    keep: float
    channels: int
    threshold: float
    signal: float
    verdict: str
    reason: str
    layers: tuple[BnLayer, ...]


def bn_report(model: nn.Module, keep: float) -> BnReport:
    """Measure a network's norms for a keep factor in (0, 1).

    Raises:
        PruneError: no norms (a fused network), or `keep` outside (0, 1).
    """
    if not 0 < keep < 1:
        raise PruneError(f"keep={keep} is outside (0, 1): it is the fraction of channels that stays")
    norms = bn_layers(model)
    if not norms:
        raise PruneError("the network has no BatchNorm layers: it was fused. Use the checkpoint that training wrote")
    gammas = {name: m.weight.detach().float().abs().cpu() for name, m in norms.items()}  # each (channels,)
    betas = {name: m.bias.detach().float().abs().cpu() for name, m in norms.items()}
    every = torch.cat(list(gammas.values()))
    threshold = keep_threshold(every, keep)
    layers = tuple(_layer(name, gammas[name], betas[name], keep, threshold) for name in norms)
    signal = _signal_ratio(every, torch.cat(list(betas.values())), threshold)
    verdict, reason = _verdict(every, signal, keep)
    return BnReport(keep, every.numel(), threshold, signal, verdict, reason, layers)


def keep_threshold(gamma: Tensor, keep: float) -> float:
    """The smallest |gamma| that stays when a fraction `keep` of the channels in `gamma` (channels,) stays."""
    return threshold_of(gamma, math.ceil(round(gamma.numel() * keep, 6)))  # 100 * 0.55 is 55.00000000000001


def threshold_of(gamma: Tensor, stay: int) -> float:
    """The smallest |gamma| that stays when `stay` of the channels in `gamma` (channels,) stay, at least one."""
    return float(gamma.sort(descending=True).values[max(1, min(stay, gamma.numel())) - 1])


def _layer(name: str, gamma: Tensor, beta: Tensor, keep: float, threshold: float) -> BnLayer:
    low, high, kept = float(gamma.min()), float(gamma.max()), int((gamma >= threshold).sum())
    own = keep_threshold(gamma, keep)
    return BnLayer(name, gamma.numel(), float(gamma.mean()), low, high, float(beta.mean()), own, kept)


def _signal_ratio(gamma: Tensor, beta: Tensor, threshold: float) -> float:
    """Mean output of a channel below the threshold over that of one above it; 1 if none is below."""
    signal = (gamma.square() + beta.square()).sqrt()
    below, above = signal[gamma < threshold], signal[gamma >= threshold]
    return float(below.mean() / above.mean().clamp_min(1e-12)) if below.numel() else 1.0


def _verdict(gamma: Tensor, signal: float, keep: float) -> tuple[str, str]:
    if float(gamma.max() - gamma.min()) < 1e-6:
        equal = f"all {gamma.numel()} scales are equal ({float(gamma[0]):.4g})"
        return "train longer", f"{equal}: BatchNorm ranks nothing yet"
    figure = f"at keep {keep:g} the channels that would go carry {signal:.1%} of a kept channel's signal"
    if signal <= SMALL_SIGNAL:
        return "prune", f"{figure} (at most {SMALL_SIGNAL:.0%} is small enough)"
    return "train longer", f"{figure}; below {SMALL_SIGNAL:.0%} they are safe to remove"
