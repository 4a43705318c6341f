# SPDX-License-Identifier: AGPL-3.0-or-later
"""What models/tf.py builds of a checkpoint: `python tf_five.py WEIGHTS` prints JSON.

With TensorFlow: the largest difference between its boxes and torch's, relative. Without it a stand-in takes its place:
[filters asked for, filters that the weights have] of every convolution that would be built.
"""

from __future__ import annotations

import importlib.util
import json
import sys
import types
from typing import Any
from unittest.mock import MagicMock

import torch

asked: list[tuple[int, int]] = []


class Layer:
    """Keras' Layer and Sequential, as far as building goes."""

    def __init__(self, *_: Any, **__: Any) -> None:
        self.np = 0


class Conv2D(Layer):
    """Notes how many filters it was asked for, and how many its weights (h, w, in, out) have."""

    def __init__(self, *, filters: int, kernel_initializer: Any, **_: Any) -> None:
        super().__init__()
        asked.append((filters, kernel_initializer.shape[-1]))


def stand_in() -> None:
    """Put a module that builds nothing in TensorFlow's place."""
    layers = MagicMock(Layer=Layer, Conv2D=Conv2D)
    keras = types.ModuleType("tensorflow.keras")
    keras.layers, keras.Sequential, keras.activations = layers, Layer, MagicMock()  # type: ignore[attr-defined]
    keras.initializers = MagicMock(Constant=lambda value: value)  # type: ignore[attr-defined]
    module = MagicMock(keras=keras, meshgrid=lambda *_: (MagicMock(), MagicMock()))
    module.__spec__ = importlib.util.spec_from_loader("tensorflow", None)
    sys.modules.update({"tensorflow": module, "tensorflow.keras": keras})


def _by_place(boxes: torch.Tensor, head: Any, size: int) -> torch.Tensor:
    """Boxes (1, boxes, outputs), anchor by anchor in torch, in TensorFlow's order: place by place, each level's."""
    places = [(size // int(stride)) ** 2 for stride in head.stride]
    levels = boxes.split([head.na * number for number in places], dim=1)
    return torch.cat([x.view(1, head.na, -1, x.shape[-1]).transpose(1, 2).flatten(1, 2) for x in levels], 1)


def main(weights: str) -> Any:
    real = importlib.util.find_spec("tensorflow") is not None
    if not real:
        stand_in()
    from models.experimental import attempt_load
    from models.tf import TFModel

    model = attempt_load(weights, device="cpu", fuse=True).float()
    size = 64
    with torch.no_grad():
        built = TFModel(cfg=model.yaml, model=model, nc=model.nc, imgsz=(size, size))
        if not real:
            return {"filters": asked}
        image = torch.rand(1, 3, size, size, generator=torch.Generator().manual_seed(0))
        wanted = _by_place(model(image)[0].clone(), model.model[-1], size)  # pixels
    wanted[..., :4] /= size  # TensorFlow's are fractions of the image
    found = torch.from_numpy(built.predict(image.permute(0, 2, 3, 1).numpy())[0].numpy())
    return {"difference": float((found - wanted).abs().max() / wanted.abs().max())}


if __name__ == "__main__":
    torch.set_num_threads(1)
    print("\nANSWERS" + json.dumps(main(sys.argv[1])))
