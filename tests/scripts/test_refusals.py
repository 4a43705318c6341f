# SPDX-License-Identifier: AGPL-3.0-or-later
"""Bad input to the scripts: one line that says what to type next, exit code 2, no traceback, nothing left behind."""

from __future__ import annotations

from pathlib import Path

import badlines
import pytest
from badlines import EVIL
from workshop import Workshop

pytestmark = [pytest.mark.upstream]

FUSED = "import sys; from ultralytics import YOLO; y = YOLO('best.pt'); y.fuse(); y.save(sys.argv[1])"
YOLOV5 = """
import sys, types, torch
module = types.ModuleType("models.yolo")
sys.modules.update({"models": types.ModuleType("models"), "models.yolo": module})
class DetectionModel(torch.nn.Module): pass
DetectionModel.__module__ = "models.yolo"; module.DetectionModel = DetectionModel
torch.save({"model": DetectionModel()}, sys.argv[1])
"""


@pytest.fixture(scope="module")
def bench(
    tmp_path_factory: pytest.TempPathFactory, fork: Path, offline_env: dict[str, str], tiny_set: Path
) -> Workshop:
    """One fork for the whole table: nothing here may change it."""
    import os
    import shutil

    root = tmp_path_factory.mktemp("bench") / "fork"
    shutil.copytree(fork, root)
    workshop = Workshop(root, {**os.environ, **offline_env, "OMP_NUM_THREADS": "1"})
    workshop.network("yolov8n.yaml", "best.pt")
    workshop.network("yolov8n.yaml", "eighty.pt", classes=80)
    for name, code in (("evil.pt", EVIL), ("fused.pt", FUSED), ("five.pt", YOLOV5)):
        workshop.python("-c", code, name)
    badlines.damage(root)
    (root / "default.yaml").write_text("epocs: 3")  # as upstream calls its own, which the fork keeps elsewhere
    shutil.copy(tiny_set, root / "tiny.yaml")
    return workshop


TABLE = badlines.rows("everywhere", "values", "ultralytics")


IMPORTS = "from ultralytics.prunekit.main import guarded, prune; from ultralytics.pruning.settings import Settings"
START = """guarded(lambda: prune("", Settings(round_to=8),
    line.split() if "--resume" in line else ["--device", "cpu", "--epochs", "1", *line.split()]))"""


@pytest.fixture(scope="module")
def answers(bench: Workshop) -> badlines.Answers:
    """Exit code and error output of every line of the table."""
    return badlines.answers(bench.python, [row[1] for row in TABLE], IMPORTS, START)


@pytest.mark.parametrize("words, said", [row[1:] for row in TABLE], ids=[row[0] for row in TABLE])
def test_bad_input_is_one_line(answers: badlines.Answers, words: str, said: str) -> None:
    badlines.check(answers[words], said)


def test_bad_input_leaves_nothing_behind(answers: badlines.Answers, bench: Workshop) -> None:
    assert answers
    badlines.check_untouched(bench.root)


def test_exit_code_of_the_script(bench: Workshop) -> None:
    output = bench.python("prune_one_shot.py", "--weights", "nowhere.pt", code=2)
    assert output.splitlines()[-1].startswith("error: ") and "Traceback" not in output


def test_trust_says_what_it_runs(bench: Workshop) -> None:
    output = bench.python("prune_one_shot.py", "--weights", "evil.pt", "--trust", "--data", "tiny.yaml", code=2)
    assert "runs posix.system" in output or "runs os.system" in output


def test_equal_gammas_cannot_be_ranked(bench: Workshop) -> None:
    make = "from ultralytics import YOLO; y = YOLO('yolov8n.yaml'); y.save('flat.pt')"
    bench.python("-c", make)
    words = ("prune_one_shot.py", "--weights", "flat.pt", "--importance", "bn_scale", "--plan-only", "--imgsz", "64")
    output = bench.python(*words, code=2)
    assert "error: " in output and "bn_scale" in output


def test_help_has_two_groups(bench: Workshop) -> None:
    output = bench.python("prune.py", "--help")
    assert "pruning options:" in output and "upstream train arguments" in output
    assert "--prune-ratio" in output and "--close_mosaic 10" in output
