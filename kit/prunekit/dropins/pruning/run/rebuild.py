# SPDX-License-Identifier: AGPL-3.0-or-later
"""Before a run: would the network, once it is pruned, be rebuilt from its YAML? A copy is pruned, untrained, to see."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from traceback import extract_tb

import torch
from torch import nn

from ..errors import PruneError
from ..family.contract import Family
from ..network.graph import PruningGraph
from ..network.surgery import merge_blocks
from ..planning.apply import apply_plan
from ..planning.plan import Plan, PlanEntry
from ..scratch import temporary_folder
from ..settings import Settings
from .step import open_model

Unit = Sequence[PlanEntry]  # groups that only go together: the halves of a split block
_NAMED = 8  # groups that an error names
# What a user's block raises when it is built otherwise; a full disk is an OSError, or a RuntimeError of torch's writer.
_REASONS = (PruneError, AttributeError, LookupError, TypeError, ValueError, RuntimeError)


def require_structure(family: Family, weights: Path) -> None:
    """PruneError for a network that could not be rebuilt once it is pruned: found by rebuilding the dense one."""
    try:
        with temporary_folder() as folder:
            family.write_yaml(weights, Path(folder) / "dense.yaml")
    except PruneError:
        raise
    except _REASONS as error:
        if _of_file(error):
            raise
        raise PruneError(
            f"{weights}: this network cannot be rebuilt from its own YAML ({_said(error)}), so a pruned one could not "
            "be either. Has its code changed since it was trained? Bring back the class that it was trained with."
        ) from error


def require_rebuild(
    family: Family, weights: Path, settings: Settings, model: nn.Module, graph: PruningGraph, plan: Plan, replayed: bool
) -> None:
    """Prune as planned, save and write the YAML as a run does, into a folder that is gone afterwards.

    Which channels go does not matter, only how many: a rebuild knows widths.

    Args:
        model, graph: of `weights`; they are spent.
        replayed: the plan is the user's own, so what to change is in it.

    Raises:
        PruneError: the pruned network could not be rebuilt: which groups are the reason, and how to keep them.
    """
    with torch.random.fork_rng(devices=[]):  # layers that are built draw weights
        reason = _reason(family, weights, model, graph, plan)
        if reason is None:
            return

        def fails(units: Sequence[Unit]) -> bool:
            again, fresh = open_model(family, weights, settings)
            return _reason(family, weights, again, fresh, _narrowed(plan, units)) is not None

        odd = [entry for unit in _culprits(fails, _units(plan)) for entry in unit]
    raise PruneError(
        f"{weights}: pruned, this network could not be rebuilt from its YAML ({reason}). {_hint(odd, replayed)}"
    )


def _reason(family: Family, weights: Path, model: nn.Module, graph: PruningGraph, plan: Plan) -> str | None:
    """Why what a plan leaves of a network is not rebuilt; None if it is. Model and graph are spent."""
    none = {entry.name: torch.zeros(entry.channels) for entry in plan.entries}
    apply_plan(graph, plan, none)
    with temporary_folder() as folder:
        pruned = Path(folder) / "pruned.pt"
        try:
            merge_blocks(model, family.rules)
            family.save(model, weights, pruned)
            family.write_yaml(pruned, pruned.with_suffix(".yaml"))
        except _REASONS as error:
            if _of_file(error):
                raise
            return str(error) if isinstance(error, PruneError) else _said(error)
    return None


def _said(error: Exception) -> str:
    """An error of somebody else's code in one line."""
    return f"{type(error).__name__}: {next(iter(str(error).splitlines()), '')}"


def _of_file(error: Exception) -> bool:
    """Does an error come from torch's reading or writing of a file, and not from the network in it?"""
    return extract_tb(error.__traceback__)[-1].filename == torch.serialization.__file__


def _units(plan: Plan) -> list[Unit]:
    """The groups that a plan narrows, halves of a split block together."""
    units: dict[str, list[PlanEntry]] = {}
    for entry in plan.entries:
        if entry.keep < entry.channels:
            units.setdefault(f"tie {entry.tie}" if entry.tie else entry.name, []).append(entry)
    return list(units.values())


def _narrowed(plan: Plan, units: Sequence[Unit]) -> Plan:
    """A plan that narrows these groups alone."""
    names = {entry.name for unit in units for entry in unit}
    whole = [entry if entry.name in names else replace(entry, keep=entry.channels) for entry in plan.entries]
    return replace(plan, entries=tuple(whole))


def _culprits(fails: Callable[[Sequence[Unit]], bool], units: Sequence[Unit]) -> Sequence[Unit]:
    """Of units that fail together those that fail by themselves, found by halving; all of them if none does."""
    if len(units) < 2:
        return units
    halves = (units[: len(units) // 2], units[len(units) // 2 :])
    return [unit for half in halves if fails(half) for unit in _culprits(fails, half)] or units


def _hint(odd: Sequence[PlanEntry], replayed: bool) -> str:
    named, left = odd[:_NAMED], len(odd) - _NAMED
    more = f" (and {left} more: prunekit cannot prune this network)" if left > 0 else ""
    if replayed:
        kept = ", ".join(f"{entry.name} (keep: {entry.channels})" for entry in named)
        return f"Keep these channels in the plan: {kept}{more}"
    return f"Keep these channels: {' '.join(f'--ignore {entry.name}' for entry in named)}{more}"
