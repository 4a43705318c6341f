# SPDX-License-Identifier: AGPL-3.0-or-later
"""Bad input to the YOLOv5 fork's scripts: one line that says what to type next, exit code 2, nothing left behind."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import badlines
import pytest
from badlines import EIGHT, EVIL
from home_five import Home

pytestmark = [pytest.mark.upstream, pytest.mark.slow]
LOOKUP = """
import sys, torch
from models.yolo import Detect
class Evil:
    def __reduce__(self): return (getattr, (Detect, "__init__"))
torch.save({"model": Evil()}, sys.argv[1])
"""
TABLE = badlines.rows("everywhere", "values", "argparse", "yolov5")
SPARSE = badlines.rows("yolov5_sparse")
START = """start(os.path.abspath("prune.py"), *(("main", "prune") if line[0] == "prune" else ("sparse", line[0])), "",
    line[1].split() if line[0] == "inspect" or "--resume" in line[1] else ["--device", "cpu", *line[1].split()],
    **({"steps": 1, "round_to": 8} if line[0] == "prune" else {}))"""


@pytest.fixture(scope="module")
def bench(fork5: Path, copy5: Callable[[Path], Home], nets5: Path, tiny5: dict[str, Path]) -> Home:
    """One fork for the whole table: nothing here may change it."""
    home = copy5(fork5)
    for name in ("eighty.pt", "fused.pt", "pruned.pt"):
        shutil.copy(nets5 / name, home.root)
    shutil.copy(nets5 / "dense.pt", home.root / "best.pt")
    for name, code in (("evil.pt", EVIL), ("eight.pt", EIGHT), ("lookup.pt", LOOKUP)):
        home.python("-c", code, name)
    badlines.damage(home.root)
    (home.root / "bare").mkdir()
    bare = home.root / "bare"
    (home.root / "bare.yaml").write_text(f"train: {bare}\nval: {bare}\nnc: 10\nnames: {list('abcdefghij')}\n")
    (home.root / "half.yaml").write_text("lr0: 0.01")
    shutil.copy(tiny5["detect"], home.root / "tiny.yaml")
    return home


LINES = [(("prune", words), said, name) for name, words, said in TABLE]
LINES += [((script, words), said, f"{script} {words}") for script, words, said in SPARSE]


@pytest.fixture(scope="module")
def answers(bench: Home) -> badlines.Answers:
    """Exit code and error output of every line of both tables: {(script, words): ...}."""
    return badlines.answers(bench.python, [row[0] for row in LINES], "from prunekit_v5.stack import start", START)


@pytest.mark.parametrize("line, said", [row[:2] for row in LINES], ids=[row[2] for row in LINES])
def test_bad_input_is_one_line(answers: badlines.Answers, line: tuple[str, str], said: str) -> None:
    badlines.check(answers[line], said)


def test_bad_input_leaves_nothing_behind(answers: badlines.Answers, bench: Home) -> None:
    assert answers
    badlines.check_untouched(bench.root)


def test_missing_packages_are_named(bench: Home, tmp_path: Path) -> None:
    """Without the pip package one line says what to type; here it is hidden, wherever it is installed."""
    (tmp_path / "ultralytics.py").write_text("raise ModuleNotFoundError(\"No module named 'ultralytics'\")")
    output = bench.python("prune.py", "--weights", "best.pt", code=2, PYTHONPATH=str(tmp_path))
    said = ("YOLOv5 needs the ultralytics package", "No module named 'ultralytics'")  # not installed; installed, hidden
    assert any(text in output for text in said) and "Type: pip install" in output and "Traceback" not in output


def test_train_does_not_drop_pruned_weights(bench: Home) -> None:
    """--cfg of the dense network beside a pruned --weights: upstream would train an untrained network, and say nothing.

    No run folder is left.
    """
    words = ("train.py", "--weights", "pruned.pt", "--cfg", "yolov5n.yaml", "--data", "tiny.yaml", "--device", "cpu")
    said = bench.python(*words, "--img", "64", "--workers", "0", code=2)
    assert "--cfg" in said and "is not the pruned network of --weights" in said and "leave --cfg out" in said
    assert "Traceback" not in said and not list((bench.root / "runs").glob("train/*"))
