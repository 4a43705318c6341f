# SPDX-License-Identifier: AGPL-3.0-or-later
"""Upstream's five scripts on the torch and numpy that are installed, on a dense and on a pruned network.

Another environment is tried by PRUNEKIT_PYTHON=/other/venv/bin/python, or by benchmarks/stacks_v7.py by hand.
"""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from home_seven import Home

pytestmark = [pytest.mark.upstream, pytest.mark.slow]
BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


def test_every_script_runs_on_this_stack(
    fork7: Path, copy7: Callable[[Path], Home], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """train, test, detect and export of yolov7-tiny, train_aux of w6; a pruned file's tensors are all transferred."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    home, other = copy7(fork7), os.environ.get("PRUNEKIT_PYTHON")
    walk = importlib.import_module("stacks_v7").Walk(home.root, tmp_path, other or sys.executable, "cpu")
    walk.env = {**home.env, **({"PYTHONPATH": ""} if other else {})}
    rows = {(row.script, row.network): row.seen for row in walk.rows()}
    assert None not in rows.values(), (walk.stack(), rows)
    assert rows["train.py", "yolov7-tiny-half-trained"].startswith("Transferred 344/344;")
    assert rows["train_aux.py", "yolov7-w6-half-trained"].startswith("Transferred 668/668;")
    for script in ("test.py", "detect.py", "export.py"):
        assert {network for name, network in rows if name == script} == {"yolov7-tiny-dense", "yolov7-tiny-half"}
    assert rows["export.py", "yolov7-tiny-half"].startswith("[[1, 252, 15]")
