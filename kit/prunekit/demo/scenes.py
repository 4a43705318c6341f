# SPDX-License-Identifier: AGPL-3.0-or-later
"""Scenes composed of handwritten digits: arrays in, arrays out, no files.

The digits are the 1797 scans (8x8, ten classes) that scikit-learn carries in its package, so nothing is downloaded.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image
from sklearn.datasets import load_digits

# Fainter strokes than this share of black are cut, so that a box ends where the drawn ink ends.
FAINTEST = 0.25


@dataclass(frozen=True)
class Digit:
    """One drawn digit.

    Attributes:
        label: class, 0 to 9.
        scan: index of the scan in scikit-learn's set.
        opacity: (imgsz, imgsz) float, 0 to 1: how much ink this digit puts on each pixel.
        corners: (4, 2) float, pixels x, y: the rectangle around the ink, turned with the digit, from its upper left.
    """

    label: int
    scan: int
    opacity: np.ndarray
    corners: np.ndarray


@dataclass(frozen=True)
class Scene:
    """One image: `pixels` is (imgsz, imgsz, 3) uint8, `digits` what is drawn in it."""

    pixels: np.ndarray
    digits: tuple[Digit, ...]


@dataclass(frozen=True)
class Look:
    """How scenes are drawn: pixels per side, cells per side (at most one digit in each), largest turn in degrees."""

    imgsz: int
    cells: int = 2
    turn: float = 0.0


@functools.lru_cache(maxsize=1)
def scans() -> tuple[np.ndarray, np.ndarray]:
    """All scans as opacity (1797, 8, 8) float 0 to 1, and their classes (1797,) int."""
    data = load_digits()
    return data.images / 16, data.target


def split_scans(seed: int, val_share: float = 0.2) -> tuple[list[int], list[int]]:
    """Scan numbers for train and for val: disjoint, shuffled."""
    # RandomState, because numpy promises never to change its stream; it does not promise that for default_rng.
    order = np.random.RandomState(seed).permutation(len(scans()[1])).tolist()
    held_out = round(len(order) * val_share)
    return order[held_out:], order[:held_out]


def compose(pool: Sequence[int], count: int, look: Look, seed: Sequence[int]) -> Iterator[Scene]:
    """Yield `count` scenes that use the scans of `pool` in turn; a larger `count` only adds scenes at the end."""
    rng = np.random.RandomState(list(seed))
    turn = itertools.cycle(pool)
    cells = [divmod(i, look.cells) for i in range(look.cells**2)]
    for _ in range(count):
        taken = rng.permutation(len(cells))[: rng.randint((len(cells) + 1) // 2, len(cells) + 1)]
        digits = tuple(_place(next(turn), cells[i], look, rng) for i in taken)
        yield Scene(_paint(digits, look.imgsz, rng), digits)


def _place(scan: int, cell: tuple[int, int], look: Look, rng: np.random.RandomState) -> Digit:
    """Draw one scan inside the cell (row, column), at a random size, place and turn."""
    room = look.imgsz // look.cells
    # A turned square needs up to sqrt(2) times its side.
    longest = round(room * rng.uniform(0.7, 1.0) * (0.65 if look.turn else 1.0))
    drawn, corners = _turned(_enlarged(scan, longest), rng.uniform(-look.turn, look.turn))
    height, width = drawn.shape
    top = cell[0] * room + rng.randint(0, room - height + 1)
    left = cell[1] * room + rng.randint(0, room - width + 1)
    opacity = np.zeros((look.imgsz, look.imgsz))
    opacity[top : top + height, left : left + width] = drawn
    return Digit(int(scans()[1][scan]), scan, opacity, corners + np.array((left, top)))


def _enlarged(scan: int, longest: int) -> np.ndarray:
    """A scan cropped to its ink and enlarged so that its longer side has `longest` pixels: (h, w) opacity."""
    image = Image.fromarray(np.uint8(np.rint(_cropped(scans()[0][scan]) * 255)))
    factor = longest / max(image.size)
    size = [max(round(side * factor), 1) for side in image.size]
    return _cropped(np.asarray(image.resize(size, Image.Resampling.BILINEAR)) / 255)


def _cropped(opacity: np.ndarray) -> np.ndarray:
    """Cut faint strokes, then the empty margin: (h, w) -> (h', w')."""
    kept = np.where(opacity < FAINTEST, 0.0, opacity)
    rows, columns = np.flatnonzero(kept.any(1)), np.flatnonzero(kept.any(0))
    return kept[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]


def _turned(glyph: np.ndarray, degrees: float) -> tuple[np.ndarray, np.ndarray]:
    """Turn (h, w) opacity counter-clockwise; return the larger (h', w') one and the old corners in it, (4, 2) x, y."""
    height, width = glyph.shape
    corners = np.array([(0, 0), (width, 0), (width, height), (0, height)], float)
    if not degrees:
        return glyph, corners
    image = Image.fromarray(np.uint8(np.rint(glyph * 255)))
    turned = np.asarray(image.rotate(degrees, Image.Resampling.BILINEAR, expand=True)) / 255
    cos, sin = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    middle, new_middle = (
        (width / 2, height / 2),
        (turned.shape[1] / 2, turned.shape[0] / 2),
    )
    # y points down in an image, so a counter-clockwise turn is this matrix.
    corners = (corners - middle) @ np.array([(cos, sin), (-sin, cos)]).T + new_middle
    return np.where(turned < FAINTEST, 0.0, turned), corners


def _paint(digits: Sequence[Digit], imgsz: int, rng: np.random.RandomState) -> np.ndarray:
    """Bright digits, each in its own tint, on a dark plain ground: (imgsz, imgsz, 3) uint8."""
    pixels = np.broadcast_to(rng.randint(0, 71, 3).astype(float), (imgsz, imgsz, 3))
    for digit in digits:
        tint = rng.randint(170, 256, 3)
        pixels = pixels + (tint - pixels) * digit.opacity[..., None]
    return np.uint8(np.rint(pixels))
