# SPDX-License-Identifier: AGPL-3.0-or-later
"""Write checkpoints as train.py leaves them: `python make_seven.py CFG TARGET CLASSES [KIND]` inside a YOLOv7.

KIND is pruned, fused, or orepa (one such block in the network).
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch
from engine_helpers import image
from networks_seven import network, prune
from torch import nn


def save(model: nn.Module, target: Path, **more: object) -> None:
    """A stripped checkpoint: half precision, no optimizer."""
    model.names, model.nc = list("abcdefghijklmnopqrstuvwxyz"[: model.yaml["nc"]]), model.yaml["nc"]
    empty = dict.fromkeys(("best_fitness", "ema", "updates", "optimizer", "training_results", "wandb_id"))
    torch.save({**empty, "epoch": -1, "model": model.half().requires_grad_(False), **more}, target)


if __name__ == "__main__":
    cfg, target, classes, *kind = sys.argv[1:]
    torch.set_num_threads(1)
    made = network(cfg, int(classes))
    if kind == ["pruned"]:
        from prunekit_v7.structure import close_structure
        from pruning.network.width_block import yaml_text

        prune(made, image(64 if made.stride.max() <= 32 else 128, torch.float32), "l2", ratio=0.5)
        made.yaml = close_structure(made)
        Path(target).with_suffix(".yaml").write_text(yaml_text(made.yaml))
    if kind == ["fused"]:
        made.requires_grad_(False).fuse()
    if kind == ["orepa"]:
        from models.common import RepConv_OREPA

        made.model[1].conv = RepConv_OREPA(32, 64, 3, 2)
    save(made, Path(target))
