# SPDX-License-Identifier: AGPL-3.0-or-later
"""A YOLOv7 network as the engine sees it: what cannot be pruned, what stays, how every branch shows."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager

import torch
from pruning.checkpoint.allowed import Rules
from pruning.errors import PruneError
from pruning.family import defaults
from pruning.family.contract import Network
from pruning.network.graph import PruningGraph

from .structure import HEADS, output_layers

MADE_OF = Rules(packages=("models", "utils"), never=("models.common.autoShape",))  # which opens what it is given


def refuse_unknown(model: Network, source: str) -> None:
    """PruneError for a network that cannot be pruned, or not be trained afterwards; `source` names it."""
    kinds = {type(module).__name__ for module in model.modules()}
    if kinds & {"RepConv_OREPA", "OREPA_3x3_RepConv"}:
        raise PruneError(
            f"{source}: holds RepConv_OREPA, whose kernels are sums of other parameters: there are no channels to "
            "remove, and looking for them does not end. Train with RepConv instead, or reparameterize it first."
        )
    head = type(model.model[-1]).__name__
    if head not in HEADS:
        raise PruneError(f"{source}: ends in {head}, which train.py cannot train; prunekit knows {', '.join(HEADS)}.")
    fused = any(type(module).__name__ == "Conv" and not hasattr(module, "bn") for module in model.modules())
    defaults.refuse_fused(fused, source)


def ignored_layers(model: Network, head: str = "outputs") -> dict[str, str]:
    """Layers whose output channels must stay, with the reason. YOLOv7's heads are output layers and nothing else."""
    modules = dict(model.named_modules())
    return {name: reason for name, reason in output_layers(model).items() if name in modules}


def tracing(model: Network) -> AbstractContextManager[None]:
    """Training mode: the head gives its convolutions' outputs, an auxiliary head those of its aux branch too."""
    return defaults.tracing(None, model)


def graph_of(
    model: Network,
    example: torch.Tensor,
    more: Mapping[str, str] | None = None,
    opaque: Mapping[str, str] | None = None,
) -> PruningGraph:
    """The groups of a network for one image (1, channels, height, width).

    Args:
        more: layers that stay, too, with their reasons.
        opaque: modules that are not to be looked into, with their reasons.
    """
    with tracing(model):
        return PruningGraph.build(model, example, ignored={**ignored_layers(model), **(more or {})}, opaque=opaque)
