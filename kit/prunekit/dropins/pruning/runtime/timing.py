# SPDX-License-Identifier: AGPL-3.0-or-later
"""How fast is one thing beside another: measured in turns, in one process, with an interval that says how sure it is.

Two timings made one after the other differ by whatever the machine did meanwhile (clock, heat, neighbours). So every
round times each candidate once, in an order that rotates, and a speed-up is the median of the rounds' own ratios.
Each timed call follows WARM untimed ones of the same candidate: a detector in use finds its weights and kernels in the
processor's caches, and its vector units awake, where another candidate's call leaves neither (OpenVINO, 0.4 of a
yolov8n, beside four others: 9.8 ms after another's call, then 6.7, 5.6 and 5.4).
"""

from __future__ import annotations

import gc
import math
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

WARM = 2  # untimed calls before each timed one
LEAST = 6  # rounds below which no order statistics enclose a median with 95%: 1 - 2 / 2**5 is only 0.94


@dataclass(frozen=True)
class Speed:
    """Time of a candidate beside the reference: seconds per call; ratios are reference / candidate (2: half the time).

    `low` and `high` enclose the median ratio with a confidence of at least 95%, whatever the distribution.
    """

    seconds: float
    ratio: float
    low: float
    high: float
    rounds: int

    def as_dict(self) -> dict[str, Any]:
        """Plain values for a report."""
        return asdict(self)

    def __str__(self) -> str:
        return f"{self.seconds * 1e3:.3g} ms, {self.ratio:.2f} times as fast ({self.low:.2f} to {self.high:.2f})"


def interleaved(
    calls: Mapping[str, Callable[[], object]],
    *,
    warmup: int = 5,
    rounds: int = 101,
    limit: float = math.inf,
    clock: Callable[[], float] = time.perf_counter,
) -> dict[str, Speed]:
    """Time callables in turns.

    Args:
        calls: what to time, by name; the first is the reference. A call must have finished its work when it returns (on
            an accelerator: synchronise in it), and all should get the same input and the same number of threads.
        warmup: rounds before the first that counts.
        rounds: rounds that count.
        limit: seconds after which fewer rounds will do, but never fewer than `LEAST`.
        clock: gives seconds.

    Returns:
        {name: speed}, the reference among them with a ratio of 1.

    Raises:
        ValueError: no call, or fewer than `LEAST` rounds.
    """
    if not calls or rounds < LEAST:
        raise ValueError(f"timing needs something to call and {LEAST} rounds or more, not {len(calls)} and {rounds}")
    for _ in range(warmup):
        for call in calls.values():
            call()
    taken = _rounds(calls, rounds, limit, clock)
    reference = taken[next(iter(calls))]
    return {name: _speed(times, reference) for name, times in taken.items()}


def _rounds(
    calls: Mapping[str, Callable[[], object]], rounds: int, limit: float, clock: Callable[[], float]
) -> dict[str, list[float]]:
    """Seconds of each call in each round, warm; the garbage collector waits until the end."""
    names, taken = list(calls), {name: list[float]() for name in calls}
    collecting, started = gc.isenabled(), clock()
    gc.disable()
    try:
        for number in range(rounds):
            for place in range(len(names)):
                name = names[(number + place) % len(names)]
                for _ in range(WARM):
                    calls[name]()
                before = clock()
                calls[name]()
                taken[name].append(clock() - before)
            if number + 1 >= LEAST and clock() - started > limit:
                break
    finally:
        if collecting:
            gc.enable()
    return taken


def _speed(times: Sequence[float], reference: Sequence[float]) -> Speed:
    """The candidate's median time, and the median of reference / candidate over the rounds with its interval."""
    ratios = sorted(ref / own for ref, own in zip(reference, times, strict=True))
    below = _outside(len(ratios))
    return Speed(
        seconds=statistics.median(times),
        ratio=statistics.median(ratios),
        low=ratios[below],
        high=ratios[len(ratios) - 1 - below],
        rounds=len(ratios),
    )


def _outside(count: int) -> int:
    """How many of `count` sorted values may be left out at each end so that the rest encloses the median with 95%.

    The number of values below the true median is binomial(count, 1/2); the sign test's interval (Conover, Practical
    Nonparametric Statistics, 3.2) leaves out k at each end while P(at most k below) stays within 2.5%.
    """
    tail, left_out = 1, 0  # in units of 2**-count: whole numbers are exact at any count
    while (tail + math.comb(count, left_out + 1)) * 40 <= 2**count:
        left_out += 1
        tail += math.comb(count, left_out)
    return left_out


@dataclass(frozen=True)
class Plenty:
    """How much is measured: threads of one forward, rounds, and the seconds after which fewer rounds will do."""

    threads: int = 1
    rounds: int = 101
    limit: float = 60.0


def timed_calls(calls: Mapping[str, Callable[[], object]], plenty: Plenty) -> dict[str, Speed]:
    """`interleaved` with a warm-up that fits the rounds; the first call is the reference."""
    return interleaved(calls, warmup=min(10, plenty.rounds), rounds=plenty.rounds, limit=plenty.limit)
