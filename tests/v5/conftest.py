# SPDX-License-Identifier: AGPL-3.0-or-later
"""A YOLOv5 fork of one's own per test; home_five.py makes what the session shares."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from forkhome import Home


@pytest.fixture
def home(fork5: Path, copy5: Callable[[Path], Home]) -> Home:
    """A private copy of the fork to work in."""
    return copy5(fork5)
