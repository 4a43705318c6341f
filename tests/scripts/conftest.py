# SPDX-License-Identifier: AGPL-3.0-or-later
"""An ultralytics fork of one's own per test, or per file."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from workshop import Workshop


@pytest.fixture
def workshop(fork: Path, copy8: Callable[[Path], Workshop]) -> Workshop:
    """A private copy of the fork with nothing else importable as ultralytics."""
    return copy8(fork)


@pytest.fixture(scope="module")
def ready(fork: Path, copy8: Callable[[Path], Workshop], tiny_set: Path) -> Workshop:
    """One fork for a file's tests, with a small `best.pt` and VOC.yaml, as published lines name them.

    Each test names its runs apart from the others'.
    """
    workshop = copy8(fork)
    shutil.copy(tiny_set, workshop.root / "VOC.yaml")
    workshop.small()
    return workshop
