# SPDX-License-Identifier: AGPL-3.0-or-later
"""Rows of detections, as the upstreams' non-maximum suppression gives them, as objects for a report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

from .contract import Found

CONFIDENCE = 0.25


def from_rows(rows: Tensor, names: Mapping[int, str] | Sequence[str]) -> list[Found]:
    """Objects of one image.

    Args:
        rows: (n, 6 or more): x1, y1, x2, y2 in pixels, confidence, class.
        names: of the classes.
    """
    return [labelled(names, kind, sure, box_outline(box)) for *box, sure, kind in rows[:, :6].tolist()]


def labelled(names: Any, kind: float, sure: float, outline: Sequence[Sequence[float]] = ()) -> Found:
    """An object by class number and confidence."""
    return Found(f"{names[int(kind)]} {sure:.2f}", [(float(x), float(y)) for x, y in outline])


def box_outline(box: Sequence[float]) -> list[tuple[float, float]]:
    """The corners of a box (x1, y1, x2, y2), clockwise from the upper left."""
    x1, y1, x2, y2 = box
    return [(x1, y1), (x2, y1), (x2, y2), (x1, y2)]
