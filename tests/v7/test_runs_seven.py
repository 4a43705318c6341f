# SPDX-License-Identifier: AGPL-3.0-or-later
"""The YOLOv7 fork's scripts as a user types them, and what upstream's own scripts do with the result."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from home_seven import CHARTLESS, HERE, YAMLS, Home, small
from runfiles import FILES

pytestmark = [pytest.mark.upstream, pytest.mark.slow]
# Not on the published lines: what a small machine without a GPU adds to them. The last --device and --img-size count.
QUICK = "--batch-size 8 --workers 0 --device cpu --noautoanchor".split()
PUBLISHED = (
    "pruner.py --prune_ratio 0.5 --steps 2 --data Pascal-Voc-2007-1/data.yaml --cfg ./cfg/training/yolov7.yaml "
    "--device 0 --weights best.pt --batch-size 32 --epochs 1 --cache-images --name exp_voc --img-size 416"
)
ONE_SHOT = (
    "pruner_one_shot.py --prune_ratio 0.5 --data Pascal-Voc-2007-1/data.yaml --cfg ./cfg/training/yolov7.yaml "
    "--weights best.pt --epochs 5 --batch-size 32"
)
TRAIN = (
    "train.py --workers 8 --device 0 --batch-size 32 --data data/custom.yaml --img 640 640 "
    "--cfg cfg/training/yolov7-custom.yaml --weights yolov7_training.pt --name yolov7-custom "
    "--hyp data/hyp.scratch.custom.yaml --prune_ratio 0.5"
)
SMALL = ["--img-size", "64", "64"]
DENSE, HALVED = 573_844, 147_492  # the small YAML, ten classes; every group halved


def _shop(home: Home, data: Path) -> Home:
    """What the published lines name beside a fork's own files: data sets and a custom YAML."""
    for place in ("Pascal-Voc-2007-1/data.yaml", "data/custom.yaml"):
        (home.root / place).parent.mkdir(exist_ok=True)
        shutil.copy(data, home.root / place)
    text = (home.root / "cfg/training/yolov7.yaml").read_text()
    (home.root / "cfg/training/yolov7-custom.yaml").write_text(text.replace("nc: 80", "nc: 10"))
    return home


def test_published_line(fork7: Path, copy7: Callable[[Path], Home], tiny7: Path) -> None:
    """As it is published: without a GPU, a line that says what to add; with that added, a whole run of a yolov7."""
    voc = _shop(copy7(fork7), tiny7)
    voc.python(HERE / "make_seven.py", "training/yolov7", "best.pt", "10")
    said = voc.python(*PUBLISHED.split(), code=2)
    assert "error: --device 0: no CUDA device here. Add --device cpu, or leave --device out." in said
    assert not (voc.root / "runs").exists()
    voc.python(*PUBLISHED.split(), *QUICK, *SMALL, cold=True)  # without what warm.py imports
    report, run = voc.report("runs/prune/exp_voc"), voc.root / "runs/prune/exp_voc"
    assert report["status"] == "done" and report["family"] == "yolov7" and report["settings"]["steps"] == 2
    sizes = [row["params"] for row in (report["dense"], *report["steps"])]
    assert sizes[0] == 37_245_102 and len(sizes) == 3 and sizes == sorted(sizes, reverse=True)
    assert 0.24 < sizes[2] / sizes[0] < 0.27, "half of the channels of each layer"
    assert len({json.dumps(step["gains"]) for step in report["steps"]}) == 1, "upstream's gains are scaled once a step"
    for number in (1, 2):
        hyp = yaml.safe_load((run / f"step{number}_finetune/hyp.yaml").read_text())
        assert hyp["warmup_iters"] == 0.1 and hyp["obj"] == 0.7
        assert (run / f"step{number}_finetune/weights/best.pt").is_file()
    assert report["final"]["onnx_max_error"] < 1e-3
    for name in FILES:
        assert (run / name).stat().st_size > 100, name
    assert not list(run.rglob(".prunekit-*")) and not (voc.root / "traced_model.pt").exists()


@pytest.fixture(scope="module")
def pruned(fork7: Path, copy7: Callable[[Path], Home], tiny7: Path) -> Home:
    """A fork whose yolov7.yaml is a small one, with a finished run of the one-shot line in runs/prune/exp.

    Another, of a small network with auxiliary heads, is in runs/prune/aux.
    """
    home = copy7(fork7)
    (home.root / "cfg/training/yolov7.yaml").write_text(YAMLS["small"])
    _shop(home, tiny7)
    small(home, "best.pt 10")
    small(home, "aux.pt 10", "small-w")
    for line in (ONE_SHOT, f"prune_one_shot.py --weights aux.pt --data {tiny7} --epochs 1 --name aux --no-export"):
        size = "128" if "aux.pt" in line else "64"
        said = home.python(CHARTLESS, *line.split(), *QUICK, "--img-size", size, size)
        assert "CoreML" not in said, "nobody asked for the other formats of upstream's export"
    return home


def test_one_shot_line(pruned: Home) -> None:
    """As it is published, device and image size apart: five epochs after one pruning."""
    report = pruned.report("runs/prune/exp")
    assert len(report["steps"]) == 1 and report["arguments"]["epochs"] == 5
    assert len((pruned.root / "runs/prune/exp/step1_finetune/results.txt").read_text().splitlines()) == 5


def test_train_line(pruned: Home) -> None:
    """Prune and train in one command, from a checkpoint of 80 classes; without a GPU the line as it stands says so."""
    small(pruned, "yolov7_training.pt 80")
    assert "--device 0: no CUDA device here" in pruned.python(*TRAIN.split(), code=2)
    said = pruned.python(CHARTLESS, *TRAIN.split(), *QUICK, *SMALL, "--epochs", "1")
    before, after = (line for line in said.splitlines() if "Pruning: MACs=" in line)
    assert before.startswith("Before Pruning: ") and f"#Params={DENSE / 1e6} M" in before
    assert after.startswith("After Pruning: ") and "MACs ratio=" in after
    best = pruned.root / "runs/train/yolov7-custom/weights/best.pt"
    assert pruned.ask(HERE / "series_seven.py", ("size", best), cwd=pruned.root) == [HALVED]


def test_auxiliary_head_by_train_aux(pruned: Home) -> None:
    """A run on such a network trained with train_aux.py and kept all branches' widths."""
    report = pruned.report("runs/prune/aux")
    assert report["status"] == "done" and report["steps"][0]["params"] < 0.3 * report["dense"]["params"]
    assert {"model.17.m.0", "model.17.m2.3"} <= report["steps"][0]["widths"].keys()


def _used(home: Home, weights: Path, data: Path) -> None:
    """test.py, detect.py and export.py on a checkpoint."""
    common = ("--weights", weights, "--device", "cpu", "--img-size", "64")
    said = home.python(CHARTLESS, "test.py", *common, "--data", data, "--no-trace")
    assert "Results saved to" in said
    home.python("detect.py", *common, "--source", "inference/images/horses.jpg", "--conf-thres", "0.001")
    assert (home.root / "runs/detect/exp/horses.jpg").is_file()
    home.python("export.py", *common, "--grid")
    assert weights.with_suffix(".onnx").is_file()


def test_pruned_file_is_used(
    pruned: Home, prefix7: Callable[[int], Home], copy7: Callable[[Path], Home], tiny7: Path
) -> None:
    """By plain upstream with only the first patch; it cannot train it, and says why. The fork: test_stacks_seven.py."""
    made = pruned.root / "runs/prune/exp"
    only_first = copy7(prefix7(1).root)
    for name in ("prunekit_v7", "pruning"):  # plain upstream has neither
        shutil.rmtree(only_first.root / name)
    copy = Path(shutil.copy(made / "pruned.pt", only_first.root / "copy.pt"))
    _used(only_first, copy, tiny7)
    common = ("train.py", "--data", tiny7, *QUICK, *SMALL, "--epochs", "1", "--hyp", "data/hyp.scratch.tiny.yaml")
    for words in (("--weights", "copy.pt"), ("--weights", "", "--cfg", made / "pruned.yaml")):
        said = only_first.python("-c", STOCK_TRAIN, *common, *words, code=1)
        assert 'KeyError: "pruned by prunekit: only a prunekit fork can build this network' in said


# A stock train.py needs tensorboard, which has nothing to do with the question.
STOCK_TRAIN = """
import runpy, sys, types
sys.modules["torch.utils.tensorboard"] = types.SimpleNamespace(SummaryWriter=lambda folder: None)
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def test_data_and_size_are_remembered(pruned: Home) -> None:
    """A checkpoint that still lies in its training's folder brings data set and image size along."""
    weights = "runs/prune/exp/step1_finetune/weights/best.pt"
    words = ("prune_one_shot.py", "--weights", weights, *QUICK, "--plan-only", "--name", "planned")
    assert "Plan written to" in pruned.python(*words)
    assert yaml.safe_load((pruned.root / "runs/prune/planned/plan.yaml").read_text())["example"] == [1, 3, 64, 64]


def test_killed_run_goes_on(fork7: Path, copy7: Callable[[Path], Home], tiny7: Path) -> None:
    """kill -9 in the second step's training; --resume ends where an uninterrupted run ends."""
    home = copy7(fork7)
    small(home, "best.pt 10")
    words = (
        CHARTLESS,
        "prune.py",
        "--weights",
        "best.pt",
        "--data",
        tiny7,
        *QUICK,
        *SMALL,
        "--steps",
        "2",
        "--epochs",
        "1",
        "--no-export",
    )
    home.python(*words, "--name", "whole")
    process = home.start(*words, "--name", "cut")
    mark, deadline = home.root / "runs/prune/cut/step2_finetune/weights", time.monotonic() + 300
    while not mark.exists() and time.monotonic() < deadline and process.poll() is None:
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    assert len(home.report("runs/prune/cut")["steps"]) == 1
    home.python(CHARTLESS, "prune.py", "--resume", "runs/prune/cut")
    whole, cut = (home.report(f"runs/prune/{name}") for name in ("whole", "cut"))
    same = ("params", "macs", "map50", "map50_95", "pruned_map50", "widths")
    assert [[step[key] for key in same] for step in whole["steps"]] == [
        [step[key] for key in same] for step in cut["steps"]
    ]
    assert cut["status"] == "done"


def test_prunekit_is_not_needed(home: Home) -> None:
    """No drop-in imports the tool."""
    grep = ["git", "grep", "-nE", r"^\s*(import|from) prunekit(\.| |$)", "--", "*.py"]
    assert subprocess.run(grep, cwd=home.root, capture_output=True, check=False).stdout == b""
