# SPDX-License-Identifier: AGPL-3.0-or-later
"""Repair as a part of a pruning step: whether it is done, on which images, and what is said of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

from torch import nn

from ..errors import PruneError
from ..family.contract import Family
from ..repair.repair import repair
from ..settings import Settings

DEFAULT = 128  # images, where no fine-tuning follows
# The default criterion there: on the networks measured it keeps more than LAMP and than random channels, a difference
# that fine-tuning makes up for and a repair does not (docs/benchmarks.md). "reconstruction" keeps as much or more, but
# costs minutes for each step and needs images.
UNTRAINED = "fpgm"


def settled(family: Family, weights: Path, settings: Settings, say: Callable[[str], None] = print) -> Settings:
    """These settings with a number of images: as asked, else DEFAULT before no fine-tuning at all and 0 before one.

    Raises:
        PruneError: repair was asked for, but there are no training images.
    """
    wanted = settings.repair
    if wanted is None:
        wanted = DEFAULT if family.arguments().get("epochs") == 0 else 0
    if wanted and (reason := _no_images(family, weights)):
        if settings.repair:
            raise PruneError(f"--repair {wanted}: no training images ({reason}). Give a data set, or --repair 0.")
        say(f"The pruned network is not repaired: no training images ({reason})")
        wanted = 0
    return replace(settings, repair=wanted)


def ranked(family: Family, settings: Settings) -> Settings:
    """These settings with the criterion that is the default where none was typed: UNTRAINED before no fine-tuning.

    A table of sensitivity.py was measured with a criterion of its own.
    """
    trained = family.arguments().get("epochs") != 0
    return settings if trained or settings.sensitivity else replace(settings, importance=UNTRAINED)


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
    images = list(islice(family.images(weights), settings.repair or 0))
    done = repair(model, dense, survivors, images, tracing=family.tracing, seed=settings.seed)
    say(done.line())
    return done.as_dict()
