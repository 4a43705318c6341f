# SPDX-License-Identifier: AGPL-3.0-or-later
"""Write the checkpoints that the series tests share: `python make_checkpoints.py FOLDER` under a fork."""

from __future__ import annotations

import sys
from copy import deepcopy
from pathlib import Path

import torch
import yaml
from shrink import randomize_norms, shrink
from torch import nn
from ultralytics.nn.tasks import DetectionModel
from ultralytics.prunekit import blocks, structure


class C2f_v2(nn.Module):
    """The split block that published scripts define in their own file and pickle by name."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Both halves, then each bottleneck's output."""
        y = [self.cv0(x), self.cv1(x)]
        y.extend(m(y[-1]) for m in self.m)
        return self.cv2(torch.cat(y, 1))


def as_published(model: nn.Module) -> nn.Module:
    """Turn the engine's split blocks into published ones, in place."""
    for name, block in list(model.named_modules()):
        if isinstance(block, blocks.SplitC2f):
            twin = C2f_v2()
            twin.__dict__.update({k: v for k, v in block.__dict__.items() if k != "stock"})
            owner, _, leaf = name.rpartition(".")
            setattr(model.get_submodule(owner), leaf, twin)
    return model


def save(model: nn.Module, file: Path) -> None:
    """Write a stripped checkpoint, as upstream's final ones are (here in float32)."""
    model.args, model.names = {"task": "detect", "imgsz": 64}, dict(enumerate("zero one two three four".split() * 2))
    model.task = "detect"
    torch.save({"model": model.requires_grad_(False), "train_args": model.args, "epoch": -1}, file)


def main(folder: Path) -> None:
    """dense.pt, pruned.pt with pruned.yaml, bare.pt, split.pt, foreign.pt; and outputs.pt: what foreign.pt computes."""
    torch.manual_seed(0)
    dense = randomize_norms(DetectionModel("yolov8n.yaml", nc=10, verbose=False))
    save(dense, folder / "dense.pt")
    half_split = shrink(deepcopy(dense), merge=False)
    pruned = shrink(deepcopy(dense))
    save(deepcopy(pruned), folder / "bare.pt")
    pruned.yaml = structure.close_structure(pruned)
    save(pruned, folder / "pruned.pt")
    (folder / "pruned.yaml").write_text(yaml.safe_dump(pruned.yaml, sort_keys=False))
    save(half_split, folder / "split.pt")
    foreign = as_published(deepcopy(half_split))
    save(foreign, folder / "foreign.pt")
    x = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        torch.save(foreign.eval()(x)[0], folder / "outputs.pt")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
