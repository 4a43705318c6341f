# SPDX-License-Identifier: AGPL-3.0-or-later
"""The plan: how many channels each group keeps, as data that can be read, edited and replayed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

from torch import Tensor

from ..errors import PruneError, Unreachable
from ..network.counts import Cost, CostModel
from ..network.graph import PruningGraph
from .depth import BlockEntry, blocks_line
from .scores import flat
from .select import Limits, Unit, Widths, by_ratio, by_target, by_threshold, make_units
from .slimming import CRITERION, global_threshold, slimming_notes

SCOPES = ("local", "global", "sensitivity")
VERSION = 1
EDITED = "widths or image size are not those that this plan was made with: costs are counted again"


@dataclass(frozen=True)
class PlanEntry:
    """One group: its channels before, how many stay, and the layers that go together.

    Attributes:
        tie: name of the block whose halves must keep equal widths.
        line: where the entry stands in the file it was read from.
    """

    name: str
    channels: int
    keep: int
    layers: tuple[str, ...]
    tie: str | None = None
    line: int | None = field(default=None, compare=False, repr=False)


@dataclass(frozen=True)
class Plan:
    """What will be removed and what it saves. Costs are for one image of shape `example` (1, channels, h, w).

    Where `blocks` lose bottlenecks, the entries are those of the network without them, and `dense` is the one before.
    """

    criterion: str
    scope: str
    entries: tuple[PlanEntry, ...]
    dense: Cost
    pruned: Cost
    example: tuple[int, ...]
    frozen: Mapping[str, str]
    notes: tuple[str, ...] = ()
    seed: int = 0
    version: int = VERSION
    blocks: tuple[BlockEntry, ...] = ()

    @property
    def keep(self) -> dict[str, int]:
        """{group name: channels that stay}."""
        return {entry.name: entry.keep for entry in self.entries}

    @property
    def removed(self) -> int:
        """Channels removed, over all groups."""
        return sum(entry.channels - entry.keep for entry in self.entries)

    def fitted(self, graph: PruningGraph) -> Plan:
        """This plan, checked against `graph`, with the graph's costs.

        Raises:
            PruneError: a group that the graph does not have, or with other channels, or halves of unequal width.
        """
        for entry in self.entries:
            _check_entry(entry, graph)
        keep = self.keep
        for group in graph.groups:
            mates = {g.name: keep.get(g.name, g.channels) for g in graph.groups if group.tie and g.tie == group.tie}
            if len(set(mates.values())) > 1:
                raise PruneError(f"Unequal halves of block {group.tie}: {mates}. Give them the same keep.")
        pruned = graph.cost(keep)
        same = (pruned, graph.example_shape) == (self.pruned, self.example)
        notes = self.notes if same or EDITED in self.notes else (EDITED,)
        shape, frozen = graph.example_shape, dict(graph.frozen)
        dense = self.dense if self.blocks else graph.cost()
        return replace(self, dense=dense, pruned=pruned, example=shape, frozen=frozen, notes=notes)


def make_plan(
    graph: PruningGraph,
    scores: Mapping[str, Tensor],
    *,
    scope: str = "local",
    ratio: float | None = None,
    target_macs: float | None = None,
    target_params: float | None = None,
    base: Cost | None = None,
    costs: CostModel | None = None,
    first: Mapping[str, int] | None = None,
    measured: Callable[[list[Unit]], list[Unit]] | None = None,
    round_to: int = 1,
    floor: int = 8,
    max_ratio: float = 1.0,
    criterion: str = "",
    seed: int = 0,
) -> Plan:
    """Turn scores into a plan. Give one of `ratio`, `target_macs` and `target_params`.

    Args:
        scope: "local" takes the same ratio of every layer, "global" ranks all channels together, "sensitivity" ranks
            them by what `measured` says that each is worth.
        ratio: fraction of channels to remove, in (0, 1); local: keep = int(channels * (1 - ratio)), as torch-pruning;
            global by "bn_scale": what lies under the threshold on |gamma| that this fraction of all BatchNorm channels
            lies under, and no other channel, so coupling, floor and rounding can only remove less.
        target_macs: what may stay: a fraction of `base` if at most 1, else an absolute number.
        target_params: the same in parameters.
        base: what fractions refer to; by default the graph's dense cost. Iterative runs give the first network's.
        costs: what targets are counted by (`deployed_costs`); by default the graph's own. The plan's costs are those.
        first: {group name: channels} that `ratio` refers to; by default the graph's own. With the first network's,
            step after step ends at the widths of one step, instead of rounding down each time.
        measured: gives units their curves for scope "sensitivity"; which channels of a layer go, the scores say.
        round_to: widths become the nearest multiples of it, or stay dense.
        floor: no layer gets narrower than this, unless it is already.
        max_ratio: at most this fraction of any one layer goes.
        criterion: recorded in the plan; "bn_scale" with a global ratio is one threshold (see `ratio`).
        seed: recorded in the plan.

    Raises:
        PruneError: bad settings, a target that cannot be reached, or nothing removed.
    """
    graph.check_usable()
    _check_settings(scope, ratio, target_macs, target_params, round_to, floor, max_ratio)
    limits = Limits(floor, round_to, max_ratio)
    units = make_units(graph.groups, scores, limits, first or {}, largest=criterion == CRITERION)
    if not units:
        raise PruneError(f"Nothing to plan: none of the {len(graph.groups)} groups has a score.")
    if scope == "sensitivity":
        if measured is None:
            raise PruneError("The scope sensitivity needs a table of what was measured: --sensitivity FILE.")
        units = measured(units)
    base = base or _cost_by(costs, graph)
    threshold = None
    if ratio is not None and scope == "global" and criterion == CRITERION:
        threshold = global_threshold(graph, ratio, first or {})
        widths = by_threshold(units, threshold)
    elif ratio is not None:
        widths = by_ratio(units, scope, ratio)
    elif target_macs is not None:
        widths = by_target(graph, units, scope, target_macs * (base.macs if target_macs <= 1 else 1), "macs", costs)
    else:
        assert target_params is not None  # _check_settings
        target = target_params * (base.params if target_params <= 1 else 1)
        widths = by_target(graph, units, scope, target, "params", costs)
    keep = {name: width for unit, width in zip(units, widths, strict=True) for name in unit.names}
    entries = tuple(PlanEntry(g.name, g.channels, keep.get(g.name, g.channels), g.layers, g.tie) for g in graph.groups)
    notes = _notes(graph, scores, units, widths, limits)
    if criterion == CRITERION:
        notes = (*notes, *slimming_notes(graph, scores, keep, threshold))
    plan = Plan(
        criterion, scope, entries, graph.cost(), graph.cost(keep), graph.example_shape, dict(graph.frozen), notes, seed
    )
    if not plan.removed:
        raise Unreachable(_nothing_removed(plan, limits))
    return plan


def _cost_by(costs: CostModel | None, graph: PruningGraph) -> Cost:
    return costs({group.name: group.channels for group in graph.groups}) if costs else graph.cost()


def plan_table(plan: Plan) -> str:
    """The plan as a text table: one row for each group, then `plan_summary`."""
    rows = [("layer", "before", "after", "kept", "with")]
    for entry in plan.entries:
        others = len(entry.layers) - 1
        mates = f"+{others} layers" if others else ""
        rows.append((entry.name, str(entry.channels), str(entry.keep), f"{entry.keep / entry.channels:.0%}", mates))
    sizes = [max(len(row[i]) for row in rows) for i in range(5)]
    line = "  ".join("-" * size for size in sizes)
    form = "  ".join([f"{{:<{sizes[0]}}}", *(f"{{:>{size}}}" for size in sizes[1:])])
    table = [form.format(*row).rstrip() for row in rows]
    return "\n".join([table[0], line, *table[1:], line, plan_summary(plan)])


def plan_summary(plan: Plan) -> str:
    """The plan in lines: totals, what stays, notes."""
    return "\n".join([*_totals(plan), *(_labelled(note) for note in plan.notes)])


def _labelled(note: str) -> str:
    return note if note.startswith("warning: ") else f"note: {note}"


def _totals(plan: Plan) -> list[str]:
    total = sum(entry.channels for entry in plan.entries)
    size = "x".join(str(side) for side in plan.example[1:])
    macs, params = plan.pruned.macs / plan.dense.macs, plan.pruned.params / plan.dense.params
    return [
        *([f"blocks      {blocks_line(plan.blocks)}"] if plan.blocks else []),
        f"channels    {total:,} -> {total - plan.removed:,} ({plan.removed / max(1, total):.1%} removed, {plan.scope})",
        f"MACs        {plan.dense.macs:,.0f} -> {plan.pruned.macs:,.0f} ({macs:.1%}, at {size})",
        f"parameters  {plan.dense.params:,} -> {plan.pruned.params:,} ({params:.1%})",
        f"not pruned  {len(plan.frozen)} layers",
    ]


def _check_settings(
    scope: str,
    ratio: float | None,
    target_macs: float | None,
    target_params: float | None,
    round_to: int,
    floor: int,
    max_ratio: float,
) -> None:
    if scope not in SCOPES:
        raise PruneError(f"Unknown scope {scope!r}: use local, global or sensitivity.")
    given = {"ratio": ratio, "target_macs": target_macs, "target_params": target_params}
    named = [name for name, value in given.items() if value is not None]
    if len(named) != 1:
        raise PruneError(f"Give one of ratio, target_macs and target_params; got {', '.join(named) or 'none'}.")
    if ratio is not None and not 0 < ratio < 1:
        raise PruneError(f"ratio {ratio}: must lie between 0 and 1 (the fraction of channels to remove).")
    target = target_macs if target_params is None else target_params
    if target is not None and not target > 0:
        raise PruneError(f"{named[0]} {target}: must be above 0.")
    if round_to < 1 or floor < 1 or not 0 < max_ratio <= 1:
        raise PruneError(f"round_to {round_to} and floor {floor} must be 1 or more, max_ratio {max_ratio} in (0, 1].")


def _check_entry(entry: PlanEntry, graph: PruningGraph) -> None:
    where = f"line {entry.line}: " if entry.line else ""
    try:
        group = graph.group(entry.name)
    except PruneError as error:
        reason = graph.frozen.get(entry.name)
        raise PruneError(f"Plan, {where}{f'{entry.name} is kept: {reason}.' if reason else error}") from None
    if group.channels != entry.channels:
        raise PruneError(
            f"Plan, {where}{entry.name} has {group.channels} channels in this model, {entry.channels} in the plan: "
            "it was made for another network. Make a new one with --plan-only."
        )
    if not 1 <= entry.keep <= entry.channels:
        raise PruneError(f"Plan, {where}{entry.name}: keep is {entry.keep}, must be 1 to {entry.channels}.")


def _notes(
    graph: PruningGraph, scores: Mapping[str, Tensor], units: list[Unit], widths: Widths, limits: Limits
) -> tuple[str, ...]:
    """What a reader should know: layers at their limit, layers without a score or without a ranking."""
    held = [
        n for unit, width in zip(units, widths, strict=True) if width == unit.least < unit.channels for n in unit.names
    ]
    limit = f"--min-channels {limits.floor}, --round-to {limits.round_to}"
    if limits.max_ratio < 1:
        limit += f", at most {limits.max_ratio:.0%} of a layer removed"
    small = [n for unit in units if len(unit.allowed) == 1 for n in unit.names]
    planned = {name for unit in units for name in unit.names}
    unscored = [group.name for group in graph.groups if group.name not in planned]
    equal = [name for name in planned if flat(scores[name])]
    found = (
        (held, f"at the least width ({limit})"),
        (small, f"not above the least width, kept dense ({limit})"),
        (unscored, "without a score by this criterion, kept dense"),
        (equal, "with equal scores for all channels, taken in order of index"),
    )
    return tuple(
        f"{len(names)} group{'' if len(names) == 1 else 's'} {text}: {_some(sorted(names))}"
        for names, text in found
        if names
    )


def _some(names: list[str], most: int = 4) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def _nothing_removed(plan: Plan, limits: Limits) -> str:
    channels = sum(entry.channels for entry in plan.entries)
    notes = " ".join(f"{note}." for note in plan.notes)
    return (
        f"The plan removes 0 of {channels} channels in {len(plan.entries)} groups (floor {limits.floor}, rounding "
        f"{limits.round_to}). Raise the ratio or lower the floor. {notes}"
    )
