# SPDX-License-Identifier: AGPL-3.0-or-later
"""What `--schedule scaled` asks of a fine-tuning."""

from __future__ import annotations

import importlib
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest


@pytest.fixture
def schedule(engine: SimpleNamespace) -> ModuleType:
    return importlib.import_module("pruning.schedule")


@pytest.mark.parametrize(
    ("after", "covered", "rate"), [(90.0, 1, 0.2), (75.0, 2, 0.5), (50.0, 1, 1.0), (20.0, 3, 1.0)]
)
def test_rate_follows_the_macs_that_went(schedule: ModuleType, after: float, covered: int, rate: float) -> None:
    made = schedule.scaled(100.0, after, covered)
    assert made.rate == pytest.approx(rate) and made.epochs == covered and made.warmup == 0.1
    assert f"learning rate x {rate:.2f}, warm-up at most 10%, epochs x {covered}" == str(made)


def test_given_changes_nothing(schedule: ModuleType) -> None:
    assert schedule.GIVEN == schedule.Schedule(rate=1.0, warmup=None, epochs=1)


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
    schedule = importlib.import_module("ultralytics.pruning.schedule")
    assert arguments.scheduled(dict(given), schedule.GIVEN) == given
    made = arguments.scheduled(dict(given), schedule.Schedule(rate=0.5, warmup=0.1, epochs=2))
    assert {key: made[key] for key in wanted} == pytest.approx(wanted)
    assert ("lr0" in made) == ("optimizer" in given)
    assert ("auto chooses its own" in capsys.readouterr().out) == ("optimizer" not in given)
