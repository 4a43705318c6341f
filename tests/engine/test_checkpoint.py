# SPDX-License-Identifier: AGPL-3.0-or-later
"""Which checkpoints are loaded without a question: what a training leaves is, what runs other code is not."""

from __future__ import annotations

import importlib
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch


@pytest.fixture(scope="module")
def parts(engine: object) -> SimpleNamespace:
    """The modules, imported as the engine is on its own."""
    return SimpleNamespace(**{name: importlib.import_module(f"pruning.{name}") for name in ("checkpoint", "errors")})


@pytest.mark.parametrize("value", [np.float64(0.5), np.array([0.5, 0.25])])
def test_fitness_of_an_unfinished_training(parts: SimpleNamespace, tmp_path: Path, value: Any) -> None:
    path = tmp_path / "last.pt"
    torch.save({"best_fitness": value, "model": torch.nn.Conv2d(3, 8, 1)}, path)
    parts.checkpoint.check_checkpoint(path, ("models",))


class Fitness:
    """Pickles as a call of a function that numpy has, but no value needs."""

    def __reduce__(self) -> tuple[Any, ...]:
        return np.load, ("anything.npy",)


def test_other_functions_of_numpy_are_refused(parts: SimpleNamespace, tmp_path: Path) -> None:
    path = tmp_path / "last.pt"
    torch.save({"best_fitness": Fitness()}, path)
    with pytest.raises(parts.errors.PruneError, match=r"would run numpy.*load"):
        parts.checkpoint.check_checkpoint(path, ("models",))
