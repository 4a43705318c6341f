# SPDX-License-Identifier: AGPL-3.0-or-later
"""In a fork of YOLOv5: a data set to download, expressions in a checkpoint's YAML, a label cache beside the labels."""

import os
from functools import partial
from pathlib import Path

import numpy as np
import torch
from hearing import hear

os.environ["YOLO_AUTOINSTALL"] = "false"
from models.yolo import parse_model
from prunekit_v5.main import UPSTREAM, prune
from prunekit_v5.sparse import train
from pruning.scripts.prune import guarded
from pruning.settings import Settings

heard = partial(hear, guarded)


class Evil:
    """Runs a command where it is unpickled."""

    def __reduce__(self):
        return os.system, ("touch owned",)


content = torch.load("best.pt", weights_only=False)
Path("data.yaml").write_text("train: a\nval: b\nnames: [x]\ndownload: \"open('owned', 'w')\"\n")
for data in ("data.yaml", "https://example.invalid/d.yaml"):
    content.update(opt={"data": data, "imgsz": 64, "sparsity": 0.1}, optimizer={}, epoch=1)
    torch.save(content, "remembers.pt")
    code, said = heard(lambda: prune("", ["--weights", "remembers.pt"], defaults=Settings()))
    assert code == 2, said
    code, said = heard(lambda: train("", ["--resume", "remembers.pt"]))
    assert code == 2 and "never downloaded" in said, said

yaml = content["model"].yaml
first, *rest = yaml["backbone"]
for change in (
    {"activation": "open('owned', 'w')"},
    {"backbone": [[-1, 1, "eval", ["'x'"]], *rest]},
    {"backbone": [[-1, 1, "exec", ["open('owned', 'w')"]], *rest]},
    {"backbone": [[*first[:3], [" open('owned', 'w')", *first[3][1:]]], *rest]},
    {"backbone": [[*first[:3], ["nn.Module.__init__.__globals__", *first[3][1:]]], *rest]},
):
    code, said = heard(lambda change=change: parse_model({**yaml, **change}, [3]))
    assert code == 2 and "would run" in said, said

with open("labels.cache", "wb") as file:
    np.save(file, {"hash": Evil()})


def cache():
    """Read labels.cache as upstream does."""
    try:
        np.load("labels.cache", allow_pickle=True)
    except AssertionError:
        print("refused")


assert "refused" in heard(cache)[1]

for key in ("bucket", "evolve"):  # a record is no command line
    code, said = heard(lambda key=key: UPSTREAM.reopen({key: "x; touch owned #"}, Settings(), trust=False))
    assert code == 2 and f"--{key}" in said, said
print("nothing ran")
