# SPDX-License-Identifier: AGPL-3.0-or-later
"""`--schedule scaled`: learning rate, warm-up and epochs of a fine-tuning, scaled to what its step removed.

A light cut needs no training from scratch's learning rate, which first destroys what was left; a deep one does (Le and
Hua, "Network Pruning That Matters", arXiv:2105.03193; Renda et al., arXiv:2003.02389). Upstreams' warm-ups are made for
hundreds of epochs and can outlast a short step. What an earlier step learns is partly removed again: half of its epochs
go to the last. docs/benchmarks.md has what was measured.
"""

from __future__ import annotations

from dataclasses import dataclass

WARMUP = 0.1  # share of the step's iterations
FULL = 0.5  # share of the MACs whose loss asks for the whole learning rate


@dataclass(frozen=True)
class Schedule:
    """How a fine-tuning differs from what the command line says.

    Attributes:
        rate: factor of the initial learning rate.
        warmup: the longest warm-up, as a share of the fine-tuning's iterations; None leaves it as it is.
        covered: steps whose epochs it gets: its own, and those that were joined with it because they removed nothing.
        early: a later step will prune this one's network further: half of its epochs are left to the last.
        behind: the earlier steps that have done so.
    """

    rate: float = 1.0
    warmup: float | None = None
    covered: int = 1
    early: bool = False
    behind: int = 0

    def epochs(self, given: int) -> int:
        """Epochs of this fine-tuning, where each step was given `given`: over all steps the sum is as given."""
        fewer = max(1, given // 2)
        return self.covered * (fewer if self.early else given) + self.behind * (given - fewer)

    def __str__(self) -> str:
        share = "half of its epochs" if self.early else "its epochs"
        share += f" and those of {self.covered - 1} steps joined with it" if self.covered > 1 else ""
        more = f", half of those of {self.behind} earlier steps" if self.behind else ""
        return f"learning rate x {self.rate:.2f}, warm-up at most {self.warmup or 0:.0%}, {share}{more}"


GIVEN = Schedule()


def scaled(before: float, after: float, number: int, last: int, steps: int, *, even: bool = False) -> Schedule:
    """The schedule of a step.

    Args:
        before, after: MACs of the network that the step began with, and of what it left.
        number, last, steps: this step, the last one that was trained (0 for none), and how many there are.
        even: any step may be the result (`--max-map-drop`), so none may leave epochs to a later one.
    """
    covered = number - last
    behind = 0 if even or number < steps else last
    early = number < steps and not even
    return Schedule(min(1.0, (1 - after / before) / FULL), WARMUP, covered, early, behind)
