# SPDX-License-Identifier: AGPL-3.0-or-later
"""Which checkpoints are loaded without a question: what a training leaves is, what runs other code is not."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from engine_helpers import modules


@pytest.fixture(scope="module")
def parts(engine: object) -> SimpleNamespace:
    """The modules, imported as the engine is on its own."""
    return modules("checkpoint.reading", "errors")


@pytest.mark.parametrize("value", [np.float64(0.5), np.array([0.5, 0.25])])
def test_fitness_of_an_unfinished_training(parts: SimpleNamespace, tmp_path: Path, value: Any) -> None:
    path = tmp_path / "last.pt"
    torch.save({"best_fitness": value, "model": torch.nn.Conv2d(3, 8, 1)}, path)
    parts.reading.check_checkpoint(path, ("models",))


class Fitness:
    """Pickles as a call of a function that numpy has, but no value needs."""

    def __reduce__(self) -> tuple[Any, ...]:
        return np.load, ("anything.npy",)


def test_other_functions_of_numpy_are_refused(parts: SimpleNamespace, tmp_path: Path) -> None:
    path = tmp_path / "last.pt"
    torch.save({"best_fitness": Fitness()}, path)
    with pytest.raises(parts.errors.PruneError, match=r"would run numpy.*load"):
        parts.reading.check_checkpoint(path, ("models",))


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("models.common.ImplicitA", "a YOLOv7"),
        ("models.common.C3", "a YOLOv5"),
        ("ultralytics.nn.tasks.DetectionModel", "an ultralytics (YOLOv8 or later)"),
    ],
)
def test_a_file_of_another_family_is_named_as_what_it_is(engine: SimpleNamespace, name: str, kind: str) -> None:
    parts = modules("checkpoint.reading", "checkpoint.allowed")
    checkpoint, allowed = parts.reading, parts.allowed
    said = str(checkpoint._refusal("x.pt", [name], allowed.Rules(packages=("models", "utils"))))
    assert said.startswith(f"x.pt: this is {kind} checkpoint. Prune it in a fork of that upstream")


def test_a_file_that_is_open_is_the_one_that_is_looked_at(parts: SimpleNamespace, tmp_path: Path) -> None:
    """Another file that takes its name meanwhile is neither checked in its place nor loaded."""
    path, other = tmp_path / "last.pt", tmp_path / "other.pt"
    torch.save({"epoch": 7}, path)
    torch.save({"best_fitness": Fitness()}, other)
    with parts.reading.door():
        with open(path, "rb") as file:
            other.rename(path)
            assert torch.load(file, weights_only=False) == {"epoch": 7}
        with open(path, "rb") as file, pytest.raises(parts.errors.PruneError, match="would run numpy"):
            torch.load(file, weights_only=False)
