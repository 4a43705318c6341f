# SPDX-License-Identifier: AGPL-3.0-or-later
"""The YOLOv5 fork's scripts as a user types them, and what pristine YOLOv5 does with the result."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from home_five import HERE, Home
from runfiles import FILES

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
def ready(home: Home, nets5: Path, tiny5: dict[str, Path]) -> Home:
    """A fork with an untrained yolov5n of ten classes as best.pt and the tiny set as VOC.yaml."""
    shutil.copy(tiny5["detect"], home.root / "VOC.yaml")
    shutil.copy(nets5 / "dense.pt", home.root / "best.pt")
    return home


def test_published_line(ready: Home, pristine5: Path, copy5: Callable[[Path], Home], tiny5: dict[str, Path]) -> None:
    """The line as it is published; the run's files; and a pristine clone that uses the result but does not train it."""
    output = ready.python(*PUBLISHED.split(), *QUICK, cold=True)  # without what warm.py imports
    report, run = ready.report("VOC/prune_yolo"), ready.root / "VOC/prune_yolo"
    assert output.index("parameters  1,777,447 ->") < output.index("Step 1: removed")
    assert report["status"] == "done" and report["family"] == "yolov5" and report["image"] == 416
    sizes = [row["params"] for row in (report["dense"], *report["steps"])]
    assert len(sizes) == 6 and sizes == sorted(sizes, reverse=True)
    assert len({json.dumps(step["gains"]) for step in report["steps"]}) == 1 and report["steps"][0]["gains"]["obj"] > 0
    assert "Loss weights in every step: box 0.05, obj" in (run / "report.md").read_text()
    assert report["settings"]["importance"] == "lamp" and report["final"]["onnx_max_error"] < 1e-3
    for name in FILES:
        assert (run / name).stat().st_size > 100, name
    assert not list(run.rglob(".prunekit-*")), "a scratch file was left"
    _pristine_uses_it(copy5(pristine5), run, sizes[-1], tiny5["detect"])


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
    """The line as it is published: a quarter of the parameters is left, where upstream's habits put a run.

    452,311 in exact halves; the stem's 16 channels are the one multiple of 16 there is.
    """
    ready.python(*ONE_SHOT.split(), *QUICK, "--imgsz", "64")
    report = ready.report("runs/prune/exp")
    assert report["steps"][0]["params"] == 456_839 and report["arguments"]["epochs"] == 5
    assert report["final"]["onnx_max_error"] < 1e-3


CRITERIA = ("taylor", "hessian", "random", "bn_scale")


@pytest.fixture(scope="module")
def several(
    fork5: Path, copy5: Callable[[Path], Home], nets5: Path, tiny5: dict[str, Path]
) -> Callable[[str], dict[str, Any]]:
    """Reports of several runs, made by one process: segmentation, P6, each criterion, sparsity training first."""
    home, small = copy5(fork5), f"{' '.join(QUICK)} --img 64 --epochs 1"
    detect, dense = f"--data {tiny5['detect']} {small} --project runs", f"--weights {nets5 / 'dense.pt'}"
    masks = f"--weights {nets5 / 'seg.pt'} --data {tiny5['segment']} --mask-ratio 2"
    sparse = f"--data {tiny5['detect']} {small} --epochs 4 --sparsity 1 --project runs --name sparse_only"
    lines = [
        f"{masks} {small} --target_params 0.5 --scope global",
        f"--weights {nets5 / 'six.pt'} {detect} --name six",
        *(f"{dense} --importance {name} {detect} --name {name} --no-export" for name in CRITERIA),
        f"{dense} --sparsity 0.01 {detect} --name sparse --no-export",
    ]
    lines = [f"prune {line}" for line in lines]
    last = "runs/sparse_only/weights/last.pt"
    old, pruned = nets5 / "old.pt", "runs/old/pruned.pt"
    lines += [
        f"prune --weights {old} {detect} --distill 0.5 --name old",
        f"latency --dense {old} --pruned {pruned} --imgsz 64 --threads 1 --rounds 9 --json speed.json",
        f"quantify --weight {pruned} --method dynamic --data {tiny5['detect']} --img 64 --workers 0 --project runs",
    ]
    lines += [f"train {dense} {sparse}", f"inspect --weights {last} --json", f"inspect {dense} --json"]
    said = home.python(HERE / "runs_five.py", json.dumps(lines))
    return lambda folder: {**home.report(folder), "folder": home.root / folder} if folder else {"said": said}


def test_segment_network(several: Callable[[str], dict[str, Any]]) -> None:
    """A -seg checkpoint goes through segment/train.py with its flags; half the parameters by --target-params."""
    report = several("runs/prune-seg/exp")
    assert report["steps"][0]["params"] / report["dense"]["params"] == pytest.approx(0.5, rel=0.01)
    assert report["arguments"]["mask_ratio"] == 2 and report["final"]["onnx_max_error"] < 1e-3


def test_p6_network(several: Callable[[str], dict[str, Any]]) -> None:
    """Four levels, stride 64: the image grows to what train.py uses, and the gains are those of four levels."""
    report = several("runs/six")
    assert report["image"] == 128 and report["final"]["onnx_max_error"] < 1e-3
    assert report["steps"][0]["gains"]["box"] == pytest.approx(0.05 * 3 / 4)
    assert report["steps"][0]["params"] < 0.3 * report["dense"]["params"]


def test_stem_and_activation_of_old_files(several: Callable[[str], dict[str, Any]]) -> None:
    """A Focus stem takes three channels, not the twelve of its weights; LeakyReLU(0.1) is rebuilt; one class is said.

    Pruned, taught, exported, timed and quantized; --single-cls is taken from the checkpoint.
    """
    report = several("runs/old")
    assert report["final"]["onnx_max_error"] < 1e-3 and report["arguments"]["single_cls"] is True
    assert report["settings"]["distill"] == 0.5 and report["steps"][0]["params"] < 0.3 * report["dense"]["params"]
    home = report["folder"].parents[1]
    assert json.loads((home / "speed.json").read_text())["networks"]["pruned"]["macs_ratio"] > 2
    record = json.loads(next(home.rglob("quantify.json")).read_text())
    assert record["onnx_max_error"] < 1e-3 and record["image"] == 64
    assert "nn.LeakyReLU(0.1)" in (report["folder"] / "pruned.yaml").read_text()


def test_other_criteria(several: Callable[[str], dict[str, Any]]) -> None:
    """Those that look at gradients too; each prunes to the same widths, for the ratio is local."""
    reports = [several(f"runs/{name}") for name in CRITERIA]
    assert [report["settings"]["importance"] for report in reports] == list(CRITERIA)
    assert {report["steps"][0]["params"] for report in reports} == {452_311}


def test_sparsity_first_and_only_first(several: Callable[[str], dict[str, Any]]) -> None:
    """--sparsity trains under the penalty once; fine-tuning is without it."""
    run = several("runs/sparse")["folder"]
    strengths = [(run / place / "opt.yaml").read_text() for place in ("step0_sparse", "step1_finetune")]
    assert "sparsity: 0.01\n" in strengths[0] and "sparsity: 0.0\n" in strengths[1]


def test_sparse_training_then_inspection(several: Callable[[str], dict[str, Any]]) -> None:
    """train_sparse.py says its defaults in one line and makes gamma smaller; inspect_bn.py measures that."""
    said, reports = several("")["said"], []
    assert "sparsity 1.0, sparsity_beta 0.01 (default), optimizer SGD (default)" in said
    assert "python inspect_bn.py --weights runs/sparse_only/weights/" in said
    for start in (match.start() for match in re.finditer(r"^\{$", said, re.MULTILINE)):
        reports.append(json.JSONDecoder().raw_decode(said[start:])[0])
    after, before = (sum(x["gamma_mean"] * x["channels"] for x in report["layers"]) for report in reports)
    assert len(reports) == 2 and (before - after) / reports[0]["channels"] > 0.001
    assert [report["verdict"] for report in reports] == ["train longer"] * 2


LINE = "prune.py --data VOC.yaml --weights best.pt --steps 2 --scope global --project runs --name it".split()
# Where each kill -9 falls: after which line of the run's output, and how long after.
PHASES = {"prune": ("Before Pruning", 0.1), "fine-tune": ("Starting train", 0.3), "validate": ("Step 2: removed", 0.1)}


def test_killed_runs_end_where_the_uninterrupted_one_ends(ready: Home) -> None:
    """kill -9 while it prunes, fine-tunes, and validates, each time gone on with --resume: the same widths."""
    small = [*LINE, *QUICK, *"--img 64 --epochs 1 --no-export".split()]
    ready.python(*small)
    wanted = [step["widths"] for step in ready.report("runs/it")["steps"]]
    assert len(wanted) == 2 and wanted[0] != wanted[1]
    shutil.rmtree(ready.root / "runs")
    steps = []
    for phase, (line, after) in PHASES.items():
        words = small if phase == "prune" else ["prune.py", "--resume", "runs/it"]
        _kill(ready.start(*words, PYTHONUNBUFFERED="1", YOLO_VERBOSE="true"), line, after)
        steps.append(len(ready.report("runs/it")["steps"]))
    assert steps == [0, 0, 1], "a kill fell into another phase than it was meant for"
    ready.python("prune.py", "--resume", "runs/it")
    report = ready.report("runs/it")
    assert [step["widths"] for step in report["steps"]] == wanted and report["status"] == "done"
    assert not list((ready.root / "runs/it").rglob(".prunekit-*")), "a scratch file was left"


def _kill(process: subprocess.Popen[str], line: str, after: float) -> None:
    """kill -9 the process and its children, `after` seconds after it has printed a line that begins so."""
    assert process.stdout
    said = next((text for text in process.stdout if text.startswith(line)), None)
    time.sleep(after)
    assert said and process.poll() is None, f"{line}: never said, or the run was over before it was killed"
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()


def test_tensorflow_export_takes_the_pruned_widths(ready: Home, nets5: Path) -> None:
    """models/tf.py asks for as many filters as the weights have; with TensorFlow here, its boxes are torch's."""
    for name, convolutions in (("pruned.pt", 60), ("pruned-seg.pt", 66)):  # TFSegment makes its three outputs twice
        output = ready.python(HERE / "tf_five.py", nets5 / name)
        answer = json.loads(output.rpartition("ANSWERS")[2].splitlines()[0])
        if "difference" in answer:
            assert answer["difference"] < 1e-3
            continue
        filters = answer["filters"]
        assert len(filters) == convolutions and all(wanted == there for wanted, there in filters)
        assert filters[0] == [8, 8]


def test_train_does_not_drop_pruned_weights(ready: Home, nets5: Path) -> None:
    """--cfg of the dense network beside a pruned --weights: upstream would train an untrained network, and say nothing.

    No run folder is left.
    """
    shutil.copy(nets5 / "pruned.pt", ready.root)
    words = ("train.py", "--weights", "pruned.pt", "--cfg", "yolov5n.yaml", "--data", "VOC.yaml", "--device", "cpu")
    said = ready.python(*words, "--img", "64", "--workers", "0", code=2)
    assert "--cfg" in said and "is not the pruned network of --weights" in said and "leave --cfg out" in said
    assert "Traceback" not in said and not list((ready.root / "runs").glob("train/*"))
