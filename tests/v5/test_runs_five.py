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

# Upstream's scripts, one after the other in one process: most of a script's time is importing torch.
DRIVER = """
import json, runpy, sys, torch
from models.experimental import attempt_load
model = attempt_load(sys.argv[1], device="cpu", fuse=False)
print("COUNT", sum(p.numel() for p in model.parameters()))
for words in json.loads(sys.argv[2]):
    sys.argv = words
    try:
        runpy.run_path(words[0], run_name="__main__")
    except KeyError as error:
        print("REFUSED", error)
print("HUB", type(torch.hub.load(".", "custom", "copy.pt", source="local", device="cpu")).__name__)
"""


@pytest.fixture
def ready(home: Home, nets5: Path, tiny5: dict[str, Path]) -> Home:
    """A fork with an untrained network of ten classes as best.pt and the tiny set as VOC.yaml."""
    shutil.copy(tiny5["detect"], home.root / "VOC.yaml")
    shutil.copy(nets5 / "dense.pt", home.root / "best.pt")
    return home


def test_published_line(ready: Home, pristine5: Path, copy5: Callable[[Path], Home], tiny5: dict[str, Path]) -> None:
    """The line as it is published; the run's files; and a pristine clone that uses the result but does not train it."""
    words = [*PUBLISHED.split(), *QUICK, "--img", "96"]  # the last one counts
    output = ready.python(*words, cold=True)  # without what warm.py imports
    report, run = ready.report("VOC/prune_yolo"), ready.root / "VOC/prune_yolo"
    assert output.index("parameters  196,218 ->") < output.index("Step 1: removed")
    assert report["status"] == "done" and report["family"] == "yolov5" and report["image"] == 96
    sizes = [row["params"] for row in (report["dense"], *report["steps"])]
    assert len(sizes) == 6 and sizes == sorted(sizes, reverse=True)
    assert len({json.dumps(step["gains"]) for step in report["steps"]}) == 1 and report["steps"][0]["gains"]["obj"] > 0
    assert "Loss weights in every step: box 0.075, obj" in (run / "report.md").read_text()
    assert report["settings"]["importance"] == "lamp" and report["final"]["onnx_max_error"] < 1e-3
    for name in FILES:
        assert (run / name).stat().st_size > 100, name
    assert not list(run.rglob(".prunekit-*")), "a scratch file was left"
    _pristine_uses_it(copy5(pristine5), run, sizes[-1], tiny5["detect"])


def _pristine_uses_it(pristine: Home, run: Path, parameters: int, data: Path) -> None:
    """Load, validate, detect, export, hub; train, --cfg and resume stop with prunekit's name."""
    common = ["--data", data, "--img", "64", "--device", "cpu"]
    model, copy = run / "pruned.pt", shutil.copy(run / "pruned.pt", pristine.root / "copy.pt")
    resumable = max(run.glob("step*_finetune")) / "weights/last.pt"
    train = ["train.py", *common, "--epochs", "1", "--workers", "0"]
    refused = [["--weights", model], ["--weights", "", "--cfg", run / "pruned.yaml"], ["--resume", resumable]]
    lines = [
        ["val.py", "--weights", model, *common, "--workers", "0"],
        ["detect.py", "--weights", model, "--source", "data/images/bus.jpg", *common[2:]],
        ["export.py", "--weights", copy, "--img", "64", "--include", "onnx"],
        *([*train, *words] for words in refused),
    ]
    said = pristine.python("-c", DRIVER, model, json.dumps(lines, default=str)).splitlines()
    assert f"COUNT {parameters}" in said and "HUB AutoShape" in said
    for name in ("val/exp/val_batch0_pred.jpg", "detect/exp/bus.jpg"):
        assert (pristine.root / "runs" / name).is_file(), name
    assert (pristine.root / "copy.onnx").stat().st_size > parameters
    stops = [line for line in said if line.startswith("REFUSED")]
    assert len(stops) == len(refused)
    assert all("pruned by prunekit: only a prunekit fork can build this network" in line for line in stops), stops


def test_one_shot_line(ready: Home, nets5: Path) -> None:
    """The line as it is published, on upstream's yolov5n: a quarter of the parameters is left, in upstream's folder.

    452,311 in exact halves; the stem's 16 channels are the one multiple of 16 there is.
    """
    shutil.copy(nets5 / "nano.pt", ready.root / "best.pt")
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
    home, small = copy5(fork5), f"{' '.join(QUICK)} --img 64"
    detect, dense = f"--data {tiny5['detect']} {small} --project runs", f"--weights {nets5 / 'dense.pt'}"
    masks = f"--weights {nets5 / 'seg.pt'} --data {tiny5['segment']} --mask-ratio 2"
    ranked = f"prune {dense} {detect} --no-export"
    first = dict.fromkeys(CRITERIA, "--epochs 0") | {"bn_scale": "--epochs 1 --sparsity 0.01"}
    old, pruned, last = nets5 / "old.pt", "runs/old/pruned.pt", "runs/sparse_only/weights/last.pt"
    lines = [
        f"prune {masks} {small} --epochs 1 --target_params 0.5 --scope global",
        f"prune --weights {nets5 / 'six.pt'} {detect} --epochs 1 --name six",
        *(f"{ranked} --importance {name} {words} --name {name}" for name, words in first.items()),
        f"prune --weights {old} {detect} --epochs 1 --recalibrate --distill 0.5 --name old",
        f"latency --dense {old} --pruned {pruned} --imgsz 64 --threads 1 --rounds 9 --json speed.json",
        f"quantify --weight {pruned} --method dynamic --data {tiny5['detect']} --img 64 --workers 0 --project runs",
        f"train {dense} {detect} --epochs 4 --sparsity 1 --name sparse_only",
        f"inspect --weights {last} --json",
        f"inspect {dense} --json",
    ]
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

    Pruned, recalibrated, taught, exported, timed and quantized; --single-cls is taken from the checkpoint.
    """
    report, said = several("runs/old"), several("")["said"]
    assert report["final"]["onnx_max_error"] < 1e-3 and report["arguments"]["single_cls"] is True
    assert report["settings"]["distill"] == 0.5 and report["steps"][0]["params"] < 0.3 * report["dense"]["params"]
    assert "BatchNorm statistics recalibrated on 2 training batches" in said
    assert f"MACs ratio={report['dense']['macs'] / report['steps'][0]['macs']}" in said
    home = report["folder"].parents[1]
    record = json.loads(next(home.rglob("quantify.json")).read_text())
    assert record["onnx_max_error"] < 1e-3 and record["image"] == 64
    assert "nn.LeakyReLU(0.1)" in (report["folder"] / "pruned.yaml").read_text()


def test_latency_line5(several: Callable[[str], dict[str, Any]]) -> None:
    """Both runtimes; counts are those of the run."""
    report = several("runs/old")
    found = json.loads((report["folder"].parents[1] / "speed.json").read_text())
    assert set(found["speeds"]) == {"torch", "onnxruntime"} and found["image"] == 64
    pruned = found["networks"]["pruned"]
    assert pruned["params"] == report["steps"][0]["params"] and pruned["macs_ratio"] > 2
    assert "MACs ratio is arithmetic" in several("")["said"]


def test_other_criteria(several: Callable[[str], dict[str, Any]]) -> None:
    """Those that look at gradients too; each prunes to the same widths, for the ratio is local."""
    reports = [several(f"runs/{name}") for name in CRITERIA]
    assert [report["settings"]["importance"] for report in reports] == list(CRITERIA)
    assert {report["steps"][0]["params"] for report in reports} == {51_434}


def test_sparsity_first_and_only_first(several: Callable[[str], dict[str, Any]]) -> None:
    """--sparsity trains under the penalty once; fine-tuning is without it."""
    run = several("runs/bn_scale")["folder"]
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
    for name, convolutions in (("pruned.pt", 19), ("pruned-seg.pt", 24)):  # TFSegment makes its two outputs twice
        output = ready.python(HERE / "tf_five.py", nets5 / name)
        answer = json.loads(output.rpartition("ANSWERS")[2].splitlines()[0])
        if "difference" in answer:
            assert answer["difference"] < 1e-3
            continue
        filters = answer["filters"]
        assert len(filters) == convolutions and all(wanted == there for wanted, there in filters)
        assert filters[0] == [8, 8]
