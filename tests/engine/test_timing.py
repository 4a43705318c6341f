# SPDX-License-Identifier: AGPL-3.0-or-later
"""Interleaved timing, on a clock that the test turns: what a drifting machine may and may not do to a ratio."""

from __future__ import annotations

import gc
import importlib
from collections.abc import Callable, Iterator
from types import ModuleType

import pytest


@pytest.fixture(scope="module")
def timing(engine: object) -> Iterator[ModuleType]:
    """The module, imported as the engine is on its own."""
    yield importlib.import_module("pruning.runtime.timing")


class Machine:
    """A clock, and work that takes its time on it; `slowness` multiplies whatever runs from now on."""

    def __init__(self) -> None:
        self.now, self.slowness, self.log = 0.0, 1.0, list[str]()

    def work(self, name: str, seconds: float) -> Callable[[], None]:
        """A call of that length that leaves its name in the log."""

        def call() -> None:
            self.now += seconds * self.slowness
            self.log.append(name)

        return call


def test_a_machine_that_slows_down_does_not_move_the_ratio(timing: ModuleType) -> None:
    machine = Machine()
    dense = machine.work("dense", 0.004)

    def tired() -> None:
        dense()
        machine.slowness *= 1.05 ** (1 / 3)  # three calls a round: over 101 rounds a factor of 138

    speeds = timing.interleaved({"dense": tired, "pruned": machine.work("pruned", 0.002)}, clock=lambda: machine.now)
    assert 1.9 <= speeds["pruned"].low <= speeds["pruned"].ratio <= speeds["pruned"].high <= 2.1
    assert (speeds["dense"].ratio, speeds["dense"].low, speeds["dense"].high) == (1, 1, 1)


def test_calls_take_turns_and_none_is_always_first(timing: ModuleType) -> None:
    machine = Machine()
    calls = {name: machine.work(name, 1) for name in "abc"}
    speeds = timing.interleaved(calls, warmup=1, rounds=6, clock=lambda: machine.now)
    assert "".join(machine.log) == "abc" + 2 * "aaabbbcccbbbcccaaacccaaabbb", "each timed call follows two of its own"
    assert speeds["c"].rounds == 6 and speeds["c"].seconds == 1


def test_medians_ignore_a_hiccup(timing: ModuleType) -> None:
    machine = Machine()
    fast = machine.work("fast", 0.001)

    def hiccup() -> None:
        machine.now += 5 if len(machine.log) == 15 else 0  # the first that is timed
        fast()

    speeds = timing.interleaved({"slow": machine.work("slow", 0.003), "fast": hiccup}, clock=lambda: machine.now)
    assert speeds["fast"].seconds == pytest.approx(0.001) and speeds["fast"].ratio == pytest.approx(3)
    assert speeds["fast"].low == pytest.approx(3) == speeds["fast"].high


# Sign-test limits for a median at 95%, as printed in tables of order statistics.
LEFT_OUT = {6: 0, 8: 0, 9: 1, 10: 1, 20: 5, 50: 17, 100: 39, 5000: 2430}


@pytest.mark.parametrize(("count", "left_out"), LEFT_OUT.items())
def test_interval_is_the_sign_tests(timing: ModuleType, count: int, left_out: int) -> None:
    assert timing._outside(count) == left_out


def test_limit_ends_it_early_but_never_below_the_least(timing: ModuleType) -> None:
    machine = Machine()
    calls = {"a": machine.work("a", 1), "b": machine.work("b", 1)}
    assert timing.interleaved(calls, limit=0, clock=lambda: machine.now)["b"].rounds == timing.LEAST
    assert timing.interleaved(calls, limit=40, clock=lambda: machine.now)["b"].rounds == 7


def test_garbage_is_collected_again_after_a_failure(timing: ModuleType) -> None:
    def fail() -> None:
        assert not gc.isenabled()
        raise KeyError

    with pytest.raises(KeyError):
        timing.interleaved({"a": fail}, warmup=0)
    assert gc.isenabled()


@pytest.mark.parametrize(("names", "rounds"), [("", 10), ("ab", 5)])
def test_too_little_to_measure_is_an_error(timing: ModuleType, names: str, rounds: int) -> None:
    with pytest.raises(ValueError, match="6 rounds or more"):
        timing.interleaved(dict.fromkeys(names, int), rounds=rounds)
