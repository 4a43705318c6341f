# SPDX-License-Identifier: AGPL-3.0-or-later
"""A YOLOv7 fork of one's own per test; home_seven.py makes what the session shares."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from forkhome import Home


@pytest.fixture
def home(fork7: Path, copy7: Callable[[Path], Home]) -> Home:
    """A private copy of the fork to work in."""
    return copy7(fork7)
