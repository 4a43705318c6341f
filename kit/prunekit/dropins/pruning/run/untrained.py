# SPDX-License-Identifier: AGPL-3.0-or-later
"""Where no training follows: one step, and of two ways to choose channels what comes nearer to the dense network.

No criterion is best on every network then. Ranking by reconstruction error, over all layers, keeps nearly everything of
a network that has more than its data needs, and less than fpgm in each layer of one that has not (docs/benchmarks.md).
Both are pruned and repaired in memory, and images that no fit has seen say which is nearer: no labels are needed.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection
from dataclasses import replace
from pathlib import Path

from ..errors import Unreachable
from ..family.contract import Family
from ..settings import Settings
from .carry_out import Pruned, carry_out
from .depth import Shallow
from .repair_step import TRAINED, UNTRAINED, finer, settled
from .step import dense_of, open_model, plan_step


def at_once(family: Family, settings: Settings, typed: Collection[str], say: Callable[[str], None] = print) -> Settings:
    """These settings; where no training follows and no number of steps was typed, with one step.

    Steps are for the training between them: five without any were no better than one (docs/benchmarks.md), and each
    ranks and repairs again. --max-map-drop needs them: it goes back to an earlier one.

    Args:
        typed: names of the settings that the user has chosen.
    """
    free = "steps" not in typed and settings.max_map_drop is None and settings.steps > 1
    if not free or family.arguments().get("epochs") != 0:
        return settings
    say(f"No training follows: one step instead of {settings.steps} (--steps {settings.steps} for as many)")
    return replace(settings, steps=1)


def nearest(
    family: Family,
    weights: Path,
    settings: Settings,
    typed: Collection[str],
    shallow: Shallow | None = None,
    say: Callable[[str], None] = print,
) -> tuple[Settings, Pruned | None]:
    """These settings; where no training follows, a target decides and no criterion was typed, the better of both.

    Without images, without a repair, and with a measured time as the target, UNTRAINED stays.

    Args:
        settings: as `ranked` left them.
        typed: names of the settings that the user has chosen.
        shallow: the network without the bottlenecks that go first, where some do.

    Returns:
        The settings, and the network that a run of one step with them would make, where it was tried.

    Raises:
        PruneError: the target cannot be reached.
    """
    targets = (settings.target_macs, settings.target_params)
    trained = family.arguments().get("epochs") != 0
    if trained or "importance" in typed or settings.sensitivity or all(target is None for target in targets):
        return settings, None
    asked = settled(family, weights, settings, lambda line: None)
    if not asked.repair:
        return settings, None
    ways = (settings, finer(settings, typed))
    say(
        f"No training follows: {UNTRAINED} and {TRAINED['importance']} error are both tried in memory, repaired on "
        "training images, and what comes nearer to the dense network is taken (--importance with either saves the time)"
    )
    made: list[Pruned | None] = []
    for way in ways:
        try:
            made.append(_tried(family, weights, replace(way, repair=asked.repair), shallow))
        except Unreachable:  # by one ratio or rounding, but perhaps not by the other
            if made and made[0] is None:
                raise
            made.append(None)
    left = [pruned.repair["after"] if pruned else math.inf for pruned in made]
    if None not in made:
        say(
            "Outputs differ from the dense network's by {:.2g} and {:.2g} of their variance, on other images".format(
                *left
            )
        )
    best = 1 if left[1] < left[0] else 0
    return ways[best], made[best]


def _tried(family: Family, weights: Path, settings: Settings, shallow: Shallow | None) -> Pruned:
    """What a one-step run would begin its fine-tuning with, were there one."""
    start = shallow.weights if shallow else weights
    model, graph = open_model(family, start, settings)
    dense = dense_of(family, weights, shallow)
    plan, scores = plan_step(family, model, graph, replace(settings, steps=1, compound=False), dense, 1)
    return carry_out(family, start, model, graph, plan, scores, settings)
