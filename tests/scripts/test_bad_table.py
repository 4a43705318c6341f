# SPDX-License-Identifier: AGPL-3.0-or-later
"""The table of bad inputs, in an ultralytics fork: every line ends in one line and exit code 2 (tests/bad)."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from workshop import Workshop

sys.path.append(str(Path(__file__).parents[1] / "bad"))
import badtable

pytestmark = [pytest.mark.upstream, pytest.mark.slow]


def test_no_bad_input_ends_in_a_traceback_in_ultralytics(workshop: Workshop, tiny_set: Path) -> None:
    badtable.judge(badtable.answers(workshop.root, "v8", tiny_set, workshop.python), "v8", 560)
