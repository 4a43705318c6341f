# SPDX-License-Identifier: AGPL-3.0-or-later
"""Bad input to the YOLOv5 fork's scripts: one line that says what to type next, exit code 2, nothing left behind."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from home5 import Home

pytestmark = [pytest.mark.upstream, pytest.mark.slow]
EVIL = """
import sys, torch, os
class Evil:
    def __reduce__(self): return (os.system, ("touch owned",))
torch.save({"model": Evil()}, sys.argv[1])
"""
LOOKUP = """
import sys, torch
from models.yolo import Detect
class Evil:
    def __reduce__(self): return (getattr, (Detect, "__init__"))
torch.save({"model": Evil()}, sys.argv[1])
"""
EIGHT = """
import sys, types, torch
module = types.ModuleType("ultralytics.nn.tasks5")
sys.modules["ultralytics.nn.tasks5"] = module
class DetectionModel(torch.nn.Module): pass
DetectionModel.__module__ = "ultralytics.nn.tasks5"; module.DetectionModel = DetectionModel
torch.save({"model": DetectionModel()}, sys.argv[1])
"""
B = "--weights best.pt --data tiny.yaml"
TABLE = [
    ("no weights", "--data tiny.yaml", "--weights"),
    ("missing weights", "--weights nowhere.pt --data tiny.yaml", "nowhere.pt: no such file"),
    ("yaml instead of weights", "--weights yolov5n.yaml --data tiny.yaml", "Train first"),
    ("corrupt", "--weights cut.pt --data tiny.yaml", "cut.pt"),
    ("not a checkpoint", "--weights text.pt --data tiny.yaml", "not a torch checkpoint"),
    ("fused", "--weights fused.pt --data tiny.yaml", "fused network"),
    ("wrong family", "--weights eight.pt --data tiny.yaml", "an ultralytics (YOLOv8 or later)"),
    ("runs code", "--weights evil.pt --data tiny.yaml", "--trust"),
    ("looks something up", "--weights lookup.pt --data tiny.yaml", "error: "),
    ("ratio 0", f"{B} --prune-ratio 0", "between 0 and 1"),
    ("ratio 1", f"{B} --prune-ratio 1", "between 0 and 1"),
    ("ratio 1.5", f"{B} prune_ratio=1.5", "between 0 and 1"),
    ("classes", "--weights eighty.pt --data tiny.yaml", "has 80 classes"),
    ("missing data", "--weights best.pt --data nowhere.yaml", "nowhere.yaml"),
    ("empty image folder", "--weights best.pt --data bare.yaml", "no images in"),
    ("unknown flag", f"{B} --epocs 3", "did you mean --epochs"),
    ("stray word", "--weights best.pt tiny.yaml", "not an argument"),
    ("wrong type", f"{B} --epochs many", "--epochs: invalid int value"),
    ("another network", f"{B} --cfg yolov5s.yaml", "the network comes from --weights"),
    ("evolve", f"{B} --evolve 3", "--evolve has no place"),
    ("unknown layer", f"{B} --ignore model.99", "no such layer"),
    ("two targets", f"{B} --target-macs 0.5 --target-params 0.5", "exclude each other"),
    ("target too low", f"{B} --target-macs 0.0001 --imgsz 64", "nearest"),
    ("target above dense", f"{B} --target-macs 9e15 --imgsz 64", "not below the dense"),
    ("nothing prunable", f"{B} --ignore model --imgsz 64", "Nothing can be pruned"),
    ("missing plan", f"{B} --plan nowhere.yaml", "nowhere.yaml"),
    ("missing hyp", f"{B} --hyp nowhere.yaml", "--hyp nowhere.yaml: no such file"),
    ("half a hyp", f"{B} --hyp half.yaml", "half.yaml: lacks anchor_t"),
    ("no data", "--weights best.pt", "no data set given"),
    ("no value", f"{B} --epochs", "--epochs: expected one argument"),
    ("negative epochs", f"{B} --epochs -1", "--epochs -1: must be 0 or more"),
    ("empty batch", f"{B} --batch-size 0", "--batch-size 0: must be 1 or more"),
    ("optimizer", f"{B} --optimizer Foo", "--optimizer: invalid choice"),
    ("no such device", f"{B} --device 7", "give --device cpu"),
    ("penalty of beta", f"{B} --sparsity-beta 0.1", "belongs to train_sparse.py"),
    ("sparse without training", f"{B} --sparsity 0.1 --epochs 0", "--epochs is 0"),
    ("ratio and target", f"{B} --prune-ratio 0.3 --target-macs 0.5", "exclude each other"),
    ("all of it", f"{B} --target-macs 1", "below 1"),
    ("no number", f"{B} --max-map-drop nan", "between 0 and 1"),
    ("negative seed", f"{B} --seed -1", "--seed -1"),
    ("plan and ratio", "--plan plan.yaml --prune-ratio 0.3", "leave out --prune-ratio"),
    ("unwritable", f"{B} --project /proc/x --imgsz 64", "writable"),
    ("resume nothing", "--resume nowhere", "no report.json"),
    ("resume and more", "--resume runs/x --epochs 5", "leave out --epochs 5"),
]
SPARSE = [
    ("train", "--data tiny.yaml", "no network given"),
    ("train", "--cfg nowhere.yaml --data tiny.yaml", "--cfg nowhere.yaml: no such file"),
    ("train", "--weights nowhere.pt --data tiny.yaml", "nowhere.pt: no such file"),
    ("train", "--weights best.pt", "no data set given"),
    ("train", f"{B} --data nowhere.yaml", "--data nowhere.yaml: no such file"),
    ("train", f"{B} --sparsity 2", "--sparsity 2.0: must be a number between 0 and 1"),
    ("train", f"{B} --sparsity-beta -0.1", "--sparsity-beta -0.1: must be a number between 0 and 1"),
    ("train", f"{B} --sparsity 0 --sparsity-beta 0", "use: python train.py"),
    ("train", f"{B} --sparcity 1", "did you mean --sparsity"),
    ("train", f"{B} --freeze 999", "--freeze 999: the network has 25 layers"),
    ("train", f"{B} --device 7", "give --device cpu"),
    ("train", f"{B} --evolve 3", "--evolve has no place"),
    ("train", "--resume", "which run?"),
    ("train", "--resume nowhere.pt", "--resume nowhere.pt: no such file"),
    ("train", "--resume best.pt", "nothing to resume"),
    ("train", "--resume best.pt --epochs 3", "leave out --epochs 3"),
    ("inspect", "--weights best.pt --png /proc/x/y.png", "--png /proc/x/y.png: cannot write it"),
    ("inspect", "--weights best.pt --keep 1.5", "outside (0, 1)"),
    ("inspect", "--weights text.pt", "not a torch checkpoint"),
]
# One process goes through the whole table: most of a script's time is importing torch.
DRIVER = """
import contextlib, io, json, os, sys
from prunekit_v5.stack import start
said = []
for script, line in json.loads(sys.argv[1]):
    heard = io.StringIO()
    module, settings = ("main", {"steps": 1, "round_to": 8}) if script == "prune" else ("sparse", {})
    with contextlib.redirect_stderr(heard):
        words = line.split() if script == "inspect" or "--resume" in line else ["--device", "cpu", *line.split()]
        code = start(os.path.abspath("prune.py"), module, script, "", words, **settings)
    said.append([code, heard.getvalue()])
print("ANSWERS" + json.dumps(said))
"""


@pytest.fixture(scope="module")
def bench(fork5: Path, copy_of: Callable[[Path], Home], nets5: Path, tiny5: dict[str, Path]) -> Home:
    """One fork for the whole table: nothing here may change it."""
    home = copy_of(fork5)
    for name in ("eighty.pt", "fused.pt", "pruned.pt"):
        shutil.copy(nets5 / name, home.root)
    shutil.copy(nets5 / "dense.pt", home.root / "best.pt")
    for name, code in (("evil.pt", EVIL), ("eight.pt", EIGHT), ("lookup.pt", LOOKUP)):
        home.python("-c", code, name)
    (home.root / "cut.pt").write_bytes((home.root / "best.pt").read_bytes()[:100_000])
    (home.root / "text.pt").write_text("not a checkpoint")
    (home.root / "bare").mkdir()
    bare = home.root / "bare"
    (home.root / "bare.yaml").write_text(f"train: {bare}\nval: {bare}\nnc: 10\nnames: {list('abcdefghij')}\n")
    (home.root / "half.yaml").write_text("lr0: 0.01")
    shutil.copy(tiny5["detect"], home.root / "tiny.yaml")
    return home


LINES = [(("prune", words), said, name) for name, words, said in TABLE]
LINES += [((script, words), said, f"{script} {words}") for script, words, said in SPARSE]


@pytest.fixture(scope="module")
def answers(bench: Home) -> dict[tuple[str, str], tuple[int, str]]:
    """Exit code and error output of every line of both tables: {(script, words): ...}."""
    lines = [row[0] for row in LINES]
    output = bench.python("-c", DRIVER, json.dumps(lines))
    said = json.loads(output.rpartition("ANSWERS")[2].splitlines()[0])
    return {line: (code, text) for line, (code, text) in zip(lines, said, strict=True)}


@pytest.mark.parametrize("line, said", [row[:2] for row in LINES], ids=[row[2] for row in LINES])
def test_bad_input_is_one_line(
    answers: dict[tuple[str, str], tuple[int, str]], line: tuple[str, str], said: str
) -> None:
    code, text = answers[line]
    errors = [row for row in text.splitlines() if row.startswith("error: ")]
    assert code == 2 and len(errors) == 1 and said in errors[0], text
    assert "Traceback" not in text


def test_bad_input_leaves_nothing_behind(answers: dict[tuple[str, str], tuple[int, str]], bench: Home) -> None:
    assert answers and not (bench.root / "owned").exists(), "code of the checkpoint was run"
    assert not (bench.root / "runs").exists(), "a run folder was left behind"


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
