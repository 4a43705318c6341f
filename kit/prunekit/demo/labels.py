# SPDX-License-Identifier: AGPL-3.0-or-later
"""Label rows in upstream's text formats: one line per digit, its class, then numbers as shares of the image side."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from .scenes import Digit, Scene

# Keypoints of a digit: its topmost, rightmost, bottommost and leftmost ink; mirrored, right and left change places.
KEYPOINTS = 4
MIRRORED = [0, 3, 2, 1]


def label_text(scene: Scene, task: str) -> str:
    """The label file of a scene for `task`: detect, segment, pose or obb."""
    side = len(scene.pixels)
    rows = ((digit.label, *ROWS[task](digit, side)) for digit in scene.digits)
    return "".join(" ".join(f"{value:.6g}" for value in row) + "\n" for row in rows)


def box(digit: Digit, side: int) -> list[float]:
    """Centre x, centre y, width, height of the tightest box around the ink."""
    rows, columns = (
        np.flatnonzero(digit.opacity.any(1)),
        np.flatnonzero(digit.opacity.any(0)),
    )
    top, bottom, left, right = rows[0], rows[-1] + 1, columns[0], columns[-1] + 1
    return [
        (left + right) / 2 / side,
        (top + bottom) / 2 / side,
        (right - left) / side,
        (bottom - top) / side,
    ]


def outline(digit: Digit, side: int) -> list[float]:
    """Polygon x1 y1 x2 y2 ...: down along the first ink of each row, up along the last, corners of pixels."""
    down, up = [], []
    for row in np.flatnonzero(digit.opacity.any(1)):
        ink = np.flatnonzero(digit.opacity[row])
        down += [(ink[0], row), (ink[0], row + 1)]
        up += [(ink[-1] + 1, row), (ink[-1] + 1, row + 1)]
    return (np.array(down + up[::-1]) / side).ravel().tolist()


def keypoints(digit: Digit, side: int) -> list[float]:
    """The box, then x, y, visible (2) of the ink's topmost, rightmost, bottommost and leftmost pixel centre."""
    y, x = np.nonzero(digit.opacity)
    extremes = [np.argmin(y), np.argmax(x), np.argmax(y), np.argmin(x)]
    points = [((x[i] + 0.5) / side, (y[i] + 0.5) / side, 2.0) for i in extremes]
    return box(digit, side) + [value for point in points for value in point]


def corners(digit: Digit, side: int) -> list[float]:
    """The four corners x1 y1 ... x4 y4 of the rectangle that turned with the digit."""
    return (digit.corners / side).clip(0, 1).ravel().tolist()


ROWS: Mapping[str, Callable[[Digit, int], list[float]]] = {
    "detect": box,
    "segment": outline,
    "pose": keypoints,
    "obb": corners,
}
