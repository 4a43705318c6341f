# SPDX-License-Identifier: AGPL-3.0-or-later
"""The engine in two forms: on its own, as it is, and inside a fork of ultralytics with that family's blocks."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest

DROPINS = Path(__file__).parents[2] / "kit" / "prunekit" / "dropins"
PARTS = (
    "apply", "bn", "choose", "counts", "errors", "graph", "plan", "plan_file", "scores", "slimming", "surgery",
    "tracer",
)


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> None:
    """Small networks run faster on one thread, and workers share the cores."""
    import torch

    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def engine() -> Iterator[SimpleNamespace]:
    """The engine's modules as the top-level package `pruning`, without any upstream."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(DROPINS))
        yield SimpleNamespace(**{part: importlib.import_module(f"pruning.{part}") for part in PARTS})
        for name in [name for name in sys.modules if name.partition(".")[0] == "pruning"]:
            del sys.modules[name]


@pytest.fixture(scope="session")
def kit(upstream: ModuleType) -> SimpleNamespace:
    """The engine's modules in the fork, with `blocks`, `tasks` (model classes) and `block` (upstream's modules)."""
    parts = {part: importlib.import_module(f"ultralytics.pruning.{part}") for part in PARTS}
    return SimpleNamespace(
        **parts,
        blocks=importlib.import_module("ultralytics.prunekit.blocks"),
        tasks=importlib.import_module("ultralytics.nn.tasks"),
        block=importlib.import_module("ultralytics.nn.modules.block"),
    )
