# SPDX-License-Identifier: AGPL-3.0-or-later
"""In a fork of YOLOv7: expressions in a checkpoint's YAML, a label cache (to upstream a checkpoint), records."""

from functools import partial
from pathlib import Path

import torch
from hearing import hear
from models.yolo import parse_model
from prunekit_v7 import first as before
from prunekit_v7 import hooks, sparse
from prunekit_v7.main import UPSTREAM
from pruning.scripts.prune import guarded
from pruning.settings import Settings

heard = partial(hear, guarded)


yaml = torch.load("best.pt", weights_only=False)["model"].yaml
first, *rest = yaml["backbone"]


def build(*rows):
    """Exit code and what is said of a backbone that begins so."""
    return heard(lambda: parse_model({**yaml, "backbone": [*rows, *rest]}, [3]))


for row in (
    [-1, 1, "exec", ["open('owned', 'w')"]],
    [*first[:3], [" open('owned', 'w')", *first[3][1:]]],
    [*first[:3], ["[open('owned', 'w') for _ in '1']", *first[3][1:]]],
    [*first[:3], ["(lambda: open('owned', 'w'))()", *first[3][1:]]],
):
    code, said = build(row)
    assert code == 2 and "would run" in said, said
assert build(first)[0] == 0  # there is nn.LeakyReLU(0.1) in the rows
assert "False" in heard(lambda: print(hooks.label_cache(Path("posix.pt"))))[1]
for row in (
    {-1: 0, 1: 0, "open('owned', 'w')": 0, ("x",): 0},
    [*first[:3], {"open('owned', 'w')": 0}],
    [-1, 1, "\uff45xec", ["open('owned', 'w')"]],
):
    code, said = build(row)
    assert code == 2 and "refused" in said, said

for key in ("bucket", "evolve"):  # a record is no command line: upstream gives the bucket's name to a shell
    code, said = heard(lambda key=key: UPSTREAM.reopen({key: "x; touch owned #"}, Settings(), trust=False))
    assert code == 2 and f"--{key}" in said, said
run = Path("run/weights")
run.mkdir(parents=True)
(run.parent / "opt.yaml").write_text("bucket: x; touch owned\ndata: data/coco.yaml\nsparsity: 0.1\n")
checkpoint = torch.load("best.pt", weights_only=False)
torch.save({**checkpoint, "epoch": 1, "optimizer": {}}, run / "last.pt")
code, said = heard(lambda: sparse._resume("run/weights/last.pt", [], False))
assert code == 2 and "--bucket" in said, said
assert "--bucket" in before._not_resumable(run / "last.pt")
print("nothing ran")
