# SPDX-License-Identifier: AGPL-3.0-or-later
"""The table of bad inputs, in a fork of each family: every line ends in one line and exit code 2 (tests/bad)."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from kinds import Family, each

sys.path.append(str(Path(__file__).parents[1] / "bad"))
import badtable

pytestmark = [pytest.mark.upstream]
LEAST = {"v8": 560, "v5": 600, "v7": 600}


@each()
def test_no_bad_input_ends_in_a_traceback(request: pytest.FixtureRequest, family: Family) -> None:
    home = family.home(request)
    found = badtable.answers(home.root, family.name, family.data(request), home.python)
    badtable.judge(found, family.name, LEAST[family.name])
