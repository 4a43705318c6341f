# SPDX-License-Identifier: AGPL-3.0-or-later
"""What the dense and the pruned network find in a few images, side by side."""

from __future__ import annotations

from itertools import islice
from pathlib import Path
from typing import Any

from torch import Tensor

from ..family.contract import Family, Found
from .charts import save

IMAGES = 4


def draw_examples(family: Family, dense: Path, pruned: Path, target: Path) -> None:
    """Write a picture of two columns, dense and pruned; none where the images have no three channels to show.

    Raises:
        ImportError: matplotlib is not installed.
    """
    from matplotlib.figure import Figure

    images = list(islice(family.images(dense), IMAGES))
    if not images or images[0].shape[1] != 3:
        return
    found = {name: family.found(weights, images) for name, weights in (("dense", dense), ("pruned", pruned))}
    figure = Figure(figsize=(8, 4 * len(images)), layout="constrained")
    axes = figure.subplots(len(images), 2, squeeze=False)
    for column, (name, each) in enumerate(found.items()):
        axes[0][column].set_title(name)
        for row, (image, objects) in enumerate(zip(images, each, strict=True)):
            _draw(axes[row][column], image, objects)
    save(figure, target)


def _draw(axis: Any, image: Tensor, objects: list[Found]) -> None:
    """An image with outlines; what has no place in it (a class of the whole image) is written under it."""
    axis.imshow(image[0].permute(1, 2, 0).clamp(0, 1).numpy())
    axis.set(xticks=[], yticks=[])
    for one in objects:
        if len(one.outline):
            closed = [*one.outline, one.outline[0]]
            axis.plot([x for x, _ in closed], [y for _, y in closed], color="yellow", linewidth=1.2)
            axis.text(*one.outline[0], one.label, fontsize=7, color="black", backgroundcolor="yellow")
    axis.set_xlabel(", ".join(one.label for one in objects if not len(one.outline)), fontsize=8)
