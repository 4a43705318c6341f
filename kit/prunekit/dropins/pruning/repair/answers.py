# SPDX-License-Identifier: AGPL-3.0-or-later
"""How far a network's answers are from another's, where it matters for detection.

Nearly all of a detector's answers are background: squared differences of its raw outputs say little of what is found.
Here boxes count where the dense network is confident of an object, classes as probabilities, and each kind of answer
for itself. Boxes count most: an error of a tenth of a side costs a box its place at the stricter thresholds of
mAP50-95, and is little beside the variance of all sides. Two forms of heads are known (box, objectness and classes in
the last dimension, as of YOLOv5 and YOLOv7; `boxes` and `scores` by name, as of ultralytics); what has another form
counts as it is.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

# A kind of answer that is as good as constant (the class of YOLOv5, where there is only one) has hardly any variance,
# by which a difference that means nothing would outweigh all others: at least this share of its mean square counts.
FLAT = 1e-2
# What boxes count beside 1 of the rest. On blood cells (docs/benchmarks.md) half a network without training kept 0.575
# of 0.608 mAP50-95 with 1, 0.600 with 10, 0.601 with 30, 0.605 with 50 and 100, 0.596 with 1000.
BOXES = 50.0
Part = tuple[Tensor, Tensor, Tensor | None, float]  # found, wanted (places, values), confidence (places, 1), weight


def apart(found: list[Any], wanted: list[Any]) -> float:
    """Squared difference relative to the second's variance (at least FLAT of its mean square), a mean over the kinds.

    Boxes count BOXES times.

    Args:
        found, wanted: the outputs of two networks, by batch. What has no counterpart of its shape is left out: heads
            hand on features, whose widths differ.
    """
    sums: dict[int, Tensor] = {}
    weights: dict[int, float] = {}
    for own, other in zip(found, wanted, strict=True):
        for place, (a, b, sure, counts) in enumerate(_parts(own, other)):
            weights[place] = counts
            weight = torch.ones_like(b[:, :1]) if sure is None else sure
            moments = (weight * (a - b).pow(2), weight * b, weight * b.pow(2), weight.expand_as(b))
            new = torch.stack([each.double().sum() for each in moments])
            sums[place] = sums[place] + new if place in sums else new
    shares = {
        place: float(left / torch.maximum(square - mean**2 / many, FLAT * square))
        for place, (left, mean, square, many) in sums.items()
        if square > 0
    }
    whole = sum(weights[place] for place in shares)
    return sum(weights[place] * share for place, share in shares.items()) / whole if shares else float("nan")


def _parts(own: Any, other: Any) -> Iterator[Part]:
    """The kinds of answers in nested outputs."""
    if isinstance(other, Tensor):
        if own.shape == other.shape and other.is_floating_point():
            yield from _anchors(own, other) if other.dim() == 5 else [(_rows(own), _rows(other), None, 1.0)]
    elif isinstance(other, dict) and {"boxes", "scores"} <= set(other):
        yield from _named(own, other)
    elif isinstance(other, (dict, list, tuple)):
        pairs = zip(*((x.values() if isinstance(x, dict) else x) for x in (own, other)), strict=True)
        for a, b in pairs:
            yield from _parts(a, b)


def _rows(tensor: Tensor) -> Tensor:
    return tensor.reshape(-1, 1)


def _anchors(own: Tensor, other: Tensor) -> Iterator[Part]:
    """(n, anchors, h, w, 4 + 1 + classes and more), all of which go through a sigmoid."""
    a, b = (each.sigmoid().flatten(0, -2) for each in (own, other))
    sure = b[:, 4:5]
    yield a[:, :4], b[:, :4], sure, BOXES
    yield a[:, 4:5], b[:, 4:5], None, 1.0
    if b.shape[1] > 5:
        yield a[:, 5:], b[:, 5:], sure, 1.0


def _named(own: dict[str, Any], other: dict[str, Any]) -> Iterator[Part]:
    """Tensors (n, values, places) by name; scores are logits of classes, the rest counts where one is likely."""
    sure = other["scores"].sigmoid().amax(1, keepdim=True).transpose(1, 2).reshape(-1, 1)
    for name, wanted in other.items():
        if not isinstance(wanted, Tensor) or own[name].shape != wanted.shape:
            continue
        a, b = (own[name].sigmoid(), wanted.sigmoid()) if name == "scores" else (own[name], wanted)
        if b.dim() == 3 and b.shape[::2] == other["scores"].shape[::2]:
            a, b = (each.transpose(1, 2).flatten(0, 1) for each in (a, b))
            yield a, b, None if name == "scores" else sure, BOXES if name == "boxes" else 1.0
        else:
            yield _rows(a), _rows(b), None, 1.0
