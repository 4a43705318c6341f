# SPDX-License-Identifier: AGPL-3.0-or-later
"""`--target-latency 0.6`: how many MACs to leave so that the whole network takes this share of the dense one's time.

MACs do not tell the time: kernels work on blocks of channels (ONNX Runtime's CPU convolutions on 8 or 16), and layers
without MACs stay. So candidates are pruned in memory, exported, and timed in turns with the dense network, here. Where
the file may become INT8 afterwards (deploy.py), so does each candidate, and the faster of its two forms counts.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch

from ..errors import PruneError, Unreachable
from ..family.contract import Family
from ..network.counts import Cost
from ..network.surgery import merge_blocks
from ..planning.apply import apply_plan
from ..runtime.exported import file_of
from ..runtime.runtimes import FROM_ONNX, missing, torch_call
from ..runtime.timing import Plenty, timed_calls
from ..scratch import temporary_folder
from ..settings import Settings
from .depth import Shallow
from .preview import ceiling
from .step import Dense, dense_of, open_model, plan_step

Say = Callable[[str], None]
Finish = Callable[[Path], Path]  # what else a candidate's ONNX file may become: the file that is made of it
CLOSE = 0.02  # of the target: near enough, if the measurement is that sure
PROBES = 12
BLOCK = 16  # channels; no kernel asks for wider multiples, and they leave too few plans to choose from
PROBE, FINAL = Plenty(rounds=31, limit=6.0), Plenty(rounds=101, limit=20.0)


@dataclass(frozen=True)
class Probe:
    """A candidate that was timed.

    Attributes:
        asked, macs: MACs that were to be left, and that are, as fractions of dense.
        round_to: its widths are multiples of it.
        share, low, high: its time as a fraction of dense, with the interval.
        confirmed: measured at length.
        int8: it is the INT8 form that takes this time.
    """

    asked: float
    macs: float
    round_to: int
    share: float
    low: float
    high: float
    confirmed: bool = False
    int8: bool = False

    def meets(self, target: float) -> bool:
        """The target is hit, or lies within what the measurement can tell."""
        sure = (self.high - self.low) / 2 <= 2 * CLOSE * target
        return abs(self.share - target) <= CLOSE * target or (sure and self.low <= target <= self.high)


@dataclass
class Bench:
    """Times candidates of one network against its dense self, in one runtime."""

    family: Family
    weights: Path
    settings: Settings
    runtime: str
    threads: int
    folder: Path
    finish: Finish | None = None  # makes the INT8 form of a candidate, timed beside its float form
    shallow: Shallow | None = None
    dense: Dense = field(init=False)
    start: Path = field(init=False)  # what candidates are pruned from
    image: torch.Tensor = field(init=False)
    reference: Callable[[], object] = field(init=False)
    scores: Mapping[str, torch.Tensor] | None = None  # of the start: the same for every candidate
    timed: dict[tuple[Cost, int], Probe] = field(default_factory=dict)  # by what is left, and by the rounding

    def __post_init__(self) -> None:
        self.dense = dense_of(self.family, self.weights, self.shallow)
        self.start = self.shallow.weights if self.shallow else self.weights
        model = self.family.load(self.weights)
        self.image = torch.rand(self.family.example(model).shape, generator=torch.Generator().manual_seed(0))
        self.reference = self.call(self.weights, "dense")

    def call(self, weights: Path, name: str) -> Callable[[], object]:
        """A checkpoint as something to time."""
        if self.runtime == "torch":
            return torch_call(self.family.load(weights), self.image)
        self.family.export(weights, self.folder / f"{name}.onnx")
        return self.file_call(self.folder / f"{name}.onnx")

    def file_call(self, path: Path) -> Callable[[], object]:
        """An exported file as something to time."""
        return FROM_ONNX[self.runtime](file_of(path), self.image, threads=self.threads)

    def least(self, round_to: int) -> float:
        """The smallest fraction of the MACs that the settings' limits allow in multiples of `round_to`."""
        _, graph = open_model(self.family, self.start, self.settings)
        scores = {group.name: torch.rand(group.channels) for group in graph.groups}
        return ceiling(graph, scores, replace(self.settings, round_to=round_to)).macs / self.dense.cost.macs

    def probe(self, fraction: float, round_to: int, at_length: bool) -> Probe:
        """Prune to a fraction of the MACs, export, time; a plan that was timed before keeps its figure."""
        asked = replace(self.settings, target_macs=fraction, prune_ratio=None, round_to=round_to, steps=1)
        model, graph = open_model(self.family, self.start, asked)
        plan, self.scores = plan_step(self.family, model, graph, asked, self.dense, 1, self.scores)
        key = (plan.pruned, round_to)
        known = self.timed.get(key)
        if known and (known.confirmed or not at_length):
            return replace(known, asked=fraction)
        apply_plan(graph, plan, self.scores)
        merge_blocks(model, self.family.rules)
        pruned = self.folder / "candidate.pt"
        self.family.save(model, self.start, pruned)
        forms = {"float": self.call(pruned, "candidate")}
        if self.finish:
            forms["int8"] = self.file_call(self.finish(self.folder / "candidate.onnx"))
        speeds = timed_calls({"dense": self.reference, **forms}, FINAL if at_length else PROBE)
        best = max(forms, key=lambda form: speeds[form].ratio)
        speed, macs = speeds[best], plan.pruned.macs / self.dense.cost.macs
        shares = 1 / speed.ratio, 1 / speed.high, 1 / speed.low
        self.timed[key] = Probe(fraction, macs, round_to, *shares, at_length, int8=best == "int8")
        return self.timed[key]


def resolved(
    family: Family,
    weights: Path,
    settings: Settings,
    runtime: str = "onnxruntime",
    say: Say = print,
    *,
    threads: int | None = None,
    finish: Finish | None = None,
    shallow: Shallow | None = None,
) -> tuple[Settings, dict[str, Any]]:
    """The settings with `target_latency` turned into `target_macs` and `round_to`; and what was measured.

    Args:
        settings: `target_latency` is set; its rounding and, up to 16, the double of it are both tried.
        runtime: one of `runtimes.RUNTIMES`; torch on the CPU.
        threads: of one forward; None: as many as torch uses.
        finish: makes another file of a candidate's ONNX file, which counts where it is the faster one.
        shallow: the network without the bottlenecks that go first; candidates are pruned from it.

    Raises:
        PruneError: the runtime is not installed.
        Unreachable: no plan under these limits is fast enough (says what was found).
    """
    if reason := missing(runtime):
        raise PruneError(f"--target-latency needs {runtime}: {reason}.")
    with temporary_folder() as folder:
        threads = threads or torch.get_num_threads()
        bench = Bench(family, weights, settings, runtime, threads, Path(folder), finish, shallow)
        found = search(bench.probe, settings, bench.least, say)
    form = ", INT8" if found.int8 else ""
    say(
        f"Measured in {runtime}{form}, {bench.image.shape[-1]} px, {bench.threads} threads: {found.share:.3f} of the "
        f"dense time ({found.low:.3f} to {found.high:.3f}) at {found.macs:.1%} of the MACs, multiples of "
        f"{found.round_to}; the target was {settings.target_latency}"
    )
    measured = {
        "runtime": runtime,
        "target": settings.target_latency,
        "share": found.share,
        "low": found.low,
        "high": found.high,
        "macs": found.macs,
        "round_to": found.round_to,
        "image": bench.image.shape[-1],
        "threads": bench.threads,
        **({"int8": True} if found.int8 else {}),
    }
    return replace(settings, target_macs=found.asked, prune_ratio=None, round_to=found.round_to), measured


def search(
    probe: Callable[[float, int, bool], Probe], settings: Settings, least_of: Callable[[int], float], say: Say
) -> Probe:
    """Find the MACs whose measured time meets the target.

    Where there are two roundings, the first two candidates differ in it only, and the faster stays. Then the target is
    looked for between the nearest candidate above it and the nearest below, on the straight line through both (regula
    falsi), or, where that leads nowhere new, in the middle of the widest gap. What seems to meet it is measured again,
    at length, and counts with that figure.

    Args:
        probe: times a candidate: (fraction of MACs, rounding, at length).
        least_of: the smallest fraction of the MACs that can be planned in multiples of a number.

    Raises:
        Unreachable: the narrowest network is still too slow, or no candidate came near.
    """
    target = settings.target_latency
    assert target is not None
    roundings = dict.fromkeys((settings.round_to, max(settings.round_to, min(2 * settings.round_to, BLOCK))))
    first = [_measured(probe, max(target, least_of(n) * 1.02), n, False, say) for n in roundings]
    made_first = [one for one in first if one is not None]
    if not made_first:
        least = min(map(least_of, roundings))
        raise Unreachable(
            f"--target-latency {target}: no plan could be made near it; the smallest network under these limits has "
            f"{least:.1%} of the MACs. Give a larger share, or a smaller --round-to or --min-channels."
        )
    tried = [min(made_first, key=lambda one: one.share)]
    round_to, least = tried[0].round_to, least_of(tried[0].round_to)
    for _ in range(PROBES):
        best = _nearest(tried, target)
        if best.meets(target) and best.confirmed:
            return best
        again = best.meets(target)
        fraction = best.asked if again else _next(tried, target, least)
        made = None if fraction is None else _measured(probe, fraction, round_to, again, say)
        if made is None:
            break
        tried = [one for one in tried if not (again and one is best)] + [made]
    return _accepted(tried, target)


def _measured(
    probe: Callable[[float, int, bool], Probe], fraction: float, round_to: int, at_length: bool, say: Say
) -> Probe | None:
    """A candidate's time, announced; None where these limits allow no such plan."""
    try:
        made = probe(fraction, round_to, at_length)
    except Unreachable as error:
        say(f"  {fraction:.1%} of the MACs in multiples of {round_to}: {error}")
        return None
    say(
        f"  {made.macs:.1%} of the MACs in multiples of {round_to}: {made.share:.3f} of the dense time "
        f"({made.low:.3f} to {made.high:.3f}){', at length' if at_length else ''}"
    )
    return made


def _nearest(tried: list[Probe], target: float) -> Probe:
    return min(tried, key=lambda one: abs(one.share - target))


def _next(tried: list[Probe], target: float, least: float) -> float | None:
    """The fraction of the MACs to try next, none that was asked before; None if nothing is left between the neighbours.

    Several fractions can come to one plan, and fewer MACs can take longer: where the straight line leads nowhere new,
    or a neighbour came again, the middle of the widest gap is next.
    """
    dense = Probe(1.0, 1.0, 1, 1.0, 1.0, 1.0)
    asked = {one.asked for one in tried}
    above = min((one for one in [*tried, dense] if one.share > target), key=lambda one: (one.share, one.asked))
    under = [one for one in tried if one.share <= target]
    if under:
        below = max(under, key=lambda one: (one.share, one.asked))
        if min(abs(above.asked - below.asked), abs(above.macs - below.macs)) < 0.004:
            return None
        macs = [one.macs for one in tried]
        step = (above.share - target) / max(above.share - below.share, 1e-9)
        straight = above.macs + step * (below.macs - above.macs)
        low, high = sorted((above.asked, below.asked))
        points = sorted({low, high, *(one for one in asked if low < one < high)})
        middle = max((b - a, (a + b) / 2) for a, b in pairwise(points))[1]
        ways = [middle] if max(macs.count(above.macs), macs.count(below.macs)) > 1 else [straight, middle]
    elif above.macs <= least * 1.03:
        return None  # the narrowest is too slow
    else:
        ways = [max(least * 1.02, above.macs * target / above.share), (least * 1.02 + min(asked)) / 2]
    return next((way for way in ways if way not in asked), None)


def _accepted(tried: list[Probe], target: float) -> Probe:
    best = _nearest(tried, target)
    if best.meets(target) or abs(best.share - target) <= 2 * CLOSE * target:
        return best
    raise Unreachable(
        f"--target-latency {target} cannot be met: the nearest plan takes {best.share:.3f} of the "
        f"dense time ({best.low:.3f} to {best.high:.3f}) at {best.macs:.1%} of the MACs. {_advice(best, target)}"
    )


def _advice(best: Probe, target: float) -> str:
    if best.share > target:
        return f"Ask for {best.share:.2f}, or let more go: a smaller --min-channels, --head outputs, fewer --ignore."
    return f"Ask for {best.share:.2f}, or give a smaller --round-to."
