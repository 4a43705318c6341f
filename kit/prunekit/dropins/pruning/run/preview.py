# SPDX-License-Identifier: AGPL-3.0-or-later
"""`--plan-only`: what can be pruned, what stays and why, how far it could go, what the plan would leave untrained."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path

import torch

from ..family.contract import Family, Metrics, low_accuracy
from ..files import write_whole
from ..network.counts import Cost
from ..network.graph import PruningGraph
from ..network.surgery import merge_blocks
from ..planning.plan import Plan, plan_table
from ..planning.plan_file import write_plan
from ..planning.select import Limits, make_units
from ..scratch import temporary_folder
from ..settings import Settings
from ..training.recalibrate import recalibrate
from .carry_out import Pruned, carry_out
from .depth import Shallow
from .repair_step import settled
from .step import dense_of, open_model, plan_step

Say = Callable[[str], None]
Scores = Mapping[str, torch.Tensor]


def plan_only(
    family: Family,
    weights: Path,
    settings: Settings,
    target: Path,
    say: Say = print,
    *,
    without: str = "",
    shallow: Shallow | None = None,
    tried: Pruned | None = None,
) -> Plan:
    """Make the plan of a one-step run, write it to `target`, say what it comes to, and prune nothing.

    The planned network is made in memory, repaired where a run would repair it, else its BatchNorm statistics are
    measured again on training images, and it is validated beside the dense one: accuracy at zero epochs, the floor
    under fine-tuning.
    `without`: why there is no data set to do that with; otherwise `Family.check_data` has found it.
    `shallow`: the network without the bottlenecks that go first, where some do.
    `tried`: the planned network, where a trial has made it in memory already.
    """
    dense = None if without else family.evaluate(weights)
    if dense and (warning := low_accuracy(dense)):
        say(warning)
    settings = replace(settings, repair=0) if without else settled(family, weights, settings, say)
    start = shallow.weights if shallow else weights
    model, graph = open_model(family, start, settings)
    dense_one = dense_of(family, weights, shallow)
    known = tried.scores if tried else None
    plan, scores = plan_step(family, model, graph, replace(settings, steps=1), dense_one, 1, known)
    write_whole(target, partial(write_plan, plan))
    say(plan_table(plan))
    for line in (*frozen_lines(graph), ceiling_line(graph, scores, settings)):
        say(line)
    if family.dropped(model):
        what = "the target is without it" if settings.deployed else "targets are with it, too (--deployed: without)"
        say(f"deployed    MACs are those of the network with its one-to-many head, which deployment drops; {what}")
    if dense is None:
        say(f"estimate    accuracy not estimated: {without}")
    else:
        pruned = tried or carry_out(family, start, model, graph, plan, scores, settings)
        say(_outcome(family, start, pruned, dense))
    say(f"Plan written to {target}. Edit its 'keep' values if you like, then prune with --plan {target}")
    return plan


def frozen_lines(graph: PruningGraph) -> list[str]:
    """What is kept whole, counted by reason, the most frequent first; the names are in the plan's file."""
    reasons = Counter(reason.partition(" (")[0] for reason in graph.frozen.values())
    return [f"not pruned  {number:>3} layers: {reason}" for reason, number in reasons.most_common()]


def ceiling_line(graph: PruningGraph, scores: Scores, settings: Settings) -> str:
    """The least that any plan under these limits could leave."""
    dense, least = graph.cost(), ceiling(graph, scores, settings)
    return (
        f"smallest    {least.macs / dense.macs:.1%} of the MACs, {least.params / dense.params:.1%} of the parameters "
        f"would be left with every layer at its least width (floor {settings.min_channels}, rounding "
        f"{settings.round_to})"
    )


def ceiling(graph: PruningGraph, scores: Scores, settings: Settings) -> Cost:
    """The cost of the narrowest network that these limits allow."""
    units = make_units(graph.groups, scores, Limits(settings.min_channels, settings.round_to), {})
    return graph.cost({name: unit.least for unit in units for name in unit.names})


def _outcome(family: Family, weights: Path, pruned: Pruned, dense: Metrics) -> str:
    """Accuracy before any fine-tuning."""
    model, how = pruned.model, f"repaired on {pruned.repair.get('images')} training images"
    merge_blocks(model, family.rules)
    if not pruned.repair:
        batches = recalibrate(model, lambda: family.losses(model))
        how = f"BatchNorm recalibrated on {batches} training batches"
    with temporary_folder() as folder:
        estimate = Path(folder) / "estimate.pt"
        family.save(model, weights, estimate)
        zero = family.evaluate(estimate)
    return _estimate(dense, zero, how, "" if pruned.repair else " with --recalibrate")


def _estimate(dense: Metrics, zero: Metrics, how: str, option: str) -> str:
    lost = max(0.0, 1 - zero.map50 / dense.map50) if dense.map50 else 1.0
    return (
        f"estimate    mAP50 {zero.map50:.4f} (mAP50-95 {zero.map50_95:.4f}) without any fine-tuning, {how}; "
        f"dense {dense.map50:.4f} ({dense.map50_95:.4f}).\n"
        f"            Fine-tuning has {lost:.0%} of the dense mAP50 to bring back, and starts there{option}."
    )
