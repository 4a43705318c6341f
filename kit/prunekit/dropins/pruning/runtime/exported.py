# SPDX-License-Identifier: AGPL-3.0-or-later
"""An exported network, whatever its form: an ONNX file, or the folder of an OpenVINO network (IR: .xml and .bin)."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from ..errors import PruneError
from ..files import SCRATCH, copy_whole

OPENVINO = "_openvino_model"  # how the name of such a folder ends: all upstreams know it by that


@dataclass(frozen=True)
class Exported:
    """An exported network that is ready to run on the CPU.

    Attributes:
        image: height and width of its input, in pixels.
        outputs: its outputs for one image (1, channels, image, image).
    """

    image: int
    outputs: Callable[[Tensor], list[Tensor]]


def open_exported(path: Path) -> Exported:
    """Load an ONNX file in ONNX Runtime, an OpenVINO folder in OpenVINO."""
    if path.name.endswith(OPENVINO):
        import openvino

        network = openvino.Core().compile_model(str(file_of(path)), "CPU", {"PERFORMANCE_HINT": "LATENCY"})
        return Exported(
            int(network.input(0).shape[-1]),
            lambda image: [torch.from_numpy(value.copy()) for value in network([image.numpy()]).values()],
        )
    import onnxruntime

    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    source = session.get_inputs()[0]
    return Exported(
        int(source.shape[-1]),
        lambda image: [torch.from_numpy(value) for value in session.run(None, {source.name: image.numpy()})],
    )


def file_of(path: Path) -> Path:
    """What a runtime opens: the file itself, or the .xml of an OpenVINO folder."""
    return next(path.glob("*.xml")) if path.is_dir() else path


def bytes_of(path: Path) -> int:
    """Bytes of a file, or of all files of a folder."""
    files = path.rglob("*") if path.is_dir() else [path]
    return sum(file.stat().st_size for file in files if file.is_file())


def copy_exported(source: Path, target: Path) -> None:
    """Copy a file or a folder, whole; what was there goes."""
    if not source.is_dir():
        return copy_whole(source, target)
    scratch = target.with_name(f"{SCRATCH}{os.getpid()}-{target.name}")
    try:
        shutil.copytree(source, scratch)
        shutil.rmtree(target, ignore_errors=True)
        os.replace(scratch, target)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return None


def refuse_exported(weights: str | Path) -> None:
    """Quantizing and pruning start from a checkpoint.

    Raises:
        PruneError: `weights` is named as an exported network is.
    """
    place = Path(weights)
    if place.suffix in (".onnx", ".xml") or place.name.endswith(OPENVINO):
        raise PruneError(
            f"--weights {weights}: an exported network (it may be INT8 already). Give the checkpoint that it was made "
            "from: best.pt, pruned.pt"
        )
