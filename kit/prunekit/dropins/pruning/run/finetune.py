# SPDX-License-Identifier: AGPL-3.0-or-later
"""The fine-tuning of one step: on which schedule, beside which teacher, and whether the same network came back."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from ..errors import PruneError
from ..family.contract import Family
from ..files import fresh
from ..network.counts import Cost
from ..settings import Settings
from ..training import ddp
from ..training.distill import ONE, taught
from ..training.schedule import GIVEN, Schedule, scaled
from .record import State
from .step import widths_of


def require_one_process(family: Family, settings: Settings) -> None:
    """Refuse --distill where other processes or devices than this one's train, too: the dense network is here only.

    Raises:
        PruneError: before any work, saying how many there are.
    """
    if not settings.distill:
        return
    given = family.arguments().get("device")
    devices = given if isinstance(given, (list, tuple)) else [part for part in str(given or "").split(",") if part]
    for number, what in ((ddp.world(), "processes"), (len(devices), "devices")):
        if number > 1:
            raise PruneError(f"--distill {settings.distill} cannot be done by {number} {what}. {ONE}")


def schedule_of(state: State, cost: Cost, number: int, say: Callable[[str], None]) -> Schedule:
    """What the step's fine-tuning is scaled to, from what the step removed."""
    if state.settings.schedule == "given" or state.arguments.get("epochs") == 0:
        return GIVEN
    last, settings = state.steps[-1] if state.steps else {"macs": state.dense["macs"], "step": 0}, state.settings
    even = settings.max_map_drop is not None
    made = scaled(last["macs"], cost.macs, number, last["step"], settings.steps, even=even)
    say(f"Schedule of step {number}: {made}")
    return made


def finetune_step(state: State, family: Family, pruned: Path, number: int, schedule: Schedule) -> Path:
    """Fine-tune a pruned network, beside the dense one where that was asked for; returns the best checkpoint."""
    folder, strength = fresh(state.folder / f"step{number}_finetune"), state.settings.distill
    if not strength:
        return family.finetune(pruned, folder, schedule=schedule)
    with taught(family.load(Path(state.weights)), strength) as lesson:
        best = family.finetune(pruned, folder, schedule=schedule)
    if best != pruned and (lesson is None or not lesson.pulled):
        raise PruneError(
            f"--distill reached no training batch: was it another process that trained {best}? {ONE} "
            f"To keep that network, begin a run with it: --weights {best}"
        )
    return best


def same_shape(family: Family, best: Path, widths: dict[str, int]) -> None:
    """Fail if fine-tuning gave another network back: the field's most frequent silent error."""
    found = widths_of(family.load(best))
    wrong = [name for name in widths if found.get(name) != widths[name]]
    if wrong:
        name = wrong[0]
        raise PruneError(
            f"{best}: fine-tuning did not keep the pruned structure ({len(wrong)} layers differ, {name}: "
            f"{widths[name]} channels pruned, {found.get(name)} after). Is this upstream patched? Try: prunekit verify"
        )
