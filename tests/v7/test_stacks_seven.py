# SPDX-License-Identifier: AGPL-3.0-or-later
"""Upstream's five scripts on the torch and numpy that are installed, on a dense and on a pruned network, small ones.

Another environment is tried by PRUNEKIT_PYTHON=/other/venv/bin/python, or by benchmarks/stacks_v7.py by hand.
"""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from home_seven import YAMLS, Home

pytestmark = [pytest.mark.upstream, pytest.mark.slow]
BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


def test_every_script_runs_on_this_stack(
    fork7: Path, copy7: Callable[[Path], Home], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """train, test, detect, export, train_aux, with charts; a pruned file's tensors are all transferred."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    home, other = copy7(fork7), os.environ.get("PRUNEKIT_PYTHON")
    for cfg, name in (("yolov7-tiny", "small"), ("yolov7-w6", "small-w")):
        (home.root / f"cfg/training/{cfg}.yaml").write_text(YAMLS[name])
    walk = importlib.import_module("stacks_v7").Walk(home.root, tmp_path, other or sys.executable, "cpu")
    walk.env = {**home.env, **({"PYTHONPATH": ""} if other else {})}
    if not other:
        monkeypatch.setattr(walk, "_python", lambda log, *words: (0, home.python(*words)))  # warm; shows what fails
    rows = {(row.script, row.network): row.seen for row in walk.rows()}
    assert None not in rows.values(), (walk.stack(), rows)
    assert rows["train.py", "yolov7-tiny-half-trained"].startswith("Transferred 111/111;")
    assert rows["train_aux.py", "yolov7-w6-half-trained"].startswith("Transferred 110/110;")
    for script in ("test.py", "detect.py", "export.py"):
        assert {network for name, network in rows if name == script} == {"yolov7-tiny-dense", "yolov7-tiny-half"}
    assert rows["export.py", "yolov7-tiny-half"].startswith("[[1, 240, 15]")
