# SPDX-License-Identifier: AGPL-3.0-or-later
"""How many channels each group keeps: a ratio or a target, local or global, within floor, ceiling and rounding.

Groups that must keep equal widths form one unit. A unit's curve is its members' scores in descending order, averaged,
so `curve[k - 1]` is what the k-th channel is worth; with a threshold on scores, the largest member's.
"""

from __future__ import annotations

import bisect
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from ..errors import Unreachable
from ..network.counts import Cost, CostModel
from ..network.graph import Group, PruningGraph

TOLERANCE = 0.01  # of the target
Widths = tuple[int, ...]  # channels kept, by unit


@dataclass(frozen=True)
class Limits:
    """What a width may be.

    Attributes:
        floor: never fewer channels, unless the layer has fewer already.
        round_to: widths are multiples of it, or dense.
        max_ratio: never remove more than this fraction of a layer.
    """

    floor: int = 8
    round_to: int = 1
    max_ratio: float = 1.0


@dataclass(frozen=True)
class Unit:
    """Groups with one width: names, width, curve (channels,) descending, and the widths allowed, ascending.

    `first` is the width that ratios refer to: that of the network an iterative run began with.
    """

    names: tuple[str, ...]
    channels: int
    curve: tuple[float, ...]
    allowed: tuple[int, ...]
    first: int

    @property
    def least(self) -> int:
        """The smallest width allowed."""
        return self.allowed[0]

    @cached_property
    def rising(self) -> list[float]:
        """The curve in ascending order, for bisection."""
        return sorted(self.curve)

    def snap(self, width: int) -> int:
        """The allowed width nearest to `width`; the larger of two that are equally near."""
        right = bisect.bisect_left(self.allowed, width)
        near = self.allowed[max(0, right - 1) : right + 1]
        return min(near, key=lambda allowed: (abs(allowed - width), -allowed))

    def above(self, threshold: float) -> int:
        """How many channels are worth more than `threshold`."""
        return self.channels - bisect.bisect_right(self.rising, threshold)


def make_units(
    groups: Sequence[Group],
    scores: Mapping[str, Tensor],
    limits: Limits,
    first: Mapping[str, int],
    *,
    largest: bool = False,
) -> list[Unit]:
    """The units of scored groups; a tied group of which one member has no score stays out, like one without a score.

    Args:
        largest: of tied groups the larger score counts, channel by channel in descending order, not the mean.
    """
    members: dict[str, list[Group]] = {}
    for group in groups:
        members.setdefault(group.tie or group.name, []).append(group)
    scored = [unit for unit in members.values() if all(group.name in scores for group in unit)]
    return [_unit(unit, scores, limits, first, largest) for unit in scored]


def by_ratio(units: Sequence[Unit], scope: str, ratio: float) -> Widths:
    """Remove this fraction of the first network's channels, of each unit (local) or of all (global)."""
    if scope == "local":
        return _local(units, ratio)
    wanted = int(sum(unit.first * len(unit.names) for unit in units) * (1 - ratio))
    path = _thresholds(units)
    index = _last(len(path), lambda i: _channels(units, _above(units, path[i])) >= wanted)
    near = [_above(units, path[i]) for i in (index, index + 1) if i < len(path)]
    return min(near, key=lambda widths: abs(_channels(units, widths) - wanted))


def by_threshold(units: Sequence[Unit], threshold: float) -> Widths:
    """Keep what is worth at least `threshold`, rounded up to an allowed width: no such channel goes."""
    wanted = [unit.channels - bisect.bisect_left(unit.rising, threshold) for unit in units]
    return tuple(unit.allowed[bisect.bisect_left(unit.allowed, n)] for unit, n in zip(units, wanted, strict=True))


def by_target(
    graph: PruningGraph, units: Sequence[Unit], scope: str, target: float, measure: str, costs: CostModel | None = None
) -> Widths:
    """Hit a number of MACs or parameters, of the graph's costs or of others, within TOLERANCE.

    Walks from the last widths of the local or global path that cost more than the target to the first that cost less,
    one unit at a time in the order of what is lost, then tries single steps while they come nearer.

    Raises:
        Unreachable: out of reach, or no combination comes near enough; names the nearest that was found.
    """

    def cost(widths: Widths) -> float:
        return float(getattr(_cost(graph, units, widths, costs), measure))

    least, dense = tuple(unit.least for unit in units), tuple(unit.channels for unit in units)
    if not cost(least) * (1 - TOLERANCE) <= target < cost(dense):
        raise Unreachable(_out_of_reach(graph, units, target, measure, cost(least), cost(dense)))
    above, below = _bracket(units, scope, lambda widths: cost(widths) >= target)
    widths = _nearer(_walk(units, above, below, cost, target), cost, target, units)
    if abs(cost(widths) - target) > TOLERANCE * target:
        found = cost(widths)
        raise Unreachable(
            f"Cannot come within {TOLERANCE:.0%} of {target:,.0f} {_words(measure)}: the nearest reachable is "
            f"{found:,.0f} ({found / cost(dense):.1%} of this network). Ask for that, or for a smaller rounding."
        )
    return widths


def _unit(
    groups: Sequence[Group], scores: Mapping[str, Tensor], limits: Limits, first: Mapping[str, int], largest: bool
) -> Unit:
    channels = groups[0].channels
    curves = torch.stack([scores[group.name].double().sort(descending=True).values for group in groups])
    least = max(1, limits.floor, math.ceil(round(channels * (1 - limits.max_ratio), 6)))
    multiples = range(-(-least // limits.round_to) * limits.round_to, channels, limits.round_to)
    names = tuple(group.name for group in groups)
    curve = curves.amax(0) if largest else curves.mean(0)
    return Unit(names, channels, tuple(curve.tolist()), (*multiples, channels), first.get(names[0], channels))


def _local(units: Sequence[Unit], ratio: float) -> Widths:
    return tuple(unit.snap(int(unit.first * (1 - ratio))) for unit in units)  # torch-pruning's rounding


def _above(units: Sequence[Unit], threshold: float) -> Widths:
    return tuple(unit.snap(unit.above(threshold)) for unit in units)


def _thresholds(units: Sequence[Unit]) -> list[float]:
    return [-math.inf, *sorted({value for unit in units for value in unit.curve})]


def _channels(units: Sequence[Unit], widths: Widths) -> int:
    return sum(width * len(unit.names) for unit, width in zip(units, widths, strict=True))


def _cost(graph: PruningGraph, units: Sequence[Unit], widths: Widths, costs: CostModel | None) -> Cost:
    keep = {name: width for unit, width in zip(units, widths, strict=True) for name in unit.names}
    return (costs or graph.costs)({**{group.name: group.channels for group in graph.groups}, **keep})


def _last(length: int, holds: Callable[[int], bool]) -> int:
    """The last index for which a condition holds that holds at 0 and, once lost, stays lost."""
    return bisect.bisect_left(range(length), True, key=lambda i: not holds(i)) - 1


def _bracket(units: Sequence[Unit], scope: str, enough: Callable[[Widths], bool]) -> tuple[Widths, Widths]:
    """The last widths on the path that are enough, and the next."""
    if scope != "local":
        path = _thresholds(units)
        step = lambda i: _above(units, path[i])  # noqa: E731
    else:
        path = sorted({1 - width / unit.first for unit in units for width in range(unit.channels + 1)})
        step = lambda i: _local(units, path[i])  # noqa: E731
    index = _last(len(path), lambda i: enough(step(i)))
    return step(max(0, index)), step(min(index + 1, len(path) - 1))


def _walk(
    units: Sequence[Unit], above: Widths, below: Widths, cost: Callable[[Widths], float], target: float
) -> Widths:
    """Between two points of the path: narrow one unit after the other, least loss first, while above the target."""
    mean = [sum(unit.curve) / unit.channels or 1.0 for unit in units]
    order = sorted(range(len(units)), key=lambda i: units[i].curve[max(below[i], 1) - 1] / mean[i])
    widths = list(above)
    for index in order:
        if cost(tuple(widths)) <= target:
            break
        widths[index] = below[index]
    return tuple(widths)


def _nearer(widths: Widths, cost: Callable[[Widths], float], target: float, units: Sequence[Unit]) -> Widths:
    """Single steps of single units, the best first, as long as they come nearer to the target."""
    error = abs(cost(widths) - target)
    while error > 0.001 * target:
        best = min(_neighbours(units, widths), key=lambda near: abs(cost(near) - target), default=widths)
        if abs(cost(best) - target) >= error:
            break
        widths, error = best, abs(cost(best) - target)
    return widths


def _neighbours(units: Sequence[Unit], widths: Widths) -> list[Widths]:
    near = []
    for index, unit in enumerate(units):
        place = unit.allowed.index(widths[index])
        for other in unit.allowed[max(0, place - 1) : place + 2]:
            if other != widths[index]:
                near.append((*widths[:index], other, *widths[index + 1 :]))
    return near


def _words(measure: str) -> str:
    return "MACs" if measure == "macs" else "parameters"


def _out_of_reach(
    graph: PruningGraph, units: Sequence[Unit], target: float, measure: str, least: float, dense: float
) -> str:
    words = _words(measure)
    if target >= dense:
        return f"The target of {target:,.0f} {words} is not below the {dense:,.0f} of this network: nothing to remove."
    held = sum(unit.least * len(unit.names) for unit in units)
    return (
        f"The target of {target:,.0f} {words} cannot be reached: the nearest reachable is {least:,.0f} "
        f"({least / dense:.1%} of this network), with all {len(units)} prunable units at their least width "
        f"({held} channels). Ask for that or more, lower the floor, or keep fewer than {len(graph.frozen)} layers."
    )
