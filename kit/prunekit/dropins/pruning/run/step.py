# SPDX-License-Identifier: AGPL-3.0-or-later
"""One pruning of one network: open it, score it, plan it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ..errors import PruneError
from ..family.contract import Family
from ..files import digest_of
from ..network.counts import Cost, count
from ..network.deployed import deployed_cost, deployed_costs
from ..network.graph import PruningGraph
from ..network.surgery import split_blocks
from ..planning.depth import BlockEntry
from ..planning.plan import Plan, make_plan
from ..planning.scores import GRADIENT_CRITERIA, score_groups
from ..planning.sensitivity_table import read_table, require_whole, with_worth
from ..settings import Settings
from .depth import Shallow
from .framed import framed_images
from .proofs import proved

IMAGES = 128  # that a criterion looks at


@dataclass(frozen=True)
class Dense:
    """The network that a run began with: its cost, and {layer: output channels} with split blocks in place."""

    cost: Cost
    widths: Mapping[str, int]
    weights: Path | None = None  # its checkpoint
    deployed: Cost | None = None  # its cost without what deployment drops, where that is anything
    blocks: tuple[BlockEntry, ...] = ()  # that have lost bottlenecks; `widths` are those of the network without them


def dense_of(family: Family, weights: Path, shallow: Shallow | None = None) -> Dense:
    """Count and measure the network that ratios and targets refer to.

    Args:
        shallow: the same network without some bottlenecks, where channels are pruned from that.
    """
    model = family.load(weights)
    example, dropped = family.example(model), family.dropped(model)
    cost = count(model, example)
    deployed = deployed_cost(model, example, dropped) if dropped else None
    if shallow is not None:
        model = family.load(shallow.weights)
    split_blocks(model, family.rules)
    return Dense(cost, widths_of(model), weights, deployed, shallow.blocks if shallow else ())


def open_model(family: Family, weights: Path, settings: Settings) -> tuple[nn.Module, PruningGraph]:
    """Load a checkpoint, prove that it can be pruned exactly (what cannot be is kept), and see its groups."""
    model = family.load(weights)
    split_blocks(model, family.rules)
    ignored = {**family.ignored(model), **_named_by_user(model, settings.ignore)}
    example = family.example(model)
    with family.tracing(model):
        graph = PruningGraph.build(model, example, ignored=ignored, rules=family.rules)
    proof = proved(family, model, ignored, graph.form)
    if proof.opaque or proof.kept:
        kept = {**proof.kept, **ignored}
        with family.tracing(model):
            graph = PruningGraph.build(model, example, ignored=kept, rules=family.rules, opaque=proof.opaque)
    graph.proof = proof
    return model, graph


def _named_by_user(model: nn.Module, names: tuple[str, ...]) -> dict[str, str]:
    """`--ignore` names, each of which must exist; a block's name stands for all in it."""
    known = [name for name, _ in model.named_modules() if name]
    ignored = {}
    for name in names:
        inside = [other for other in known if other == name or other.startswith(name + ".")]
        if not inside:
            raise PruneError(f"--ignore {name}: no such layer. Names look like {known[1]}; --plan-only lists them.")
        ignored.update(dict.fromkeys(inside, "--ignore"))
    return ignored


def plan_step(
    family: Family,
    model: nn.Module,
    graph: PruningGraph,
    settings: Settings,
    dense: Dense,
    number: int,
    scores: Mapping[str, torch.Tensor] | None = None,
) -> tuple[Plan, Mapping[str, torch.Tensor]]:
    """Score the groups and decide the widths after step `number`.

    A ratio R over n steps leaves (1 - R)^(k / n) of the dense widths after step k; a target T, T^(k / n) of the cost.
    With `settings.compound` each step takes 1 - (1 - R)^(1 / n) of what it finds, as published scripts do; their
    rounding down adds up (YOLO11n, ten steps to 0.5: 1,190,775 parameters instead of 1,265,136). `scores` are the
    network's own, where they are known.
    """
    steps = settings.steps
    if scores is None:
        per = "params" if settings.target_params is not None else "macs"
        scores = scores_of(family, model, graph, settings.importance, settings.seed, dense.weights, per)
    common: dict[str, Any] = {
        "scope": settings.scope,
        "round_to": settings.round_to,
        "floor": settings.min_channels,
        "criterion": settings.importance,
        "seed": settings.seed,
    }
    if settings.sensitivity:
        record = read_table(Path(settings.sensitivity))
        require_whole(record, digest_of(dense.weights) if dense.weights else record["digest"])
        common.update(scope="sensitivity", measured=lambda units: with_worth(units, record, dense.widths))
    base = dense.cost
    if settings.deployed and (dropped := family.dropped(model)):
        common["costs"], base = deployed_costs(graph, dropped), dense.deployed or dense.cost
    if settings.target_macs is not None:
        common["target_macs"] = step_target(settings.target_macs, base.macs, number, steps)
    elif settings.target_params is not None:
        common["target_params"] = step_target(settings.target_params, base.params, number, steps)
    elif settings.prune_ratio is None:
        raise PruneError("neither a ratio nor a target is given: --prune-ratio 0.5")
    elif settings.compound:
        common["ratio"] = 1 - (1 - settings.prune_ratio) ** (1 / steps)
    else:
        common["ratio"] = 1 - (1 - settings.prune_ratio) ** (number / steps)
    if not settings.compound:
        common["first"] = dense.widths
    plan = make_plan(graph, scores, **common)
    return (replace(plan, blocks=dense.blocks, dense=dense.cost) if dense.blocks else plan), scores


def step_target(target: float, dense: float, number: int, steps: int) -> float:
    """The absolute cost to reach at step `number` of `steps`.

    Args:
        target: fraction of dense if at most 1, else an absolute cost.
        dense: the dense network's cost, in the same unit.
    """
    fraction = target if target <= 1 else target / dense
    if fraction >= 1:
        raise PruneError(f"the target {target:,.0f} is not below the dense network's {dense:,.0f}: nothing to prune.")
    return dense * math.pow(fraction, number / steps)


def scores_of(
    family: Family,
    model: nn.Module,
    graph: PruningGraph,
    criterion: str,
    seed: int,
    weights: Path | None = None,
    per: str = "macs",
) -> Mapping[str, torch.Tensor]:
    """Scores of a graph's groups, with what the criterion needs of the family.

    Args:
        weights: a checkpoint of the network, for criteria that look at images.
        per: as for `score_groups`.
    """
    losses = (lambda: family.losses(model)) if criterion in GRADIENT_CRITERIA else None
    images = (lambda: _images(family, weights, model)) if weights is not None else None
    return score_groups(graph, criterion, seed=seed, losses=losses, images=images, tracing=family.tracing, per=per)


def _images(family: Family, weights: Path, model: nn.Module) -> list[torch.Tensor]:
    try:
        return framed_images(family, weights, model, IMAGES)
    except Exception as error:  # upstreams' loaders fail in many ways
        first = next(iter(str(error).strip().splitlines()), type(error).__name__)[:200]
        raise PruneError(f"no training images for --importance reconstruction: {first} (--data DATA.yaml)") from error


def widths_of(model: nn.Module) -> dict[str, int]:
    """{layer name: output channels} of every convolution and linear layer."""
    sizes = {}
    for name, module in model.named_modules():
        if isinstance(module, (nn.Conv2d, nn.ConvTranspose2d)):
            sizes[name] = module.out_channels
        elif isinstance(module, nn.Linear):
            sizes[name] = module.out_features
    return sizes
