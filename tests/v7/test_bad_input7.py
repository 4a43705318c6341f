# SPDX-License-Identifier: AGPL-3.0-or-later
"""Bad input to the YOLOv7 fork's scripts: one line that says what to type next, exit code 2, nothing left behind."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from home7 import HERE, Home

pytestmark = [pytest.mark.upstream, pytest.mark.slow]
EVIL = """
import sys, torch, os
class Evil:
    def __reduce__(self): return (os.system, ("touch owned",))
torch.save({"model": Evil()}, sys.argv[1])
"""
EIGHT = """
import sys, types, torch
for name in ("ultralytics", "ultralytics.nn", "ultralytics.nn.tasks5"):
    module = sys.modules[name] = types.ModuleType(name)
class DetectionModel(torch.nn.Module): pass
DetectionModel.__module__ = "ultralytics.nn.tasks5"; module.DetectionModel = DetectionModel
torch.save({"model": DetectionModel()}, sys.argv[1])
"""
B = "--weights best.pt --data tiny.yaml"
TABLE = [
    ("no weights", "--data tiny.yaml", "--weights"),
    ("missing weights", "--weights nowhere.pt --data tiny.yaml", "nowhere.pt: no such file"),
    ("yaml instead of weights", "--weights yolov7.yaml --data tiny.yaml", "Train first"),
    ("corrupt", "--weights cut.pt --data tiny.yaml", "cut.pt"),
    ("not a checkpoint", "--weights text.pt --data tiny.yaml", "not a torch checkpoint"),
    ("no network in it", "--weights bare.pt --data tiny.yaml", "holds nothing where a network is expected"),
    ("fused", "--weights fused.pt --data tiny.yaml", "fused network"),
    ("orepa", "--weights orepa.pt --data tiny.yaml", "RepConv_OREPA"),
    ("wrong family", "--weights eight.pt --data tiny.yaml", "an ultralytics (YOLOv8 or later)"),
    ("runs code", "--weights evil.pt --data tiny.yaml", "--trust"),
    ("ratio 0", f"{B} --prune-ratio 0", "between 0 and 1"),
    ("ratio 1.5", f"{B} prune_ratio=1.5", "between 0 and 1"),
    ("no data", "--weights best.pt", "no data set given"),
    ("classes", "--weights twenty.pt --data tiny.yaml", "has 20 classes"),
    ("missing data", "--weights best.pt --data nowhere.yaml", "nowhere.yaml"),
    ("data without images", "--weights best.pt --data gone.yaml", "is not there"),
    ("empty image folder", "--weights best.pt --data bare.yaml", "no images in"),
    ("data without nc", "--weights best.pt --data lacking.yaml", "no 'nc:'"),
    ("data with nc in words", "--weights best.pt --data words.yaml", "'nc: ten' must be a number"),
    ("data with few names", "--weights best.pt --data names.yaml", "as many names"),
    ("unknown flag", f"{B} --epocs 3", "did you mean --epochs"),
    ("stray word", "--weights best.pt tiny.yaml", "not an argument"),
    ("wrong type", f"{B} --epochs many", "--epochs: invalid int value"),
    ("negative epochs", f"{B} --epochs -1", "--epochs -1: must be 0 or more"),
    ("batch 0", f"{B} --batch-size 0", "must be 1 or more"),
    ("no such GPU", f"{B} --device 0", "--device 0: no CUDA device here"),
    ("another network", f"{B} --cfg cfg/training/yolov7.yaml", "is not the network of best.pt"),
    ("no network in --cfg", f"{B} --cfg tiny.yaml", "it is no YOLOv7 architecture"),
    ("a checkpoint as --cfg", f"{B} --cfg best.pt", "--cfg"),
    ("evolve", f"{B} --evolve", "--evolve has no place"),
    ("unknown layer", f"{B} --ignore model.99", "no such layer"),
    ("two targets", f"{B} --target-macs 0.5 --target-params 0.5", "exclude each other"),
    ("target too low", f"{B} --target-macs 0.0001 --img-size 64", "nearest"),
    ("nothing prunable", f"{B} --ignore model --img-size 64", "Nothing can be pruned"),
    ("missing plan", f"{B} --plan nowhere.yaml", "nowhere.yaml"),
    ("missing hyp", f"{B} --hyp nowhere.yaml", "--hyp nowhere.yaml: no such file"),
    ("hyp lacks", f"{B} --hyp tiny.yaml", "lacks anchor_t"),
    ("sparsity without epochs", f"{B} --sparsity 0.01 --epochs 0", "--epochs is 0"),
    ("resume nothing", "--resume nowhere", "no report.json"),
]
# One process goes through the whole table: most of a script's time is importing torch.
DRIVER = """
import contextlib, io, json, os, sys
from prunekit_v7.stack import start
said = []
for line in json.loads(sys.argv[1]):
    heard = io.StringIO()
    with contextlib.redirect_stderr(heard):
        words = line.split() if "--resume" in line or "--device" in line else [*line.split(), "--device", "cpu"]
        code = start(os.path.abspath("prune.py"), "main", "prune", "", words, steps=1, round_to=8)
    said.append([code, heard.getvalue()])
print("ANSWERS" + json.dumps(said))
"""


@pytest.fixture(scope="module")
def bench(fork7: Path, copy_of: Callable[[Path], Home], tiny7: Path) -> Home:
    """One fork for the whole table: nothing here may change it."""
    home = copy_of(fork7)
    for words in ("best.pt 10", "twenty.pt 20", "fused.pt 10 fused", "orepa.pt 10 orepa"):
        home.python(HERE / "make7.py", "training/yolov7-tiny", *words.split())
    for name, code in (("evil.pt", EVIL), ("eight.pt", EIGHT)):
        home.python("-c", code, name)
    (home.root / "cut.pt").write_bytes((home.root / "best.pt").read_bytes()[:100_000])
    (home.root / "text.pt").write_text("not a checkpoint")
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
def answers(bench: Home) -> dict[str, tuple[int, str]]:
    """Exit code and error output of every line of the table."""
    lines = [row[1] for row in TABLE]
    output = bench.python("-c", DRIVER, json.dumps(lines))
    said = json.loads(output.rpartition("ANSWERS")[2].splitlines()[0])
    return {line: (code, text) for line, (code, text) in zip(lines, said, strict=True)}


@pytest.mark.parametrize("words, said", [row[1:] for row in TABLE], ids=[row[0] for row in TABLE])
def test_bad_input_is_one_line(answers: dict[str, tuple[int, str]], words: str, said: str) -> None:
    code, text = answers[words]
    errors = [line for line in text.splitlines() if line.startswith("error: ")]
    assert code == 2 and len(errors) == 1 and said in errors[0], text
    assert "Traceback" not in text


def test_bad_input_leaves_nothing_behind(answers: dict[str, tuple[int, str]], bench: Home) -> None:
    assert answers and not (bench.root / "owned").exists(), "code of the checkpoint was run"
    assert not (bench.root / "runs").exists(), "a run folder was left behind"


def test_train_refuses_in_one_line(bench: Home) -> None:
    """train.py --prune_ratio with a ratio or a device that cannot be: exit code 2, before anything is loaded."""
    common = ("train.py", "--weights", "best.pt", "--data", "tiny.yaml")
    assert "must lie between 0 and 1" in bench.python(*common, "--prune_ratio", "1.5", code=2)
    said = bench.python(*common, "--prune_ratio", "0.5", "--device", "0", code=2)
    assert "--device 0: no CUDA device here" in said and "Traceback" not in said
    said = bench.python("train.py", "--weights", "gone.pt", "--data", "tiny.yaml", "--prune_ratio", "0.5", code=2)
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
    )
    assert "no network given: --weights best.pt" in said
    said = bench.python(*common, *"--device cpu --workers 0 --prune_ratio 0.0001 --name refused".split(), code=2)
    assert "error: The plan removes 0 of" in said and "Traceback" not in said
    assert not list((bench.root / "runs/train").iterdir()), "a run folder of a training that never began"
    (bench.root / "runs/train/kept").mkdir()
    (bench.root / "runs/train/kept/notes.txt").write_text("the user's")
    bench.python(*common, *"--device cpu --workers 0 --prune_ratio 0.0001 --name kept --exist-ok".split(), code=2)
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
        said = bench.python("train.py", *words.split(), "--data", "tiny.yaml", "--device", "cpu", code=2)
        assert said.splitlines()[-1].startswith("train.py: error: ") and wanted in said.splitlines()[-1], said
        assert "Traceback" not in said and not (bench.root / "runs").exists()


def test_missing_packages_are_named(bench: Home, tmp_path: Path) -> None:
    """Without pip's packages one line says what to type; here one of them is hidden, wherever it is installed."""
    (tmp_path / "seaborn.py").write_text("raise ModuleNotFoundError(\"No module named 'seaborn'\")")
    output = bench.python("prune.py", "--weights", "best.pt", code=2, PYTHONPATH=str(tmp_path))
    assert "YOLOv7 cannot start: No module named" in output and "Traceback" not in output
