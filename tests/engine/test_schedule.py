# SPDX-License-Identifier: AGPL-3.0-or-later
"""What `--schedule scaled` asks of a fine-tuning."""

from __future__ import annotations

import importlib
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest


@pytest.fixture
def schedule(engine: SimpleNamespace) -> ModuleType:
    return importlib.import_module("pruning.training.schedule")


@pytest.mark.parametrize(("after", "rate"), [(90.0, 0.2), (75.0, 0.5), (50.0, 1.0), (20.0, 1.0)])
def test_rate_follows_the_macs_that_went(schedule: ModuleType, after: float, rate: float) -> None:
    made = schedule.scaled(100.0, after, 1, 0, 1)
    assert made.rate == pytest.approx(rate) and made.epochs(7) == 7 and made.warmup == 0.1
    assert str(made) == f"learning rate x {rate:.2f}, warm-up at most 10%, its epochs"
    last = schedule.scaled(100.0, after, 4, 2, 4)
    assert str(last).endswith("10%, its epochs and those of 1 steps joined with it, half of those of 2 earlier steps")


@pytest.mark.parametrize("given", [1, 2, 5, 10])
@pytest.mark.parametrize("trained", [[1, 2, 3, 4], [1, 4], [3, 4], [4], [2, 3, 4]])
def test_epochs_over_all_steps_are_as_given(schedule: ModuleType, given: int, trained: list[int]) -> None:
    """Whichever steps were joined with the next: the sum stays, and the last gets what the others leave."""
    befores = [0, *trained[:-1]]
    made = [schedule.scaled(2.0, 1.0, number, last, 4) for number, last in zip(trained, befores, strict=True)]
    epochs = [one.epochs(given) for one in made]
    assert sum(epochs) == 4 * given
    half = max(1, given // 2)
    assert epochs[:-1] == [half * (n - last) for n, last in zip(trained[:-1], befores[:-1], strict=True)]
    even = [schedule.scaled(2.0, 1.0, n, last, 4, even=True) for n, last in zip(trained, befores, strict=True)]
    assert [one.epochs(given) for one in even] == [given * (n - last) for n, last in zip(trained, befores, strict=True)]


def test_given_changes_nothing(schedule: ModuleType) -> None:
    assert schedule.GIVEN == schedule.Schedule(rate=1.0, warmup=None) and schedule.GIVEN.epochs(9) == 9


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        ({"optimizer": "SGD", "lr0": 0.02, "epochs": 10}, {"lr0": 0.01, "epochs": 20, "warmup_epochs": 2.0}),
        ({"optimizer": "SGD", "epochs": 4, "warmup_epochs": 0.5}, {"lr0": 0.005, "epochs": 8, "warmup_epochs": 0.5}),
        ({"epochs": 10}, {"epochs": 20, "warmup_epochs": 2.0}),
    ],
)
def test_ultralytics_arguments(
    kit: SimpleNamespace, given: dict[str, Any], wanted: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    """Upstream's defaults count where nothing is given; `auto` is told apart, for it takes no learning rate."""
    arguments = importlib.import_module("ultralytics.prunekit.arguments")
    schedule = importlib.import_module("ultralytics.pruning.training.schedule")
    assert arguments.scheduled(dict(given), schedule.GIVEN) == given
    made = arguments.scheduled(dict(given), schedule.Schedule(rate=0.5, warmup=0.1, covered=2))
    assert {key: made[key] for key in wanted} == pytest.approx(wanted)
    assert ("lr0" in made) == ("optimizer" in given)
    assert ("auto chooses its own" in capsys.readouterr().out) == ("optimizer" not in given)
