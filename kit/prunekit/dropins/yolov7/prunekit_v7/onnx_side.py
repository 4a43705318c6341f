# SPDX-License-Identifier: AGPL-3.0-or-later
"""Exported files in upstream's evaluation, which knows torch networks only, and images to calibrate INT8 with."""

from __future__ import annotations

import importlib
from argparse import Namespace
from collections.abc import Iterator
from pathlib import Path

import torch
from pruning.family.anchor_based import plain_images
from pruning.family.contract import Metrics
from pruning.runtime.exported import open_exported
from torch import Tensor, nn
from utils.datasets import LoadImagesAndLabels, create_dataloader

from .data import read_yaml


class OnnxNetwork(nn.Module):
    """A network as test.py calls it, whose outputs an exported file makes; boxes decoded, before NMS."""

    def __init__(self, path: Path, names: list[str]) -> None:
        super().__init__()
        self.exported = open_exported(path)
        self.names = names
        self.place = nn.Parameter(torch.zeros(1))  # test.py asks a parameter for the device

    def forward(self, image: Tensor, augment: bool = False) -> tuple[Tensor, None]:
        """Boxes and scores (1, anchors, 5 + classes) of one image (1, 3, height, width), and no training outputs."""
        return self.exported.outputs(image)[0], None


def evaluate(path: Path, opt: Namespace, folder: Path) -> Metrics:
    """See `Family.evaluate_onnx`: upstream's own evaluation, image by image, each letterboxed to the file's square.

    Args:
        path: an ONNX file, or an OpenVINO folder.
        opt: upstream's options.
        folder: for upstream's side products.
    """
    content = read_yaml("--data", opt.data)
    model = OnnxNetwork(path, list(content["names"]))
    size = model.exported.image
    loader = create_dataloader(content["val"], size, 1, 32, opt, pad=0.0, rect=False, workers=0)[0]
    results, _, _ = importlib.import_module("test").test(
        content,
        batch_size=1,
        imgsz=size,
        model=model,
        dataloader=loader,
        single_cls=opt.single_cls,
        save_dir=folder,
        plots=False,
        half_precision=False,
        v5_metric=opt.v5_metric,
    )
    return Metrics(map50=float(results[2]), map50_95=float(results[3]))


def images(opt: Namespace, stride: int) -> Iterator[Tensor]:
    """See `Family.images`."""
    train = read_yaml("--data", opt.data)["train"]
    return plain_images(LoadImagesAndLabels, train, opt.img_size[0], stride, opt)
