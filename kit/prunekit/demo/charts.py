# SPDX-License-Identifier: AGPL-3.0-or-later
"""Pictures of the report as inline SVG: no library, no file beside the page."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from html import escape
from pathlib import Path

Point = tuple[float, float]
Box = Sequence[float]  # class, confidence, x0, y0, x1, y1; the corners as shares of the side

WIDE, HIGH, LEFT, BASE = 640, 260, 40, 225


def lines(series: dict[str, list[Point]], x_most: float, x_title: str) -> str:
    """Curves of values from 0 to 1 over x from 0 to `x_most`; each series has the CSS class of its name."""

    def place(point: Point) -> str:
        return f"{LEFT + point[0] / x_most * (WIDE - LEFT - 10):.1f},{BASE - point[1] * (BASE - 10):.1f}"

    grid = "".join(_grid_line(value) for value in (0, 0.2, 0.4, 0.6, 0.8, 1.0))
    curves = "".join(
        f'<polyline class="{escape(name)}" points="{" ".join(map(place, points))}"/>' for name, points in series.items()
    )
    title = f'<text x="{WIDE - 10}" y="{HIGH - 8}" text-anchor="end">{escape(x_title)}</text>'
    return f'<svg viewBox="0 0 {WIDE} {HIGH}" role="img">{grid}{curves}{title}</svg>'


def bars(widths: dict[str, Sequence[int]]) -> str:
    """For each layer a bar of its width before, and in it one of its width after; names show under the pointer."""
    most = max(before for before, _ in widths.values())
    step = (WIDE - LEFT) / len(widths)
    shown = []
    for number, (name, (before, after)) in enumerate(widths.items()):
        title = escape(f"{name}: {before} -> {after} channels")
        x, width = LEFT + number * step, step * 0.8
        tall, short = _bar("before", x, width, before / most), _bar("after", x, width, after / most)
        shown.append(f"<g><title>{title}</title>{tall}{short}</g>")
    scale = f'<text x="4" y="18">{most}</text><text x="4" y="{BASE}">0</text>'
    title = f'<text x="{WIDE - 10}" y="{HIGH - 8}" text-anchor="end">layers, from input to output</text>'
    return f'<svg viewBox="0 0 {WIDE} {HIGH}" role="img">{scale}{"".join(shown)}{title}</svg>'


def _grid_line(value: float) -> str:
    """A horizontal line at `value`, 0 to 1, and its number."""
    y = BASE - value * (BASE - 10)
    line = f'<line class="grid" x1="{LEFT}" x2="{WIDE - 10}" y1="{y:.1f}" y2="{y:.1f}"/>'
    return f'{line}<text x="4" y="{y + 4:.1f}">{value:.1f}</text>'


def _bar(kind: str, x: float, width: float, share: float) -> str:
    """A bar that stands on the base line and reaches `share`, 0 to 1, of the height."""
    height = share * (BASE - 10)
    return f'<rect class="{kind}" x="{x:.1f}" y="{BASE - height:.1f}" width="{width:.1f}" height="{height:.1f}"/>'


def scene(image: Path, boxes: Sequence[Box], names: Sequence[str]) -> str:
    """An image, enlarged, with labelled boxes drawn over it."""
    data = base64.b64encode(image.read_bytes()).decode("ascii")
    drawn = "".join(_box(box, names) for box in boxes)
    return (
        f'<svg class="scene" viewBox="0 0 100 100"><image width="100" height="100" '
        f'href="data:image/png;base64,{data}"/>{drawn}</svg>'
    )


def _box(box: Box, names: Sequence[str]) -> str:
    """One rectangle, its class inside its upper left corner."""
    label, _, x0, y0, x1, y1 = box
    left, top = x0 * 100, y0 * 100
    return (
        f'<rect x="{left:.1f}" y="{top:.1f}" width="{(x1 - x0) * 100:.1f}" height="{(y1 - y0) * 100:.1f}"/>'
        f'<text x="{left + 1:.1f}" y="{top + 7:.1f}">{escape(names[int(label)])}</text>'
    )
