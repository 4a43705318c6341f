# SPDX-License-Identifier: AGPL-3.0-or-later
"""How far a network's answers are from another's, where it matters for detection.

Nearly all of a detector's answers are background: squared differences of its raw outputs say little of what is found.
Here boxes count where the dense network is confident of an object, classes as probabilities, and each kind of answer
for itself. Two forms of heads are known (box, objectness and classes in the last dimension, as of YOLOv5 and YOLOv7;
`boxes` and `scores` by name, as of ultralytics); what has another form counts as it is.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

# A kind of answer that is as good as constant (the class of YOLOv5, where there is only one) has hardly any variance,
# by which a difference that means nothing would outweigh all others: at least this share of its mean square counts.
FLAT = 1e-2
Part = tuple[Tensor, Tensor, Tensor | None]  # found, wanted (places, values), confidence (places, 1)


def apart(found: list[Any], wanted: list[Any]) -> float:
    """Squared difference relative to the second's variance (at least FLAT of its mean square), averaged over the kinds.

    Args:
        found, wanted: the outputs of two networks, by batch. What has no counterpart of its shape is left out: heads
            hand on features, whose widths differ.
    """
    sums: dict[int, Tensor] = {}
    for own, other in zip(found, wanted, strict=True):
        for place, (a, b, sure) in enumerate(_parts(own, other)):
            weight = torch.ones_like(b[:, :1]) if sure is None else sure
            moments = (weight * (a - b).pow(2), weight * b, weight * b.pow(2), weight.expand_as(b))
            new = torch.stack([each.double().sum() for each in moments])
            sums[place] = sums[place] + new if place in sums else new
    shares = [
        float(left / torch.maximum(square - mean**2 / many, FLAT * square))
        for left, mean, square, many in sums.values()
        if square > 0
    ]
    return sum(shares) / len(shares) if shares else float("nan")


def _parts(own: Any, other: Any) -> Iterator[Part]:
    """The kinds of answers in nested outputs."""
    if isinstance(other, Tensor):
        if own.shape == other.shape and other.is_floating_point():
            yield from _anchors(own, other) if other.dim() == 5 else [(_rows(own), _rows(other), None)]
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
    yield a[:, :4], b[:, :4], sure
    yield a[:, 4:5], b[:, 4:5], None
    if b.shape[1] > 5:
        yield a[:, 5:], b[:, 5:], sure


def _named(own: dict[str, Any], other: dict[str, Any]) -> Iterator[Part]:
    """Tensors (n, values, places) by name; scores are logits of classes, the rest counts where one is likely."""
    sure = other["scores"].sigmoid().amax(1, keepdim=True).transpose(1, 2).reshape(-1, 1)
    for name, wanted in other.items():
        if not isinstance(wanted, Tensor) or own[name].shape != wanted.shape:
            continue
        a, b = (own[name].sigmoid(), wanted.sigmoid()) if name == "scores" else (own[name], wanted)
        if b.dim() == 3 and b.shape[::2] == other["scores"].shape[::2]:
            a, b = (each.transpose(1, 2).flatten(0, 1) for each in (a, b))
            yield a, b, None if name == "scores" else sure
        else:
            yield _rows(a), _rows(b), None
