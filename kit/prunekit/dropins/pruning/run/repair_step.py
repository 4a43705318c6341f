# SPDX-License-Identifier: AGPL-3.0-or-later
"""Which criterion ranks where none was typed; and repair: whether it is done, on which images, what is said of it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from torch import nn

from ..errors import PruneError
from ..family.contract import Family
from ..planning.scores import IMAGE_CRITERIA
from ..repair.repair import repair
from ..settings import Settings
from .framed import framed_images

DEFAULT = 128  # images
# The default criterion where no fine-tuning follows and nothing can be tried (`untrained.nearest`): of those measured
# on both a set of few and one of many classes it is never far from the best (docs/benchmarks.md).
UNTRAINED = "fpgm"
# The defaults where one follows and a target decides the widths: on real data the only ones that ended above random
# channels and Torch-Pruning's own pruner by more than the interval. A ratio keeps the widths that published recipes
# have: one ratio in each layer.
TRAINED: Mapping[str, Any] = {"importance": "reconstruction", "scope": "global", "round_to": 8}
TARGETS = ("target_macs", "target_params", "target_latency")


def settled(family: Family, weights: Path, settings: Settings, say: Callable[[str], None] = print) -> Settings:
    """These settings with a number of images: as asked, else DEFAULT before no fine-tuning, and before one after a
    ranking that has looked at images, too; otherwise 0.

    Raises:
        PruneError: repair was asked for, but there are no training images.
    """
    wanted = settings.repair
    if wanted is None:
        looked = settings.importance in IMAGE_CRITERIA
        wanted = DEFAULT if looked or family.arguments().get("epochs") == 0 else 0
    if wanted and (reason := _no_images(family, weights)):
        if settings.repair:
            raise PruneError(f"--repair {wanted}: no training images ({reason}). Give a data set, or --repair 0.")
        say(f"The pruned network is not repaired: no training images ({reason})")
        wanted = 0
    return replace(settings, repair=wanted)


def ranked(
    family: Family,
    weights: Path,
    settings: Settings,
    typed: Collection[str],
    say: Callable[[str], None] = print,
) -> Settings:
    """These settings with the defaults of such a run: UNTRAINED before no fine-tuning, TRAINED to end at a target.

    A typed criterion stands, with the script's defaults beside it; so does what a table of sensitivity.py was measured
    with. TRAINED needs images.

    Args:
        typed: names of the settings that the user has chosen.
    """
    if "importance" in typed or settings.sensitivity:
        return settings
    if family.arguments().get("epochs") == 0:
        return replace(settings, importance=UNTRAINED)
    if all(getattr(settings, name) is None for name in TARGETS):
        return settings
    if reason := _no_images(family, weights):
        say(f"Channels are ranked by {settings.importance}, without images: no training images ({reason})")
        return settings
    say(
        "Channels are ranked by reconstruction error on training images: half a minute for a nano network at 320 px on "
        "one core, three times that for each size above (--importance fpgm: seconds)"
    )
    return finer(settings, typed)


def finer(settings: Settings, typed: Collection[str]) -> Settings:
    """TRAINED, but for what was typed, and for a script's own finer rounding."""
    values = {**TRAINED, "round_to": min(settings.round_to, TRAINED["round_to"])}
    return replace(settings, **{name: value for name, value in values.items() if name not in typed})


def _no_images(family: Family, weights: Path) -> str | None:
    try:
        return None if next(iter(family.images(weights)), None) is not None else "the training set is empty"
    except Exception as error:  # noqa: BLE001 - upstreams' loaders fail in many ways
        return next(iter(str(error).strip().splitlines()), type(error).__name__)[:200]


def repaired(
    family: Family,
    weights: Path,
    model: nn.Module,
    dense: nn.Module,
    survivors: Mapping[str, Sequence[int]],
    settings: Settings,
    say: Callable[[str], None],
) -> dict[str, Any]:
    """Repair a pruned network on training images, in place.

    Args:
        weights: the checkpoint that was pruned.
        model: the pruned network, before its blocks are merged back.
        dense: the network that it was pruned from.
        survivors: as `apply_plan` notes them.

    Returns:
        The record's `repair`: images, before, after, batchnorm, layers.
    """
    images = framed_images(family, weights, dense, settings.repair or 0)
    done = repair(model, dense, survivors, images, tracing=family.tracing, seed=settings.seed)
    say(done.line())
    return done.as_dict()
