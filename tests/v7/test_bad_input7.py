# SPDX-License-Identifier: AGPL-3.0-or-later
"""Bad input to the YOLOv7 fork's scripts: one line that says what to type next, exit code 2, nothing left behind."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import badlines
import pytest
from badlines import EIGHT, EVIL
from home7 import HERE, Home

pytestmark = [pytest.mark.upstream, pytest.mark.slow]
TABLE = badlines.rows("everywhere", "argparse", "yolov7")
START = """start(os.path.abspath("prune.py"), "main", "prune", "",
    line.split() if "--resume" in line or "--device" in line else [*line.split(), "--device", "cpu"],
    steps=1, round_to=8)"""


@pytest.fixture(scope="module")
def bench(fork7: Path, copy_of: Callable[[Path], Home], tiny7: Path) -> Home:
    """One fork for the whole table: nothing here may change it."""
    home = copy_of(fork7)
    for words in ("best.pt 10", "twenty.pt 20", "fused.pt 10 fused", "orepa.pt 10 orepa"):
        home.python(HERE / "make7.py", "training/yolov7-tiny", *words.split())
    for name, code in (("evil.pt", EVIL), ("eight.pt", EIGHT)):
        home.python("-c", code, name)
    badlines.damage(home.root)
    home.python("-c", "import torch; torch.save({'model': None}, 'bare.pt')")
    shutil.copy(tiny7, home.root / "tiny.yaml")
    text = tiny7.read_text()
    (home.root / "gone.yaml").write_text(text.replace("images/val", "images/elsewhere"))
    (home.root / "lacking.yaml").write_text(text.replace("nc: 10\n", ""))
    (home.root / "bare").mkdir()
    (home.root / "bare.yaml").write_text(f"train: bare\nval: bare\nnc: 10\nnames: {list(range(10))}\n")
    (home.root / "words.yaml").write_text(text.replace("nc: 10\n", "nc: ten\n"))
    (home.root / "names.yaml").write_text(text.replace("names: [", "names: [eleventh, "))
    return home


@pytest.fixture(scope="module")
def answers(bench: Home) -> badlines.Answers:
    """Exit code and error output of every line of the table."""
    return badlines.answers(bench.python, [row[1] for row in TABLE], "from prunekit_v7.stack import start", START)


@pytest.mark.parametrize("words, said", [row[1:] for row in TABLE], ids=[row[0] for row in TABLE])
def test_bad_input_is_one_line(answers: badlines.Answers, words: str, said: str) -> None:
    badlines.check(answers[words], said)


def test_bad_input_leaves_nothing_behind(answers: badlines.Answers, bench: Home) -> None:
    assert answers
    badlines.check_untouched(bench.root)


def test_train_refuses_in_one_line(bench: Home) -> None:
    """train.py --prune_ratio with a ratio or a device that cannot be: exit code 2, before anything is loaded."""
    common = ("train.py", "--weights", "best.pt", "--data", "tiny.yaml")
    assert "must lie between 0 and 1" in bench.python(*common, "--prune_ratio", "1.5", code=2, cold=True)
    said = bench.python(*common, "--prune_ratio", "0.5", "--device", "0", code=2, cold=True)
    assert "--device 0: no CUDA device here" in said and "Traceback" not in said
    said = bench.python(
        "train.py", "--weights", "gone.pt", "--data", "tiny.yaml", "--prune_ratio", "0.5", code=2, cold=True
    )
    assert "--weights gone.pt: no such checkpoint" in said and "Traceback" not in said
    said = bench.python(
        "train.py",
        "--weights",
        "",
        "--data",
        "tiny.yaml",
        "--prune_ratio",
        "0.5",
        "--cfg",
        "cfg/training/yolov7-tiny.yaml",
        code=2,
        cold=True,
    )
    assert "no network given: --weights best.pt" in said
    said = bench.python(
        *common, *"--device cpu --workers 0 --prune_ratio 0.0001 --name refused".split(), code=2, cold=True
    )
    assert "error: The plan removes 0 of" in said and "Traceback" not in said
    assert not list((bench.root / "runs/train").iterdir()), "a run folder of a training that never began"
    (bench.root / "runs/train/kept").mkdir()
    (bench.root / "runs/train/kept/notes.txt").write_text("the user's")
    bench.python(
        *common, *"--device cpu --workers 0 --prune_ratio 0.0001 --name kept --exist-ok".split(), code=2, cold=True
    )
    assert (bench.root / "runs/train/kept/notes.txt").is_file()
    shutil.rmtree(bench.root / "runs")


DAMAGED = {  # what train.py says of each, whether it prunes or not
    "--weights cut.pt": "damaged, or not what training wrote (PytorchStreamReader failed reading zip archive",
    "--weights text.pt": "damaged, or not what training wrote (",
    "--weights bare.pt": "(no YOLOv7 network in it)",
    "--weights cut.pt --prune_ratio 0.5": "--weights cut.pt: damaged",
    "--resume cut.pt": "--resume cut.pt: damaged",
}


def test_train_names_a_damaged_checkpoint(bench: Home) -> None:
    """Upstream makes a run folder and ends in a traceback."""
    for words, wanted in DAMAGED.items():
        said = bench.python("train.py", *words.split(), "--data", "tiny.yaml", "--device", "cpu", code=2, cold=True)
        assert said.splitlines()[-1].startswith("train.py: error: ") and wanted in said.splitlines()[-1], said
        assert "Traceback" not in said and not (bench.root / "runs").exists()


def test_missing_packages_are_named(bench: Home, tmp_path: Path) -> None:
    """Without pip's packages one line says what to type; here one of them is hidden, wherever it is installed."""
    (tmp_path / "seaborn.py").write_text("raise ModuleNotFoundError(\"No module named 'seaborn'\")")
    output = bench.python("prune.py", "--weights", "best.pt", code=2, PYTHONPATH=str(tmp_path))
    assert "YOLOv7 cannot start: No module named" in output and "Traceback" not in output
