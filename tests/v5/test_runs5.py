# SPDX-License-Identifier: AGPL-3.0-or-later
"""The YOLOv5 fork's scripts as a user types them, and what pristine YOLOv5 does with the result."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from home5 import HERE, Home

pytestmark = [pytest.mark.upstream, pytest.mark.slow]
# Not on the published lines: what a small machine without a GPU adds to them.
QUICK = "--batch-size 8 --workers 0 --device cpu --noplots".split()
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
    pristine.python("val.py", "--weights", model, *common, "--workers", "0")
    assert (pristine.root / "runs/val/exp/val_batch0_pred.jpg").is_file()
    pristine.python("detect.py", "--weights", model, "--source", "data/images/bus.jpg", *common[2:])
    copy = shutil.copy(model, pristine.root / "copy.pt")
    pristine.python("export.py", "--weights", copy, "--img", "64", "--include", "onnx")
    assert (pristine.root / "copy.onnx").stat().st_size > parameters
    assert pristine.python("-c", HUB).split()[-1] == "AutoShape"
    resumable = max(run.glob("step*_finetune")) / "weights/last.pt"
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


def test_help_shows_both_groups(home: Home) -> None:
    output = home.python("prune.py", "--help")
    ours, theirs = output.split("upstream train arguments")
    assert "pruning options:" in ours and "--prune-ratio" in ours and "--target-params" in ours
    assert all(flag in theirs for flag in ("--multi-scale", "--cache", "--batch-size", "--hyp", "--mask-ratio"))
    assert "--weights" not in theirs and "--evolve " not in theirs
