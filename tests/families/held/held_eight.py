# SPDX-License-Identifier: AGPL-3.0-or-later
"""In a fork of ultralytics: a data set that a checkpoint names, the YAML in it, a label cache beside the labels."""

import os
from functools import partial
from pathlib import Path

import numpy as np
import torch
from hearing import hear
from ultralytics import YOLO
from ultralytics.data.utils import load_dataset_cache_file
from ultralytics.nn.tasks import parse_model
from ultralytics.prunekit.main import guarded, prune
from ultralytics.prunekit.sparse import train
from ultralytics.pruning.settings import Settings

heard = partial(hear, guarded)


class Evil:
    """Runs a command where it is unpickled."""

    def __reduce__(self):
        return os.system, ("touch owned",)


# A URL, or a YAML with `download:`, that only the checkpoint names: said, not followed.
Path("data.yaml").write_text("train: a\nval: b\nnames: [x]\ndownload: \"open('owned', 'w')\"\n")
model = YOLO("yolov8n.yaml")
model.ckpt = {}
model.save("plain.pt")
content = torch.load("plain.pt", weights_only=False)
for data in ("https://example.invalid/data.yaml", "data.yaml", "ul://x/y", "data.zip", {"a": 1}):
    content["train_args"] = {"data": data, "task": "detect", "imgsz": 64, "sparsity": 0.1}
    content.update(epoch=1, optimizer={})
    torch.save(content, "remembers.pt")
    for command in (
        lambda: prune("", Settings(), ["--weights", "remembers.pt"]),
        lambda: prune("", Settings(), ["--weights", "remembers.pt", "--plan-only"]),
        lambda: train("", ["--resume", "remembers.pt"]),
    ):
        code, said = heard(command)
        assert "not used" in said, (data, code, said[-500:])

# The YAML in a checkpoint is built by evaluating.
yaml = model.model.yaml
rows = [[[-1, 1, name, ["owner"]], *yaml["backbone"][1:]] for name in ("check_requirements", "torch_safe_load")]
for change in ({"activation": "open('owned', 'w')"}, *({"backbone": backbone} for backbone in rows)):
    code, said = heard(lambda change=change: parse_model({**yaml, **change}, 3))
    assert code == 2 and "would run" in said, said


# A label cache is a pickle.
def cache():
    """Read labels.cache as upstream does."""
    try:
        print("labels", load_dataset_cache_file(Path("labels.cache"))["labels"][0]["shape"])
    except AssertionError:
        print("refused")


row = {"im_file": "x", "shape": (1, 2), "cls": np.zeros((1, 1))}
for content, wanted in (({"labels": Evil()}, "refused"), ({"labels": [row]}, "labels (1, 2)")):
    with open("labels.cache", "wb") as file:
        np.save(file, content)
    code, said = heard(cache)
    assert code == 0 and wanted in said, said
print("nothing ran")
