# SPDX-License-Identifier: AGPL-3.0-or-later
"""The YOLOv5 fork's scripts as a user types them, and what pristine YOLOv5 does with the result."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from home5 import HERE, Home

pytestmark = [pytest.mark.upstream, pytest.mark.slow]
# Not on the published lines: what a small machine without a GPU adds to them.
QUICK = "--batch-size 8 --workers 0 --device cpu --noplots".split()
SMALL = "--img 64 --epochs 1 --no-export --exist-ok".split()
PUBLISHED = "prune.py --data VOC.yaml --weights best.pt --epochs 2 --cache --img 416 --project VOC --name prune_yolo"
ONE_SHOT = "prune_one_shot.py --data VOC.yaml --weights best.pt --prune-ratio 0.5 --epochs 5"

COUNT = """
import sys, torch
from models.experimental import attempt_load
model = attempt_load(sys.argv[1], device="cpu", fuse=False)
print(sum(p.numel() for p in model.parameters()))
"""
HUB = """
import torch
print(type(torch.hub.load(".", "custom", "copy.pt", source="local", device="cpu")).__name__)
"""


@pytest.fixture
def ready(home: Home, tiny5: dict[str, Path]) -> Home:
    """A fork with an untrained yolov5n of ten classes as best.pt and the tiny set as VOC.yaml."""
    shutil.copy(tiny5["detect"], home.root / "VOC.yaml")
    home.python(HERE / "make5.py", "yolov5n", "best.pt", "10")
    return home


def test_published_line(ready: Home, pristine5: Path, copy_of: Callable[[Path], Home], tiny5: dict[str, Path]) -> None:
    """The line as it is published; the run's files; and a pristine clone that uses the result but does not train it."""
    output = ready.python(*PUBLISHED.split(), *QUICK)
    report, run = ready.report("VOC/prune_yolo"), ready.root / "VOC/prune_yolo"
    assert output.index("parameters  1,777,447 ->") < output.index("Step 1: removed")
    assert report["status"] == "done" and report["family"] == "yolov5" and report["image"] == 416
    sizes = [row["params"] for row in (report["dense"], *report["steps"])]
    assert len(sizes) == 6 and sizes == sorted(sizes, reverse=True)
    assert len({json.dumps(step["gains"]) for step in report["steps"]}) == 1 and report["steps"][0]["gains"]["obj"] > 0
    assert "Loss weights in every step: box 0.05, obj" in (run / "report.md").read_text()
    assert report["settings"]["importance"] == "lamp" and report["final"]["onnx_max_error"] < 1e-3
    for name in "pruned.pt pruned.yaml pruned.onnx report.md results.csv plots/steps.png plots/widths.png".split():
        assert (run / name).stat().st_size > 100, name
    assert not list(run.rglob(".prunekit-*")), "a scratch file was left"
    _pristine_uses_it(copy_of(pristine5), run, sizes[-1], tiny5["detect"])


def _pristine_uses_it(pristine: Home, run: Path, parameters: int, data: Path) -> None:
    """Load, validate, detect, export, hub; train, --cfg and resume stop with prunekit's name."""
    common = ("--data", data, "--img", "64", "--device", "cpu")
    model = run / "pruned.pt"
    assert pristine.python("-c", COUNT, model).split()[-1] == str(parameters)
    assert "mAP50" in pristine.python("val.py", "--weights", model, *common, "--workers", "0")
    pristine.python("detect.py", "--weights", model, "--source", "data/images/bus.jpg", *common[2:])
    copy = shutil.copy(model, pristine.root / "copy.pt")
    pristine.python("export.py", "--weights", copy, "--img", "64", "--include", "onnx")
    assert (pristine.root / "copy.onnx").stat().st_size > parameters
    assert pristine.python("-c", HUB).split()[-1] == "AutoShape"
    resumable = run / "step5_finetune/weights/last.pt"
    train = ("train.py", *common, "--epochs", "1", "--workers", "0")
    for words in (("--weights", model), ("--weights", "", "--cfg", run / "pruned.yaml"), ("--resume", resumable)):
        said = pristine.python(*train, *words, code=1)
        assert 'KeyError: "pruned by prunekit: only a prunekit fork can build this network' in said, words


def test_one_shot_line(ready: Home) -> None:
    """The line as it is published: a quarter of the parameters is left, where upstream's habits put a run."""
    ready.python(*ONE_SHOT.split(), *QUICK, "--imgsz", "64")
    report = ready.report("runs/prune/exp")
    assert report["steps"][0]["params"] == 452_311 and report["arguments"]["epochs"] == 5
    assert report["final"]["onnx_max_error"] < 1e-3


def test_segment_network(home: Home, tiny5: dict[str, Path]) -> None:
    """A -seg checkpoint goes through segment/train.py with its flags; half the parameters by --target-params."""
    home.python(HERE / "make5.py", "yolov5n-seg", "seg.pt", "10")
    words = "prune_one_shot.py --weights seg.pt --target_params 0.5 --scope global --mask-ratio 2 --epochs 1".split()
    home.python(*words, "--data", str(tiny5["segment"]), *QUICK, "--img", "64")
    report = home.report("runs/prune-seg/exp")
    assert report["steps"][0]["params"] / report["dense"]["params"] == pytest.approx(0.5, rel=0.01)
    assert report["arguments"]["mask_ratio"] == 2 and report["final"]["onnx_max_error"] < 1e-3


@pytest.mark.parametrize("criterion", ["taylor", "hessian", "random", "l1"])
def test_other_criteria(ready: Home, criterion: str) -> None:
    words = "prune_one_shot.py --weights best.pt --data VOC.yaml --importance".split()
    ready.python(*words, criterion, *QUICK, *SMALL)
    assert ready.report("runs/prune/exp")["status"] == "done"


def test_sparsity_first_and_only_first(ready: Home) -> None:
    """--sparsity trains under the penalty once; fine-tuning is without it."""
    words = "prune_one_shot.py --weights best.pt --data VOC.yaml --sparsity 0.01".split()
    ready.python(*words, *QUICK, *SMALL)
    run = ready.root / "runs/prune/exp"
    strengths = [(run / place / "opt.yaml").read_text() for place in ("step0_sparse", "step1_finetune")]
    assert "sparsity: 0.01\n" in strengths[0] and "sparsity: 0.0\n" in strengths[1]


def test_help_shows_both_groups(home: Home) -> None:
    output = home.python("prune.py", "--help")
    ours, theirs = output.split("upstream train arguments")
    assert "pruning options:" in ours and "--prune-ratio" in ours and "--target-params" in ours
    assert all(flag in theirs for flag in ("--multi-scale", "--cache", "--batch-size", "--hyp", "--mask-ratio"))
    assert "--weights" not in theirs and "--evolve " not in theirs


def test_killed_runs_end_where_the_uninterrupted_one_ends(ready: Home) -> None:
    """kill -9 in whatever it is doing, then --resume: the same widths."""
    line = "prune.py --data VOC.yaml --weights best.pt --steps 2 --scope global --project runs --name it".split()
    started = time.perf_counter()
    ready.python(*line, *QUICK, *SMALL)
    whole = time.perf_counter() - started
    wanted = [step["widths"] for step in ready.report("runs/it")["steps"]]
    chance, killed = random.Random(0), 0
    for _ in range(4):
        shutil.rmtree(ready.root / "runs")
        killed += _killed(ready.start(*line, *QUICK, *SMALL), whole * chance.uniform(0.4, 0.95))
        began = (ready.root / "runs/it/report.json").exists()
        ready.python(*(["prune.py", "--resume", "runs/it"] if began else [*line, *QUICK, *SMALL]))
        report = ready.report("runs/it")
        assert [step["widths"] for step in report["steps"]] == wanted and report["status"] == "done"
    assert killed >= 2, "most runs ended before they were killed: the test has lost its point"


def _killed(process: subprocess.Popen[str], after: float) -> bool:
    try:
        process.communicate(timeout=after)
        return False
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        return True
