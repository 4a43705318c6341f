# SPDX-License-Identifier: AGPL-3.0-or-later
"""The box integral of ONNX files: the same numbers as upstream's, in every kind of head and file that has one."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest
import torch
from runner import Runner

pytestmark = pytest.mark.upstream
FILES = (
    ("yolo11n.yaml", "dynamic=true"), ("yolov8n.yaml", "opset=12"), ("yolov8n-seg.yaml",), ("yolov8n-pose.yaml",),
    ("yolov8n-obb.yaml",), ("yolov10n.yaml",),
)


@pytest.fixture
def decoding(upstream: ModuleType) -> ModuleType:
    """The drop-in, in this process."""
    from ultralytics.prunekit import decoding as module

    return module


@pytest.mark.parametrize("bins", [16, 1, 7])
def test_same_integral_to_rounding(decoding: ModuleType, bins: int) -> None:
    """In float64, for images in a batch, and for logits of which most vanish beside the largest."""
    from ultralytics.nn.modules.block import DFL

    usual, fast = DFL(bins).double(), DFL(bins).double()
    decoding.integrate_boxes_fast(torch.nn.Sequential(fast))
    logits = torch.randn(3, 4 * bins, 21, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    for scale in (1, 30, 1e4):
        assert (fast(logits * scale) - usual(logits * scale)).abs().max() <= 1e-13 * bins


def test_half_precision_does_not_overflow(decoding: ModuleType) -> None:
    """exp(12) is more than half precision can hold."""
    from ultralytics.nn.modules.block import DFL

    fast = DFL(16).half()
    decoding.integrate_boxes_fast(torch.nn.Sequential(fast))
    logits = torch.zeros(1, 64, 5, dtype=torch.half)
    logits[:, 5::16] = 6e4
    assert fast(logits).tolist() == [[[5.0] * 5] * 4]


def test_other_formats_and_other_integrals_stay(decoding: ModuleType) -> None:
    """What begins with an ONNX file and goes on to another compiler keeps upstream's form; so does a subclass."""
    from ultralytics.nn.modules.block import DFL
    from ultralytics.prunekit import hooks

    class Own(DFL):
        """Somebody's own integral."""

    changed = {}
    for name in ("engine", "saved_model", "onnx"):
        model = torch.nn.Sequential(DFL(), Own())
        hooks.fast_boxes(SimpleNamespace(args=SimpleNamespace(format=name), model=model))
        changed[name] = ["forward" in vars(module) for module in model]
    assert changed == {"engine": [False, False], "saved_model": [False, False], "onnx": [True, False]}


@pytest.mark.slow
@pytest.mark.parametrize("words", FILES, ids=" ".join)
def test_every_file_answers_as_upstreams(python: Runner, fork: Path, words: tuple[str, ...]) -> None:
    """Other tasks, an end-to-end head, another opset; a dynamic file also at another batch and size."""
    (found,) = python.probe(fork, ("exported", *words))
    assert found["inner softmaxes"] == 0 and 0 < found["off"] < 1e-5
    assert found["after"] == 0
