# SPDX-License-Identifier: AGPL-3.0-or-later
"""Questions about networks, inside a YOLOv7: `python networks_seven.py [[NAME, ARGUMENT, ...], ...]` prints JSON.

Runs in a process of its own (its `models`, `utils` and `test` are YOLOv7's), with tests/engine on the path for what is
not upstream's: random statistics, masks, comparisons.
"""

from __future__ import annotations

import json
import sys
from copy import deepcopy
from functools import partial
from pathlib import Path
from typing import Any

import torch
import yaml
from engine_helpers import image, masked, pruned_and_closed, randomise, relative, tensors, training_form
from torch import nn


def rows(cfg: str, width: float = 1.0) -> dict[str, Any]:
    """What one of upstream's YAMLs says ("training/yolov7-tiny"); `width` makes all of its rows narrower."""
    import models.yolo as yolo

    content = yaml.safe_load((Path(yolo.__file__).parents[1] / "cfg" / f"{cfg}.yaml").read_text())
    return {**content, "width_multiple": content["width_multiple"] * width}


def network(cfg: str, classes: int = 80, seed: int = 0, width: float = 1.0) -> nn.Module:
    """A fresh network of such rows, random weights and statistics, eval mode."""
    import models.yolo as yolo
    from prunekit_v7.quiet import quiet

    torch.manual_seed(seed)
    with quiet():
        model = yolo.Model(rows(cfg, width), ch=3, nc=classes)
    randomise(model, seed)
    for name, parameter in model.named_parameters():
        if name.endswith("implicit"):
            nn.init.normal_(parameter, mean=float(".im." in name), std=0.3)
    return model.eval()


def prune(model: nn.Module, x: torch.Tensor, criterion: str, **limits: Any) -> Any:
    """Prune in place, in one call; the plan and the scores it was made from."""
    from prunekit_v7.network import graph_of
    from prunekit_v7.structure import sync_attributes
    from pruning.planning.apply import apply_plan
    from pruning.planning.plan import make_plan
    from pruning.planning.scores import score_groups

    graph = graph_of(model, x)
    scores = score_groups(graph, criterion)
    plan = make_plan(graph, scores, criterion=criterion, **limits)
    apply_plan(graph, plan, scores)
    sync_attributes(model)
    return graph, plan, scores


def published(cfg: str, fused: str) -> Any:
    """Half of the channels by L2 at 224 px: MACs and parameters before and after."""
    from pruning.network.counts import count

    model, x = network(cfg), torch.zeros(1, 3, 224, 224)
    model = model.requires_grad_(False).fuse().requires_grad_(True) if fused == "fused" else model
    before = count(model, x)
    _, plan, _ = prune(model, x, "l2", ratio=0.5, floor=1)
    after = count(model, x)
    assert (plan.pruned.macs, plan.pruned.params) == (after.macs, after.params)
    return [before.macs, before.params, after.macs, after.params]


def equivalence(cfg: str, scope: str, width: str = "1") -> Any:
    """How far, in float64, the pruned network is from the dense one with the same channels silenced.

    In evaluation (boxes) and in training form (each level's raw outputs, the auxiliary ones too), after LAMP at one
    half; then how far fusing moves the pruned one's boxes.
    """
    model = network(cfg, classes=10, width=float(width)).double()
    dense, x = deepcopy(model), image(64)
    graph, plan, scores = prune(model, x, "lamp", ratio=0.5, scope=scope)
    masked(dense, graph.groups, plan, scores)
    _silence_implicit(dense, graph.groups, plan, scores)
    apart, outputs = [], []
    for training in (False, True):
        with torch.no_grad():
            found, wanted = (tensors(training_form(each, training)(x)) for each in (model, dense))
        apart.append(relative(found, wanted))
        outputs.append(len(found))
    with torch.no_grad():
        model.float()  # fusing makes single precision
        plain = tensors(training_form(model, False)(x.float()))
        fused = tensors(model.requires_grad_(False).fuse().eval()(x.float()))
    kinds = sorted({type(m).__module__.split(".")[0] for m in model.modules()})
    return [max(apart), relative(fused[:1], plain[:1]), plan.removed, outputs, kinds]


def proved(cfg: str) -> Any:
    """The proof of a network: [largest difference, tensors compared, modules that failed before they were kept]."""
    from prunekit_v7.network import ignored_layers, tracing
    from pruning.planning.proof import prove

    model = network(cfg, classes=10)
    proof = prove(model, image(64, torch.float32), tracing=tracing, ignored=ignored_layers(model))
    return [proof.error, proof.tensors, sorted(proof.opaque)]


def _silence_implicit(dense: nn.Module, groups: Any, plan: Any, scores: Any) -> None:
    """A channel that is gone takes along what the head's ImplicitA adds to it."""
    keep = {
        layer: (group.name, entry.keep)
        for group in groups
        for entry in plan.entries
        for layer in group.layers
        if entry.name == group.name
    }
    head = dense.model[-1]
    for source, implicit in zip(head.f, getattr(head, "ia", ()), strict=False):  # auxiliary inputs have none
        name, kept = next(keep[layer] for layer in keep if layer.startswith(f"model.{source}."))
        order = torch.argsort(scores[name], stable=True)
        with torch.no_grad():
            implicit.implicit[:, order[: len(order) - kept]] = 0


def rebuilt(cfg: str, width: str, *scopes: str) -> Any:
    """Prune one time after another, close, go through a YAML file, build, load strictly: [difference, sizes]."""
    from models.yolo import Model
    from prunekit_v7.quiet import quiet
    from prunekit_v7.structure import close_structure

    model, x = network(cfg, classes=10, width=float(width)), image(64, torch.float32)
    move_anchors(model.model[-1])

    def step(scope: str) -> None:
        prune(model, x, "lamp", ratio=0.3, scope=scope)
        model.yaml = close_structure(model)

    file, sizes = pruned_and_closed(model, scopes, step)
    with quiet():
        again = Model(str(file)).eval()
    anchors = float((again.model[-1].anchor_grid - model.model[-1].anchor_grid).abs().max())
    again.load_state_dict(model.state_dict(), strict=True)
    off = []
    for training in (False, True):
        with torch.no_grad():
            pairs = zip(*(tensors(training_form(each, training)(x)) for each in (again, model)), strict=True)
            off.append(max(float((a - b).abs().max()) for a, b in pairs))
    return [max(off), anchors, *sizes, sum(p.numel() for p in again.parameters())]


def move_anchors(head: nn.Module) -> None:
    """As autoanchor would: other sizes, the same in both of the head's buffers."""
    with torch.no_grad():
        head.anchors *= 1.25
        head.anchor_grid *= 1.25


def told() -> Any:
    """What a block in models/common.py is told that could not be rebuilt once it is pruned; what more channels are."""
    from models.yolo import Model
    from own_blocks import told_by
    from prunekit_v7.adapter import Yolov7

    return told_by(Model, Yolov7({"img_size": [64, 64]}))


if __name__ == "__main__":
    torch.set_num_threads(1)
    questions = json.loads(sys.argv[1])
    print("\nANSWERS" + json.dumps([partial(globals()[name], *words)() for name, *words in questions]))
