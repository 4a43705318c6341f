# SPDX-License-Identifier: AGPL-3.0-or-later
"""An exported network is held against torch before anyone trusts it."""

from __future__ import annotations

import math
from pathlib import Path

import torch
from torch import Tensor

from ..errors import PruneError
from ..family.contract import Family

TOLERANCE = 1e-3  # relative to the largest output; float32 kernels of two runtimes differ by about 1e-6


def check_onnx(path: Path, family: Family, weights: Path, image: int) -> float | None:
    """Run an ONNX file and its torch original on one random image.

    Args:
        path: the ONNX file.
        family: adapter that gives the torch outputs.
        weights: the checkpoint the file was exported from.
        image: height and width in pixels.

    Returns:
        The largest absolute difference relative to the largest absolute output, or None without onnxruntime.

    Raises:
        PruneError: the two differ by more than `TOLERANCE`, the file gives other shapes, or an output is not finite.
    """
    try:
        import onnxruntime
    except ImportError:
        print(f"warning: onnxruntime is not installed, {path.name} was not checked (pip install onnxruntime)")
        return None
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    channels = session.get_inputs()[0].shape[1]
    batch = torch.rand(1, channels, image, image, generator=torch.Generator().manual_seed(0))
    got = [torch.from_numpy(value) for value in session.run(None, {session.get_inputs()[0].name: batch.numpy()})]
    wanted = [value.detach().float() for value in family.reference(weights, batch)]
    shapes, expected = ([tuple(value.shape) for value in values] for values in (got, wanted))
    if shapes != expected:
        raise PruneError(f"{path}: ONNX outputs have the shapes {shapes}, torch's {expected}.")
    for whose, values in (("ONNX", got), ("torch", wanted)):  # what is no number passes any comparison
        if broken := [at for at, value in enumerate(values, 1) if not bool(value.isfinite().all())]:
            raise PruneError(f"{path}: output {broken[0]} of {len(values)} of {whose} is not finite.")
    measure = _apart_as_sets if family.ranked else _apart
    error = max(measure(a, b) for a, b in zip(got, wanted, strict=True))
    if not error <= TOLERANCE:
        raise PruneError(f"{path}: ONNX and torch differ by {error:.2e} of the largest output (limit {TOLERANCE:g}).")
    return error


def _apart(got: Tensor, wanted: Tensor) -> float:
    """Largest absolute difference relative to the largest absolute value."""
    return float((got - wanted).abs().max() / wanted.abs().max().clamp_min(1e-12))


def _apart_as_sets(got: Tensor, wanted: Tensor) -> float:
    """The same for lists of detections (1, n, 4 box + 1 score + ...), where equal scores may change places.

    Scores are compared in order; each detection with its nearest counterpart, but for those that tie with the last one:
    which of them made the list is chance.
    """
    if got.dim() != 3 or got.shape[-1] < 6:
        return _apart(got, wanted)
    rows, others = got[0], wanted[0]
    scores = _apart(rows[:, 4].sort().values, others[:, 4].sort().values)
    safe = others[others[:, 4] > others[:, 4].min() + TOLERANCE]
    if not len(safe):
        return scores
    nearest = torch.cdist(safe, rows, p=math.inf).min(1).values.max()
    return max(scores, float(nearest / others.abs().max().clamp_min(1e-12)))
