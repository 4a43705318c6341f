# SPDX-License-Identifier: AGPL-3.0-or-later
"""Checkpoints as train.py leaves them: `python make_five.py "YAML TARGET [CLASSES [pruned|fused|single]]" ...`."""

from __future__ import annotations

import sys
from pathlib import Path

import torch
from engine_helpers import image
from networks_five import network, prune
from torch import nn


def save(model: nn.Module, target: Path, **more: object) -> None:
    """A stripped checkpoint: half precision, no optimizer."""
    model.names, model.nc = dict(enumerate("abcdefghijklmnopqrstuvwxyz"[: model.yaml["nc"]])), model.yaml["nc"]
    empty = dict.fromkeys(("best_fitness", "ema", "updates", "optimizer", "git", "date"))
    model = model.half().requires_grad_(False)
    torch.save({**empty, "epoch": -1, "opt": {"imgsz": 64}, "model": model, **more}, target)


def make(name: str, target: str, classes: str = "10", kind: str = "") -> None:
    """One network, as it is, pruned (its YAML goes beside it), fused, or of a training with --single-cls."""
    made = network(name, int(classes))
    if kind == "pruned":
        from prunekit_v5.structure import close_structure
        from pruning.network.width_block import yaml_text

        prune(made, image(64, torch.float32), "l2", ratio=0.5)
        made.yaml = close_structure(made)
        Path(target).with_suffix(".yaml").write_text(yaml_text(made.yaml))
    if kind == "fused":
        made.requires_grad_(False).fuse()
    save(made, Path(target), **({"opt": {"imgsz": 64, "single_cls": True}} if kind == "single" else {}))


if __name__ == "__main__":
    torch.set_num_threads(1)
    for words in sys.argv[1:]:
        make(*words.split())
