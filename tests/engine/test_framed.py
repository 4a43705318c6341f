# SPDX-License-Identifier: AGPL-3.0-or-later
"""The grey frame of validators around the images that a ranking and a repair look at."""

from __future__ import annotations

import importlib
from types import SimpleNamespace

import pytest
import torch


@pytest.mark.parametrize(
    ("size", "stride", "wanted"), [((64, 64), 32, (96, 96)), ((240, 240), 32, (256, 256)), ((640, 384), 64, (704, 448))]
)
def test_half_a_stride_more_of_grey(
    engine: object, size: tuple[int, int], stride: int, wanted: tuple[int, int]
) -> None:
    """As rectangular batches of the upstreams are made, with a pad of 0.5; the picture lies in the middle."""
    framed = importlib.import_module("pruning.run.framed")
    model = SimpleNamespace(stride=torch.tensor([8.0, 16.0, float(stride)]))
    picture = torch.rand(1, 3, *size)
    family = SimpleNamespace(framed=True, images=lambda weights: iter([picture] * 5))
    found = framed.framed_images(family, "best.pt", model, 3)
    assert [tuple(image.shape[2:]) for image in found] == [wanted] * 3
    top, left = ((now - was) // 2 for now, was in zip(wanted, size, strict=True))
    inside = found[0][:, :, top : top + size[0], left : left + size[1]]
    assert torch.equal(inside, picture)
    frame = torch.ones(wanted, dtype=torch.bool)
    frame[top : top + size[0], left : left + size[1]] = False
    assert bool((found[0][0, :, frame] == 114 / 255).all()) and frame.any()


def test_a_validator_without_a_frame(engine: object) -> None:
    """Classification crops its images; an adapter that says nothing of a frame has none."""
    framed = importlib.import_module("pruning.run.framed")
    pictures = [torch.rand(1, 3, 32, 32) for _ in range(3)]
    for more in ({"framed": False}, {}):
        family = SimpleNamespace(images=lambda weights: iter(pictures), **more)
        assert framed.framed_images(family, "best.pt", SimpleNamespace(), 2) == pictures[:2]
