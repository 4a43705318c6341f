# SPDX-License-Identifier: AGPL-3.0-or-later
"""The table of bad inputs, in a YOLOv5 fork: every line ends in one line and exit code 2 (tests/bad)."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from home_five import Home

sys.path.append(str(Path(__file__).parents[1] / "bad"))
import badtable

pytestmark = [pytest.mark.upstream, pytest.mark.slow]


def test_no_bad_input_ends_in_a_traceback_in_yolov5(home: Home, tiny5: dict[str, Path]) -> None:
    badtable.judge(badtable.answers(home.root, "v5", tiny5["detect"], home.python), "v5", 600)
