# SPDX-License-Identifier: AGPL-3.0-or-later
"""Repair without training: each layer's weights solved so that its outputs come nearest to the dense network's.

Layer by layer in the order of execution, on the *pruned* network's inputs with all earlier layers repaired: ridge
regression of the dense network's outputs, at the channels that stay, on what the layer sees now (He et al., channel
pruning, ICCV 2017, arXiv:1707.06168, eq. 5). Neither labels nor gradients; images alone.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, nullcontext
from typing import Any

import torch
from torch import Tensor, nn

from ..training.recalibrate import recalibrate
from .answers import apart
from .solver import HELD, Fit, Repaired, Solver
from .stages import Stages, frozen_modes, in_batches

BATCH = 8
JUDGED = 8  # every eighth batch says what a repair is worth

Tracing = Callable[[nn.Module], AbstractContextManager[Any]]


@torch.no_grad()
def repair(
    model: nn.Module,
    dense: nn.Module,
    survivors: Mapping[str, Sequence[int]],
    images: list[Tensor],
    *,
    tracing: Tracing = nullcontext,
    seed: int = 0,
) -> Repaired:
    """Solve the weights, biases and BatchNorm means of a pruned network towards the dense one's outputs, in place.

    Every eighth batch, at least the last, is kept out of all fits. Of three networks, as it was, repaired, and repaired
    with BatchNorm measured again, the one stays whose outputs on those images come nearest to the dense network's. A
    single image leaves none to judge by: the network stays as it is.

    Args:
        model: the pruned network, before its blocks are merged back.
        dense: the network that it was pruned from, with the same names. Unchanged.
        survivors: layer name -> the dense output channels that `model` has left, in order; all where it says nothing.
        images: each (1, channels, h, w).
        tracing: the family's: the mode in which every branch runs.
        seed: of the positions that are looked at.
    """
    done = Repaired(len(images))
    batches = in_batches(images, min(BATCH, max(1, len(images) // HELD)))
    judged = [batch for number, batch in enumerate(batches) if number % JUDGED == JUDGED - 1] or batches[-1:]
    fitted = [batch for batch in batches if not any(batch is other for other in judged)]
    with ExitStack() as stack:
        for network in (dense, model):
            modes = {module: module.training for module in network.modules()}
            stack.callback(_set_modes, modes)
            stack.enter_context(tracing(network))
            frozen_modes(network)
        untouched = _state(model)
        first, wanted = forward(model, judged), forward(dense, judged)
        done.before = done.after = apart(first, wanted)
        if fitted:
            Solver(model, dense, survivors, fitted, done, seed).run()
            done.after = apart(forward(model, judged), wanted)
            _settle(model, fitted, judged, wanted, untouched, done)
    return done


def forward(model: nn.Module, batches: list[Tensor]) -> list[Any]:
    """The last stage's outputs for each batch, as the solver sees them."""
    return Stages(model, batches).outputs_from(0)


def _settle(
    model: nn.Module,
    fitted: list[Tensor],
    judged: list[Tensor],
    wanted: list[Any],
    untouched: dict[str, Tensor],
    done: Repaired,
) -> None:
    """Of the network as it was, repaired, and recalibrated: keep the best on batches that no fit has seen."""
    repaired = _state(model)
    recalibrate(model, lambda: (forward(model, [batch]) for batch in fitted))
    frozen_modes(model)
    anew = apart(forward(model, judged), wanted)
    if anew < done.after:
        done.after, done.norms = anew, "recalibrated"
        return
    model.load_state_dict(repaired)
    if not done.after <= done.before:  # too few images to learn from: nothing is better than harm
        model.load_state_dict(untouched)
        done.after = done.before
        done.fits = {
            name: Fit(fit.before, fit.before, left="outputs were nearer without") for name, fit in done.fits.items()
        }


def _state(model: nn.Module) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in model.state_dict().items()}


def _set_modes(modes: Mapping[nn.Module, bool]) -> None:
    for module, mode in modes.items():
        module.training = mode
