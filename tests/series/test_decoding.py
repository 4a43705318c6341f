# SPDX-License-Identifier: AGPL-3.0-or-later
"""The box integral of ONNX files gives upstream's numbers, in each task with boxes and in files of several kinds."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest
import torch
from runner import Runner

pytestmark = pytest.mark.upstream
FILES = {
    ("yolo11n.yaml", "dynamic=true"): 1e-5,
    ("yolov8n.yaml", "opset=12"): 1e-5,
    ("yolov8n.yaml", "batch=2"): 1e-5,
    ("yolov8n.yaml", "simplify=true"): 1e-5,
    ("yolov8n-seg.yaml",): 1e-5,
    ("yolov8n-pose.yaml",): 1e-5,
    ("yolov8n-obb.yaml",): 1e-5,
    ("yolov10n.yaml",): 1e-5,
    ("yolo12n.yaml",): 1e-5,
    ("yolov8n.yaml", "half=true"): 2e-3,
}


@pytest.fixture
def decoding(upstream: ModuleType) -> ModuleType:
    """The drop-in, in this process."""
    from ultralytics.prunekit import decoding as module

    return module


@pytest.mark.parametrize("bins", [16, 2, 7])
def test_same_integral_to_rounding(decoding: ModuleType, bins: int) -> None:
    """In float64, for images in a batch, and for logits of which most vanish beside the largest."""
    from ultralytics.nn.modules.block import DFL

    usual, fast = DFL(bins).double(), DFL(bins).double()
    decoding.integrate_boxes_fast(torch.nn.Sequential(fast))
    logits = torch.randn(3, 4 * bins, 21, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    for scale in (1, 30, 1e4):
        assert (fast(logits * scale) - usual(logits * scale)).abs().max() <= 1e-13


def test_half_precision_does_not_overflow(decoding: ModuleType) -> None:
    """exp(12) is more than half precision can hold."""
    from ultralytics.nn.modules.block import DFL

    fast = DFL(16).half()
    decoding.integrate_boxes_fast(torch.nn.Sequential(fast))
    logits = torch.zeros(1, 64, 5, dtype=torch.half)
    logits[:, 5::16] = 6e4
    assert fast(logits).tolist() == [[[5.0] * 5] * 4]


def test_other_formats_and_other_integrals_stay(decoding: ModuleType) -> None:
    """What begins with an ONNX file and goes on to another compiler keeps upstream's form; so do INT8, a subclass."""
    from ultralytics.nn.modules.block import DFL
    from ultralytics.prunekit import hooks

    class Own(DFL):
        """Somebody's own integral."""

    changed = []
    kinds = ("engine", {}), ("saved_model", {}), ("onnx", {"quantize": 8}), ("onnx", {"int8": True})
    floats = ("onnx", {}), ("ONNX", {"quantize": 16}), ("onnx", {"quantize": None, "int8": False})
    for name, more in (*kinds, *floats):
        model = torch.nn.Sequential(DFL(), Own())
        hooks.fast_boxes(SimpleNamespace(args=SimpleNamespace(format=name, **more), model=model))
        changed.append(["forward" in vars(module) for module in model])
    assert changed == [[False, False]] * len(kinds) + [[True, False]] * len(floats)


@pytest.mark.slow
@pytest.mark.parametrize(("words", "near"), FILES.items(), ids=[" ".join(words) for words in FILES])
def test_files_answer_as_upstreams(python: Runner, fork: Path, words: tuple[str, ...], near: float) -> None:
    """All outputs; a dynamic file also at another batch and size. Two nodes less exact in half precision: 8e-4 seen."""
    (found,) = python.probe(fork, ("exported", *words))
    assert 0 < found.pop("off") < near
    assert found == {"inner softmaxes": 0, "changed": 0, "rounded": 0}
