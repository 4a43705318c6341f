# SPDX-License-Identifier: AGPL-3.0-or-later
"""The engine in two forms: on its own, as it is, and inside a fork of ultralytics with that family's blocks."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest
from engine_helpers import modules

DROPINS = Path(__file__).parents[2] / "kit" / "prunekit" / "dropins"
PARTS = (
    "errors",
    "network.counts",
    "network.graph",
    "network.surgery",
    "network.trace",
    "planning.apply",
    "planning.plan",
    "planning.plan_file",
    "planning.scores",
    "planning.select",
    "planning.slimming",
    "training.bn_sparsity",
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
        yield modules(*PARTS)
        for name in [name for name in sys.modules if name.partition(".")[0] == "pruning"]:
            del sys.modules[name]


@pytest.fixture(scope="session")
def kit(upstream: ModuleType) -> SimpleNamespace:
    """The engine's modules in the fork, with `blocks`, `tasks` (model classes) and `block` (upstream's modules)."""
    parts = vars(modules(*PARTS, package="ultralytics.pruning"))
    return SimpleNamespace(
        **parts,
        blocks=importlib.import_module("ultralytics.prunekit.blocks"),
        tasks=importlib.import_module("ultralytics.nn.tasks"),
        block=importlib.import_module("ultralytics.nn.modules.block"),
    )
