# SPDX-License-Identifier: AGPL-3.0-or-later
"""Small networks for tests that are about no published one: a run takes half the time that it takes on yolov5n.

By name: small and small-seg, every kind of row that yolov5n has; six, four levels, the last at stride 64; old, the stem
of v5.0 files (Focus: 12 channels of an image's three) and LeakyReLU.
"""

from __future__ import annotations

from typing import Any

ANCHORS = [[4, 5, 8, 10, 13, 16], [23, 29, 43, 55, 73, 105]]
STEM = [-1, 1, "Conv", [16, 6, 2, 2]]
CONVS = [[-1, 1, "Conv", [width, 3, 2]] for width in (16, 32, 64, 128, 64, 64)]


def _yaml(backbone: list[Any], head: list[Any], anchors: Any = 3) -> dict[str, Any]:
    multiples = {"depth_multiple": 1.0, "width_multiple": 1.0}
    return {"nc": 10, **multiples, "anchors": anchors, "backbone": backbone, "head": head}


def _small(head: str, *arguments: Any, stem: Any = STEM) -> dict[str, Any]:
    rows = [stem, *CONVS[1:3], [-1, 1, "C3", [64]], CONVS[3], [-1, 1, "SPPF", [128, 5]]]
    up = [[-1, 1, "Conv", [64, 1, 1]], [-1, 1, "nn.Upsample", [None, 2, "nearest"]], [[-1, 3], 1, "Concat", [1]]]
    last = [[-1, 1, "C3", [64, False]], [[9, 6], 1, head, ["nc", "anchors", *arguments]]]
    return _yaml(rows, [*up, *last], ANCHORS)


SMALL = {
    "small": _small("Detect"),
    "small-seg": _small("Segment", 32, 64),
    "six": _yaml(CONVS, [[[2, 3, 4, 5], 1, "Detect", ["nc", "anchors"]]]),
    "old": {**_small("Detect", stem=[-1, 1, "Focus", [16, 3]]), "activation": "nn.LeakyReLU(0.1)"},
}
