# SPDX-License-Identifier: AGPL-3.0-or-later
"""The walk of the smoke: every upstream has one, a program that goes wrong ends it, the kill is a kill."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from prunekit.kit import find_kit
from prunekit.maintain.scenario import Way, walk_through, way_of
from prunekit.upstream.pins import read_pins

STEPS = ["data", "train under the penalty", "prune", "fine-tune, kill -9", "resume", "counts, validate"]
TUNE = "import pathlib, sys, time; p = pathlib.Path(sys.argv[1]); p.parent.mkdir(); p.write_text('1'); time.sleep({})"


def test_every_upstream_is_walked_through() -> None:
    """Each pin has a walk, and each walk its program that looks at the outcome."""
    upstreams = set(read_pins(find_kit().pins).upstreams)
    ways = [way for name in upstreams if (way := way_of(name))]
    infork = find_kit().dropins.parent / "maintain" / "infork"
    assert {path.stem for path in infork.glob("walk_*.yaml")} == {f"walk_{name}" for name in upstreams}
    assert {way.look for way in ways} == {path.name for path in infork.glob("check_*.py")}
    assert way_of("another") is None


@pytest.mark.parametrize(
    ("changed", "passed", "said"),
    [
        ({}, 5, "look.log"),  # the last step looks for networks, and there are none
        ({"train": "-c 'raise SystemExit(3)'"}, 1, "train.log: exit 3"),
        ({"tune": f'-c "{TUNE.format(0)}" {{runs}}/last.pt'}, 3, "tune.log: not killed"),
        ({"resume": "-c \"print('not', 'resumed'); 1 / 0\""}, 4, "ZeroDivisionError"),
    ],
)
def test_the_first_failure_ends_it(tmp_path: Path, changed: dict[str, str], passed: int, said: str) -> None:
    """What passed before it is told, and the end of the log of what did not; nothing after it is run."""
    tune = f'-c "{TUNE.format(60)}" {{runs}}/last.pt'
    words = {"train": "-c pass", "prune": "-c pass", "tune": tune, "resume": "-c pass"}
    way = Way(**{**words, **changed}, always="", last="last.pt", look="check_ultralytics.py")
    told: list[str] = []
    found = walk_through(tmp_path / "fork", way, sys.executable, tmp_path / "walk", told.append)
    assert [item.passed for item in found] == [True] * passed + [False]
    assert told == STEPS[: passed + 1] and said in found[-1].said
