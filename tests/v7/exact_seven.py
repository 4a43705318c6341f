# SPDX-License-Identifier: AGPL-3.0-or-later
"""Questions about exact rows and deploy forms, answered inside a YOLOv7, as networks_seven.py does."""

from __future__ import annotations

import json
import sys
from functools import partial
from pathlib import Path
from typing import Any

import torch
import yaml
from engine_helpers import image
from networks_seven import move_anchors, network, prune, rows
from torch import nn


def exact(cfg: str, width: str = "1") -> Any:
    """Prune, write exact rows, build from the file, prune that again: what each of the two files gave.

    First local, then global. [[largest difference of outputs, anchors' difference, parameters of a build, rows whose
    width is said, narrower ones, the part of the network's yaml that is not plain] of each], and the deploy form's
    [apart, apart once fused, parameters].
    """
    from models.yolo import Model
    from prunekit_v7.deploy import apart, deployed
    from prunekit_v7.quiet import quiet

    dense = rows(cfg, float(width))
    model, x, said = network(cfg, classes=10, width=float(width)), image(128, torch.float32), []
    move_anchors(model.model[-1])
    for number, scope in enumerate(("local", "global")):
        prune(model, x, "lamp", ratio=0.3, scope=scope)
        file = Path(f"exact{number}.yaml")
        said.append(_written(model, dense, file))
        with quiet():
            again = Model(str(file)).eval()
        again.load_state_dict(model.state_dict(), strict=True)
        model = again
    if type(model.model[-1]).__name__ == "Detect":
        return [*said, None]
    new = deployed(model)
    with quiet():
        return [*said, [apart(model, new), apart(model, new.requires_grad_(False).fuse()), _size(new)]]


def _written(model: nn.Module, dense: dict[str, Any], file: Path) -> list[Any]:
    from models.yolo import Model
    from prunekit_v7.pruned_yaml import check_same_rows, exact_structure, text_of, verify, width_pairs
    from prunekit_v7.quiet import quiet

    check_same_rows(model, dense, "dense", Path("pruned.pt"))
    made = exact_structure(model)
    file.write_text(text_of(made, dense, "a title"))
    off, pairs = verify(model, file), [pair for pair in width_pairs(made, dense) if pair]
    content = yaml.safe_load(file.read_text())
    plain = [content["depth_multiple"], content["width_multiple"], content["nc"], sorted(content)]
    anchors = float((torch.tensor(content["anchors"]).flatten() - model.model[-1].anchor_grid.flatten()).abs().max())
    with quiet():
        size = _size(Model(str(file)))
    return [off, anchors, size == _size(model), size, len(pairs), sum(now < was for now, was in pairs), plain]


def deploy_rows(*sizes: str) -> Any:
    """For each size: is the deploy form of the training YAML upstream's own deploy YAML, row by row?"""
    from prunekit_v7.deploy import deploy_structure

    equal = []
    for size in sizes:
        training, deploy = (
            yaml.safe_load((_cfg() / kind / f"yolov7{size}.yaml").read_text()) for kind in ("training", "deploy")
        )
        made, _ = deploy_structure(training)
        equal.append([made[part] for part in ("backbone", "head")] == [deploy[part] for part in ("backbone", "head")])
    return equal


def refused() -> Any:
    """What the functions say to a network they cannot do: [deploy form twice, a row of two layers, wrong weights]."""
    from prunekit_v7.deploy import deploy_structure
    from prunekit_v7.pruned_yaml import exact_structure, text_of, verify
    from pruning.errors import PruneError

    model, said = network("training/yolov7-tiny", classes=10), []
    dense = yaml.safe_load((_cfg() / "training/yolov7-tiny.yaml").read_text())
    made = exact_structure(model)
    Path("a.yaml").write_text(text_of(made, dense, "t"))
    other = yaml.safe_load(Path("a.yaml").read_text())
    other["backbone"][0][3][0] -= 1
    Path("b.yaml").write_text(yaml.safe_dump(other))
    deploy = deploy_structure(made)[0]
    double = network("training/yolov7-tiny", classes=10)
    double.yaml["backbone"][1][1] = 2
    wrong = partial(verify, model, Path("b.yaml"))
    for call in (partial(deploy_structure, deploy), partial(exact_structure, double), wrong):
        try:
            call()
            said.append("nothing")
        except PruneError as error:
            said.append(str(error))
    return said


def _cfg() -> Path:
    import models.yolo

    return Path(models.yolo.__file__).parents[1] / "cfg"


def _size(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


if __name__ == "__main__":
    torch.set_num_threads(1)
    questions = json.loads(sys.argv[1])
    print("\nANSWERS" + json.dumps([partial(globals()[name], *words)() for name, *words in questions]))
