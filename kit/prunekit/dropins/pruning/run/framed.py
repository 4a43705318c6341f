# SPDX-License-Identifier: AGPL-3.0-or-later
"""Training images in the grey frame that the upstreams' validators put around them: what a ranking and a repair see.

Without it, a network that is pruned and repaired on square images has never seen the frame, and what lies in it is
taken for objects afterwards. A half of a 64 px yolov8n had 0.25 of 0.97 mAP50 then, and has 0.95.
"""

from __future__ import annotations

import math
from itertools import islice
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional

from ..family.contract import Family

GREY = 114 / 255  # upstreams' colour of what is no picture
LEAST = 32  # pixels that an image's sides are multiples of, at least


def framed_images(family: Family, weights: Path, model: nn.Module, number: int) -> list[Tensor]:
    """The first `number` of a family's images, each (1, channels, h, w), as its validator shows them to `model`."""
    images = list(islice(family.images(weights), number))
    if not getattr(family, "framed", False):
        return images
    stride = max(LEAST, int(torch.as_tensor(getattr(model, "stride", LEAST)).max()))
    return [_framed(image, stride) for image in images]


def _framed(image: Tensor, stride: int) -> Tensor:
    """Half a stride of grey more, then up to a multiple of it (ultralytics/data/base.py, `set_rectangle`, pad 0.5)."""
    more = [math.ceil(side / stride + 0.5) * stride - side for side in image.shape[2:]]
    top, left = (side // 2 for side in more)
    return functional.pad(image, (left, more[1] - left, top, more[0] - top), value=GREY)
