# SPDX-License-Identifier: AGPL-3.0-or-later
"""Bad input to the scripts: one line that says what to type next, exit code 2, no traceback, nothing left behind."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from workshop import Workshop

pytestmark = [pytest.mark.upstream]

EVIL = """
import sys, torch, os
class Evil:
    def __reduce__(self): return (os.system, ("touch owned",))
torch.save({"model": Evil()}, sys.argv[1])
"""
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
    (root / "cut.pt").write_bytes((root / "best.pt").read_bytes()[:100_000])
    (root / "text.pt").write_text("not a checkpoint")
    (root / "default.yaml").write_text("epocs: 3")  # as upstream calls its own, which the fork keeps elsewhere
    shutil.copy(tiny_set, root / "tiny.yaml")
    return workshop


TABLE = [
    ("no weights", "--data tiny.yaml", "--weights"),
    ("missing weights", "--weights nowhere.pt --data tiny.yaml", "nowhere.pt: no such file"),
    ("yaml instead of weights", "--weights yolov8n.yaml --data tiny.yaml", "Train first"),
    ("corrupt", "--weights cut.pt --data tiny.yaml", "cut.pt"),
    ("not a checkpoint", "--weights text.pt --data tiny.yaml", "not a torch checkpoint"),
    ("fused", "--weights fused.pt --data tiny.yaml", "fused network"),
    ("wrong family", "--weights five.pt --data tiny.yaml", "YOLOv5 or YOLOv7"),
    ("runs code", "--weights evil.pt --data tiny.yaml", "--trust"),
    ("ratio 0", "--weights best.pt --data tiny.yaml --prune-ratio 0", "between 0 and 1"),
    ("ratio 1", "--weights best.pt --data tiny.yaml --prune-ratio 1", "between 0 and 1"),
    ("ratio 1.5", "--weights best.pt --data tiny.yaml prune_ratio=1.5", "between 0 and 1"),
    ("classes", "--weights eighty.pt --data tiny.yaml", "has 80 classes"),
    ("missing data", "--weights best.pt --data nowhere.yaml", "nowhere.yaml"),
    ("unknown flag", "--weights best.pt --data tiny.yaml --epocs 3", "did you mean --epochs"),
    ("stray word", "--weights best.pt tiny.yaml", "not an argument"),
    ("unknown layer", "--weights best.pt --data tiny.yaml --ignore model.99", "no such layer"),
    ("two targets", "--weights best.pt --data tiny.yaml --target-macs 0.5 --target-params 0.4", "exclude each other"),
    ("target too low", "--weights best.pt --data tiny.yaml --target-macs 0.0001 --imgsz 64", "nearest"),
    ("target above dense", "--weights best.pt --data tiny.yaml --target-macs 9e15 --imgsz 64", "not below the dense"),
    ("nothing prunable", "--weights best.pt --data tiny.yaml --ignore model --imgsz 64", "Nothing can be pruned"),
    ("missing plan", "--weights best.pt --data tiny.yaml --plan nowhere.yaml", "nowhere.yaml"),
    ("resume nothing", "--resume nowhere", "no report.json"),
    ("no data", "--weights best.pt", "no data set given"),
    ("no value", "--weights best.pt --data tiny.yaml --lr0", "--lr0 needs a value"),
    ("word for a number", "--weights best.pt --data tiny.yaml --epochs two", "epochs"),
    ("optimizer", "--weights best.pt --data tiny.yaml --optimizer Foo", "--optimizer Foo"),
    ("split", "--weights best.pt --data tiny.yaml --split nowhere", "no such split"),
    ("ratio and target", "--weights best.pt --data tiny.yaml --prune-ratio 0.3 --target-macs 0.5", "exclude each"),
    ("all of it", "--weights best.pt --data tiny.yaml --target-macs 1", "below 1"),
    ("no number", "--weights best.pt --data tiny.yaml --max-map-drop nan", "between 0 and 1"),
    ("negative seed", "--weights best.pt --data tiny.yaml --seed -1", "--seed -1"),
    ("plan and ratio", "--plan plan.yaml --prune-ratio 0.3", "leave out --prune-ratio"),
    ("resume and more", "--resume runs/x --epochs 5", "leave out --epochs 5"),
    ("unwritable", "--weights best.pt --data tiny.yaml --project /proc/x --imgsz 64", "writable"),
    ("sparse without training", "--weights best.pt --data tiny.yaml --sparsity 0.1 --epochs 0", "--epochs is 0"),
    ("no such device", "--weights best.pt --data tiny.yaml device=7", "--device cpu"),
    ("half an image", "--weights best.pt --data tiny.yaml --batch 1.5", "--batch 1.5: must be a whole number"),
    ("another network", "--weights best.pt --data tiny.yaml --pretrained nowhere.pt", "Leave --pretrained out"),
    ("one's own default.yaml", "--weights best.pt --data tiny.yaml --cfg default.yaml", "did you mean --epochs"),
    ("missing cfg", "--weights best.pt --cfg nowhere.yaml", "nowhere.yaml: no such file"),
]


# One process goes through the whole table: most of a script's time is importing torch.
DRIVER = """
import contextlib, io, json, sys
from ultralytics.prunekit.main import guarded, prune
from ultralytics.pruning.settings import Settings
said = []
for line in json.load(sys.stdin):
    words = line.split() if "--resume" in line else ["--device", "cpu", "--epochs", "1", *line.split()]
    heard = io.StringIO()
    with contextlib.redirect_stderr(heard):
        code = guarded(lambda: prune("", Settings(round_to=8), words))
    said.append([code, heard.getvalue()])
print("SAID" + json.dumps(said))
"""


@pytest.fixture(scope="module")
def answers(bench: Workshop) -> dict[str, tuple[int, str]]:
    """Exit code and error output of every line of the table."""
    lines = [row[1] for row in TABLE]
    output = bench.python("-c", DRIVER, given=json.dumps(lines))
    said = json.loads(output.rpartition("SAID")[2].splitlines()[0])
    return {line: (code, text) for line, (code, text) in zip(lines, said, strict=True)}


@pytest.mark.parametrize("words, said", [row[1:] for row in TABLE], ids=[row[0] for row in TABLE])
def test_bad_input_is_one_line(answers: dict[str, tuple[int, str]], words: str, said: str) -> None:
    code, text = answers[words]
    errors = [line for line in text.splitlines() if line.startswith("error: ")]
    assert code == 2 and len(errors) == 1 and said in errors[0], text
    assert "Traceback" not in text


def test_bad_input_leaves_nothing_behind(answers: dict[str, tuple[int, str]], bench: Workshop) -> None:
    assert answers and not (bench.root / "owned").exists(), "code of the checkpoint was run"
    assert not (bench.root / "runs").exists(), "a run folder was left behind"


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
