# SPDX-License-Identifier: AGPL-3.0-or-later
"""Every path on which upstream rebuilds a network keeps the pruned one; a stock upstream refuses, naming prunekit."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from runner import HERE, Answers, Runner

pytestmark = pytest.mark.upstream
PRUNED = 759_638  # yolov8n with ten classes, every group halved
KEPT = {"before": PRUNED, "training": PRUNED, "after": PRUNED, "nc": 10}
SMALL = ("imgsz=64", "batch=8", "device=cpu", "workers=0", "plots=False", "epochs=1", "optimizer=SGD", "exist_ok=True")


def test_train_from_checkpoint_yaml_and_from_scratch(answers: Answers) -> None:
    """YOLO(pruned.pt).train, YOLO(pruned.yaml).train, and pretrained=False: the shape without the weights."""
    assert answers["train"] == [KEPT] * 3


def test_fine_tuning_on_fewer_classes(answers: Answers) -> None:
    """single_cls makes the ten classes one: nine output channels go in each of three class layers of 32 inputs."""
    less = 3 * 9 * (32 + 1)
    assert answers["one class"] == [{"before": PRUNED, "training": PRUNED - less, "after": PRUNED - less, "nc": 1}]


def test_resume_after_an_interruption(answers: Answers) -> None:
    """The epochs that were missing, in the pruned shape, under the penalty that the training began with."""
    assert answers["resume"] == [{"epochs": [1, 2], "after": PRUNED, "sparsity": 0.01}]


def test_upstreams_own_distillation(answers: Answers) -> None:
    """distill_model=dense.pt: the teacher is beside the pruned student in training, and in no checkpoint."""
    (found,) = answers["distilled"]
    assert found == {**KEPT, "training": found["training"]} and found["training"] > 2 * PRUNED


@pytest.mark.slow
def test_upstreams_own_quantization_aware_training(fork: Path, python: Runner, checkpoints: Path, digits: Path) -> None:
    """quantize=8: the pruned widths, as many parameters, and a written network that loads."""
    pytest.importorskip("modelopt", reason="upstream's INT8 training needs nvidia-modelopt")
    assert python.probe(fork, ("train", checkpoints / "pruned.pt", digits, "quantize=8")) == [KEPT]


@pytest.mark.slow
def test_the_yolo_command(fork: Path, python: Runner, checkpoints: Path, digits: Path) -> None:
    """`yolo train model=pruned.pt`, as the installed command runs it."""
    runs = python.folder / "runs"
    words = ("train", f"model={checkpoints / 'pruned.pt'}", f"data={digits}", f"project={runs}", "name=cli", *SMALL)
    program = "from ultralytics.cfg import entrypoint; entrypoint()"
    done = python(fork, "-c", program, *words, YOLO_VERBOSE="true")
    assert done.returncode == 0, done.stderr[-2000:]
    assert "pruned structure kept" in done.stdout + done.stderr
    assert _parameters(fork, python, runs / "cli/weights/best.pt") == PRUNED


@pytest.mark.slow
def test_tuner(fork: Path, python: Runner, checkpoints: Path, digits: Path) -> None:
    """Each trial is a process of its own that gets a path."""
    (sizes,) = python.probe(fork, ("tune", checkpoints / "pruned.pt", digits))
    assert sizes and set(sizes) == {PRUNED}


@pytest.mark.slow
def test_two_ddp_processes(fork: Path, python: Runner, checkpoints: Path, digits: Path) -> None:
    """Upstream's own DDP launcher; ranks rebuild from the path, hold the same weights, and have AMP off."""
    done = python(fork, HERE / "ddp.py", checkpoints / "pruned.pt", digits, python.folder / "runs")
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-3000:]
    ranks = sorted(json.loads(f.read_text()) for f in python.folder.glob("rank*.json"))
    assert [r[:3] for r in ranks] == [[0, PRUNED, False], [1, PRUNED, False]]
    assert ranks[0][3] == ranks[1][3]  # the sum of all weights after the training
    assert ranks[0][4] == 0.01  # sparsity, passed on by upstream
    assert _parameters(fork, python, python.folder / "runs/ddp/weights/last.pt") == PRUNED


@pytest.mark.slow
def test_stock_upstream_uses_but_does_not_train(
    fork: Path, stock: Path, python: Runner, checkpoints: Path, digits: Path
) -> None:
    """Load, validate, predict, export give what the fork gives; train, resume and YAML stop with prunekit's name."""
    model = checkpoints / "pruned.pt"
    python.probe(fork, ("interrupted_only", model, digits))
    broken = python.folder / "runs/cut/weights/last.pt"
    (ours,) = python.probe(fork, ("use", model, digits))
    theirs, *refused = python.probe(
        stock,
        ("use", model, digits),
        ("train", model, digits),
        ("train", checkpoints / "pruned.yaml", digits),
        ("resume", broken),
    )
    assert theirs.pop("package") == str(stock / "ultralytics") and ours.pop("package") == str(fork / "ultralytics")
    assert theirs == ours and ours["parameters"] == PRUNED and ours["boxes"] > 0 and ours["onnx"] > PRUNED
    assert all(said.startswith("KeyError") and "prunekit" in said for said in refused), refused


def _parameters(fork: Path, python: Runner, weights: Path) -> Any:
    return python.probe(fork, ("size", weights))[0]
