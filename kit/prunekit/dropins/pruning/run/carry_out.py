# SPDX-License-Identifier: AGPL-3.0-or-later
"""A plan carried out in memory, and what stays is repaired: what a step saves, a preview measures, a trial compares."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ..family.contract import Family
from ..network.graph import PruningGraph
from ..planning.apply import apply_plan
from ..planning.plan import Plan
from ..settings import Settings
from .repair_step import repaired


@dataclass(frozen=True)
class Pruned:
    """A pruned network whose blocks are still split.

    Attributes:
        scores: {group name: (channels,)}, by which the plan was made and channels went.
        proof: of the network before, as its graph holds it.
        removed: channels, over all groups.
        repair: what was done, as a step's record holds it; empty without one.
        said: its lines for the console.
    """

    model: nn.Module
    plan: Plan
    scores: Mapping[str, torch.Tensor]
    proof: Any
    removed: int
    repair: Mapping[str, Any]
    said: tuple[str, ...]


def carry_out(
    family: Family,
    weights: Path,
    model: nn.Module,
    graph: PruningGraph,
    plan: Plan,
    scores: Mapping[str, torch.Tensor],
    settings: Settings,
) -> Pruned:
    """Prune a network in place; where `settings.repair` names images, repair what stays.

    Args:
        weights: the checkpoint that the network was read from; tells where training images are.
        graph: of the model; spent afterwards.

    Raises:
        PruneError: the plan is of another network, or a score is missing. The model is untouched.
    """
    whole = copy.deepcopy(model) if settings.repair else None
    survivors, said = dict[str, Any](), list[str]()
    removed = apply_plan(graph, plan, scores, survivors)
    done: Mapping[str, Any] = {}
    if whole is not None:
        done = repaired(family, weights, model, whole, survivors, settings, said.append)
    return Pruned(model, plan, scores, graph.proof, removed, done, tuple(said))
