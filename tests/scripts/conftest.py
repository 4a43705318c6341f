# SPDX-License-Identifier: AGPL-3.0-or-later
"""An ultralytics fork of one's own per test."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from workshop import Workshop


@pytest.fixture
def workshop(fork: Path, copy8: Callable[[Path], Workshop]) -> Workshop:
    """A private copy of the fork with nothing else importable as ultralytics."""
    return copy8(fork)
