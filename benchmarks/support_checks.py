# SPDX-License-Identifier: AGPL-3.0-or-later
"""What support.py holds a pruned network against: an unpatched upstream, onnxruntime, torch's own counter.

`python support_checks.py v8 FOLDER` is the process that has the unpatched upstream in FOLDER, and no fork: a checkpoint
a line, answered by a file with the outputs.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import subprocess
import sys
import tarfile
from io import BytesIO
from pathlib import Path
from types import SimpleNamespace
from typing import Any

OURS = {
    "v8": ("ultralytics.prunekit.adapter", "Ultralytics"),
    "v5": ("prunekit_v5.adapter", "Yolov5"),
    "v7": ("prunekit_v7.adapter", "Yolov7"),
}


class Stock:
    """A process with the upstream that the fork was made from: the tree of the fork's first commit."""

    def __init__(self, kind: str, fork: Path, folder: Path) -> None:
        git = ["git", "-C", str(fork)]
        said = subprocess.run([*git, "rev-list", "--max-parents=0", "HEAD"], check=True, capture_output=True).stdout
        tree = subprocess.run([*git, "archive", said.decode().split()[-1]], check=True, capture_output=True).stdout
        with tarfile.open(fileobj=BytesIO(tree)) as archive:
            archive.extractall(folder, filter="data")
        # YOLOv5 and YOLOv7 are from before torch 2.6, whose torch.load reads no networks by default
        path = os.pathsep.join([str(folder), *filter(None, [os.environ.get("PYTHONPATH")])])
        env = {**os.environ, "PYTHONPATH": path, "TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD": "1"}
        words = [sys.executable, str(Path(__file__).resolve()), kind, str(folder)]
        pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        self._process = subprocess.Popen(words, env=env, cwd=folder, **pipes)

    def outputs(self, weights: Path, image: Any) -> list[Any]:
        """What the unpatched upstream's network gives for an image.

        Raises:
            AssertionError: with what the upstream raised.
        """
        import torch

        assert self._process.stdin and self._process.stdout
        torch.save(image, weights.with_suffix(".image"))
        self._process.stdin.write(f"{weights}\n")
        self._process.stdin.flush()
        said = next((line for line in self._process.stdout if line.startswith("SAID")), "SAID it ended")
        if said.strip() != "SAID":
            raise AssertionError(f"stock upstream: {said[5:].strip()}")
        return torch.load(weights.with_suffix(".out"))


def further(here: SimpleNamespace, model: Any, small: Any, part: Any, stock: Stock, folder: Path) -> dict[str, Any]:
    """A pruned network as a checkpoint: largest differences (relative) in an unpatched upstream and in ONNX.

    Args:
        model: stock classes, its structure closed in `model.yaml`.
        small: one image.
    """
    import torch

    weights = folder / "pruned.pt"
    model.eval().requires_grad_(False)
    torch.save({"model": model, "ema": None, "epoch": -1, "train_args": {"task": getattr(model, "task", "")}}, weights)
    image = torch.randn(small.shape, generator=torch.Generator().manual_seed(0))
    own, theirs = loaded_outputs(here.kind, weights, image), stock.outputs(weights, image)
    differ = part("planning.compare").difference
    found = {"stock": max(differ(a, b) for a, b in zip(own, theirs, strict=True))}
    return {**found, "onnx": _onnx(here.kind, weights, small.shape[-1], part, folder)}


def _onnx(kind: str, weights: Path, size: int, part: Any, folder: Path) -> float:
    """Largest difference of upstream's ONNX export, by onnxruntime, and torch."""
    module, name = OURS[kind]
    family = getattr(importlib.import_module(module), name)({"device": "cpu", "imgsz": size, "img_size": [size, size]})
    model = family.load(weights)
    family.ranked = bool(getattr(model, "end2end", False))
    family.task = getattr(model, "task", None) or ("segment" if "Segment" in type(model).__name__ else "detect")
    with contextlib.redirect_stdout(sys.stderr):
        family.export(weights, folder / "pruned.onnx")
        error = part("runtime.onnx_check").check_onnx(folder / "pruned.onnx", family, weights, size)
    assert error is not None, "onnxruntime is not installed"
    return float(error)


def products(graph: Any, keep: dict[str, int]) -> int:
    """Weights times positions of all layers of a graph, for these widths: what torch's counter counts, halved."""
    total = 0
    for layer in graph.costs.layers:
        if layer.kind != "each":
            pairs = layer.outputs(keep) * (1 if layer.kind == "depthwise" else layer.inputs(keep)) // layer.groups
            total += layer.kernel * pairs * layer.places
    return total


def flops(model: Any, image: Any) -> int:
    """Multiply-adds of all layers with weights, by torch's counter: products of two activations are no layer's."""
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    kinds = torch.ops.aten.convolution, torch.ops.aten.addmm, torch.ops.aten.mm
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model.eval()(image)
    return int(sum(counter.get_flop_counts()["Global"].get(kind, 0) for kind in kinds)) // 2


def loaded_outputs(kind: str, weights: Path, image: Any) -> list[Any]:
    """A checkpoint's outputs, by the loader that this process's upstream has."""
    import torch

    if kind == "v8":
        model = importlib.import_module("ultralytics.nn.tasks").load_checkpoint(str(weights))[0]
    else:
        model = importlib.import_module("models.experimental").attempt_load(str(weights), torch.device("cpu"))
    with torch.no_grad():
        return _floats(model.float().eval()(image))


def _floats(value: Any) -> list[Any]:
    if hasattr(value, "is_floating_point"):
        return [value] if value.is_floating_point() else []
    parts = value.values() if isinstance(value, dict) else value if isinstance(value, (list, tuple)) else ()
    return [tensor for part in parts for tensor in _floats(part)]


def _serve(kind: str) -> None:
    import torch

    torch.set_num_threads(1)
    for line in sys.stdin:
        weights = Path(line.strip())
        try:
            outputs = loaded_outputs(kind, weights, torch.load(weights.with_suffix(".image")))
            torch.save(outputs, weights.with_suffix(".out"))
            print("SAID", flush=True)
        except Exception as error:  # noqa: BLE001 - the matrix says what is missing
            print("SAID", json.dumps(f"{type(error).__name__}: {error}"[:200]), flush=True)


if __name__ == "__main__":
    sys.path[0] = sys.argv[2]  # in the place of this file's own folder
    _serve(sys.argv[1])
