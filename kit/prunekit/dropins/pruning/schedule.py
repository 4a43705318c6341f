# SPDX-License-Identifier: AGPL-3.0-or-later
"""`--schedule scaled`: learning rate, warm-up and epochs of a fine-tuning, scaled to what its step removed.

A light cut needs no training from scratch's learning rate, which first destroys what was left; a deep one does (Le and
Hua, "Network Pruning That Matters", arXiv:2105.03193; Renda et al., arXiv:2003.02389). Upstreams' warm-ups are made for
hundreds of epochs and can outlast a short step. docs/recipes.md has what was measured.
"""

from __future__ import annotations

from dataclasses import dataclass

SCHEDULES = ("given", "scaled")
WARMUP = 0.1  # share of the step's iterations
FULL = 0.5  # share of the MACs whose loss asks for the whole learning rate


@dataclass(frozen=True)
class Schedule:
    """How a fine-tuning differs from what the command line says.

    Attributes:
        rate: factor of the initial learning rate.
        warmup: the longest warm-up, as a share of the fine-tuning's iterations; None leaves it as it is.
        epochs: factor of the epochs.
    """

    rate: float = 1.0
    warmup: float | None = None
    epochs: int = 1

    def __str__(self) -> str:
        return f"learning rate x {self.rate:.2f}, warm-up at most {self.warmup or 0:.0%}, epochs x {self.epochs}"


GIVEN = Schedule()


def scaled(before: float, after: float, covered: int) -> Schedule:
    """The schedule of a step.

    Args:
        before, after: MACs of the network that the step began with, and of what it left.
        covered: steps whose epochs it gets: its own, and those that were joined with it because they removed nothing.
    """
    return Schedule(rate=min(1.0, (1 - after / before) / FULL), warmup=WARMUP, epochs=covered)
