# SPDX-License-Identifier: AGPL-3.0-or-later
"""Questions about networks, inside a YOLOv5: `python networks_five.py [[NAME, ARGUMENT, ...], ...]` prints JSON.

Runs in a process of its own (two forks bring an `ultralytics` and a `utils` of their own), with tests/engine on the
path for what is not upstream's: random statistics, masks, comparisons.
"""

from __future__ import annotations

import json
import re
import sys
from copy import deepcopy
from functools import partial
from pathlib import Path
from typing import Any

import torch
import yaml
from engine_helpers import image, masked, pruned_and_closed, randomise, relative, tensors, training_form
from small_five import SMALL
from torch import nn

ROOT = Path.cwd()


def network(name: str, classes: int = 80, seed: int = 0, most: tuple[float, float] | None = None) -> nn.Module:
    """A fresh network with random weights and statistics, in eval mode; by one of upstream's YAMLs, SMALL or BLOCKS.

    `most`: the largest depth and width that a YAML of upstream's may multiply its rows by.
    """
    from models import common, yolo

    common.Conv.default_act = nn.SiLU()  # a YAML's `activation:` sets it for all networks after
    file = next((Path(yolo.__file__).parent).rglob(f"{name}.yaml"), None)
    if file and most:
        d = yaml.safe_load(file.read_text())
        depth, width = (min(d[f"{of}_multiple"], limit) for of, limit in zip(("depth", "width"), most, strict=True))
        structure = {**d, "depth_multiple": depth, "width_multiple": width}
    else:
        structure = str(file) if file else deepcopy(SMALL.get(name)) or with_block(name)
    torch.manual_seed(seed)
    kind = yolo.SegmentationModel if "-seg" in name else yolo.DetectionModel
    model = kind(structure, ch=3, nc=classes)
    randomise(model, seed)
    return model.eval()


# Blocks that upstream builds and none of its YAMLs holds: rows from 64 channels at stride 8 to 64 at stride 16.
BLOCKS: dict[str, list[list[Any]]] = {
    "BottleneckCSP": [[-1, 3, "BottleneckCSP", [64]], [-1, 1, "Conv", [64, 3, 2]]],
    "C3x": [[-1, 1, "C3x", [64]], [-1, 1, "Conv", [64, 3, 2]]],
    "C3SPP": [[-1, 1, "C3SPP", [64]], [-1, 1, "Conv", [64, 3, 2]]],
    "CrossConv": [[-1, 1, "CrossConv", [64, 3, 2]]],
    "DWConv": [[-1, 1, "DWConv", [64, 3, 2]]],
    "GhostBottleneck": [[-1, 1, "GhostBottleneck", [64, 3, 2]]],
    "Focus": [[-1, 1, "Focus", [64, 3]]],
    "MixConv2d": [[-1, 1, "MixConv2d", [64, [1, 3], 2]]],
    "ConvTranspose2d": [[-1, 1, "nn.ConvTranspose2d", [64, 2, 2]], [-1, 1, "Conv", [64, 3, 4]]],
    "DWConvTranspose2d": [[-1, 1, "DWConvTranspose2d", [64, 2, 2]], [-1, 1, "Conv", [64, 3, 4]]],
    "Contract": [[-1, 1, "Contract", [2]], [-1, 1, "Conv", [64, 1]]],
    "Expand": [[-1, 1, "Expand", [2]], [-1, 1, "Conv", [64, 3, 4]]],
    "grouped": [[-1, 1, "Conv", [64, 3, 2, None, 4]]],
    "transformer": [[-1, 1, "C3TR", [64]], [-1, 1, "Conv", [64, 3, 2]]],
}


def with_block(name: str) -> dict[str, Any]:
    """A small detector with one of BLOCKS in its middle; the levels are at strides 16 and 32."""
    first = [[-1, 1, "Conv", [32, 3, 2]], [-1, 1, "Conv", [48, 3, 2]], [-1, 1, "C3", [48]], [-1, 1, "Conv", [64, 3, 2]]]
    rows = [*first, *BLOCKS[name], [-1, 1, "C3", [64]], [-1, 1, "Conv", [96, 3, 2]]]
    last = len(rows) - 1
    head = [[[last - 1, last], 1, "Detect", ["nc", "anchors"]]]
    return {"nc": 10, "depth_multiple": 1.0, "width_multiple": 1.0, "anchors": 3, "backbone": rows, "head": head}


def graph_of(model: nn.Module, x: torch.Tensor, head: str = "outputs") -> Any:
    """The groups of a network, seen as prune.py sees them."""
    from prunekit_v5.adapter import Yolov5, ignored_layers
    from pruning.network.graph import PruningGraph

    with Yolov5().tracing(model):
        return PruningGraph.build(model, x, ignored=ignored_layers(model, head), rules=())


def prune(model: nn.Module, x: torch.Tensor, criterion: str, **limits: Any) -> Any:
    """Prune in place, in one call; the plan and the scores it was made from."""
    from pruning.planning.apply import apply_plan
    from pruning.planning.plan import make_plan
    from pruning.planning.scores import score_groups

    graph = graph_of(model, x, limits.pop("head", "outputs"))
    scores = score_groups(graph, criterion)
    plan = make_plan(graph, scores, criterion=criterion, **limits)
    apply_plan(graph, plan, scores)
    return graph, plan, scores


def published() -> Any:
    """yolov5s, fused, 224 px, half of the channels by L2: the figures that were published for it."""
    from pruning.network.counts import count

    model, x = network("yolov5s").fuse().requires_grad_(True), torch.zeros(1, 3, 224, 224)
    before = count(model, x)
    prune(model, x, "l2", ratio=0.5, floor=1)
    after = count(model, x)
    return [before.macs, before.params, after.macs, after.params]


def halved(name: str, size: str, criterion: str, scope: str) -> Any:
    """MACs and parameters of a network before and after removing half of its channels, and what the plan foresaw."""
    from pruning.network.counts import count

    model, x = network(name), torch.zeros(1, 3, int(size), int(size))
    before = count(model, x)
    _, plan, _ = prune(model, x, criterion, ratio=0.5, scope=scope, floor=1)
    after = count(model, x)
    assert (plan.pruned.macs, plan.pruned.params) == (after.macs, after.params)
    return [before.macs, before.params, after.macs, after.params]


def equivalence(name: str, scope: str) -> Any:
    """Largest relative difference, in float64, of the pruned network and the dense one with the same channels silenced.

    In evaluation (boxes, prototypes) and in training form (each level's raw outputs), after LAMP at one half.
    """
    model = network(name, classes=10).double()
    dense, x = deepcopy(model), image(64)
    graph, plan, scores = prune(model, x, "lamp", ratio=0.5, scope=scope)
    masked(dense, graph.groups, plan, scores)
    apart = []
    for training in (False, True):
        with torch.no_grad():
            apart.append(
                relative(tensors(training_form(model, training)(x)), tensors(training_form(dense, training)(x)))
            )
    return [max(apart), plan.removed, sorted({type(m).__module__.split(".")[0] for m in model.modules()})]


def rebuilt(name: str, *scopes: str) -> Any:
    """Prune one time after another, close, go through a YAML file, build, load strictly: [difference, sizes]."""
    from models import yolo
    from prunekit_v5.structure import close_structure

    model, x = network(name, classes=10), image(64, torch.float32)
    model.model[-1].anchors *= torch.tensor([1.0, 1.25, 1.5, 1.0])[: model.model[-1].nl].view(-1, 1, 1)

    def step(scope: str) -> None:
        prune(model, x, "lamp", ratio=0.3, scope=scope)
        model.yaml = close_structure(model)

    file, sizes = pruned_and_closed(model, scopes, step)
    again = type(model)(str(file)).eval()
    anchors = float((again.model[-1].anchors - model.model[-1].anchors).abs().max())
    again.load_state_dict(model.state_dict(), strict=True)
    with torch.no_grad():
        pairs = zip(tensors(again(x)), tensors(model.eval()(x)), strict=True)
        off = max(float((a - b).abs().max()) for a, b in pairs)
    after = sum(p.numel() for p in again.parameters())
    assert isinstance(again, yolo.DetectionModel)
    return [off, anchors, sizes[0], sizes[-1], after]


def shallower(name: str) -> Any:
    """Bottlenecks out of two C3: differences to the identity there, of the rebuild, of the proof; sizes, numbers."""
    from prunekit_v5.adapter import Yolov5
    from prunekit_v5.structure import close_structure
    from pruning.network.stacks import cut, find_stacks, mask
    from pruning.network.width_block import yaml_text
    from pruning.planning.depth import BlockEntry, fitting
    from pruning.planning.depth_proof import prove_cut

    model, x = network(name, classes=10).double(), image(64)
    own, size = deepcopy(model), sum(p.numel() for p in model.parameters())
    for block, at in (("model.4", 0), ("model.6", 0), ("model.6", 2)):
        own.get_submodule(block).m[at] = nn.Identity()
    family = Yolov5()
    stacks = find_stacks(model, family.stacks(model), x, family.tracing)
    removed = fitting([BlockEntry("model.4", 2, (1,)), BlockEntry("model.6", 3, (1,))], stacks)
    proof = prove_cut(model, x, removed, family.tracing).error
    for stack, gone in removed:
        mask(model, stack, gone)
        cut(model, stack, gone)
    with torch.no_grad():
        apart = relative(tensors(model(x)), tensors(own(x)))
    model.yaml = close_structure(model.float())
    file = Path("shallow.yaml")
    file.write_text(yaml_text(model.yaml))
    again = type(model)(str(file)).eval()
    again.load_state_dict(model.state_dict(), strict=True)
    with torch.no_grad():
        pairs = zip(tensors(again(x.float())), tensors(model.eval()(x.float())), strict=True)
        off = max(float((a - b).abs().max()) for a, b in pairs)
    after = sum(p.numel() for p in again.parameters())
    return [apart, off, proof, size, after, [row[1] for row in model.yaml["backbone"] if row[2] == "C3"]]


def other_yaml(name: str, size: str = "128") -> Any:
    """One of upstream's other YAMLs: [relative difference to masked, removed, rebuilt difference, what is kept]."""
    model = network(name, classes=10, most=(0.33, 0.25)).double()
    for csp in (m for m in model.modules() if type(m).__name__ == "BottleneckCSP"):
        csp.bn.bias.data.zero_(), csp.bn.running_mean.zero_()  # behind a concatenation: silence must stay silence
    dense, x = deepcopy(model), image(int(size))
    graph, plan, scores = prune(model, x, "lamp", ratio=0.5)
    masked(dense, graph.groups, plan, scores)
    with torch.no_grad():
        apart = relative(tensors(model(x)), tensors(dense(x)))
    from prunekit_v5.structure import close_structure

    model.float().yaml = close_structure(model)
    again = type(model)(deepcopy(model.yaml)).eval()
    again.load_state_dict(model.state_dict(), strict=True)
    with torch.no_grad():
        off = relative(tensors(again(x.float())), tensors(model(x.float())))
    kept = {re.split(r": | \(| to model", reason)[0] for reason in graph.frozen.values()}
    return [apart, plan.removed, off, sorted(kept)]


def told() -> Any:
    """What a block in models/common.py is told that could not be rebuilt once it is pruned; what more channels are."""
    from models.yolo import DetectionModel
    from own_blocks import told_by
    from prunekit_v5.adapter import Yolov5

    return told_by(DetectionModel, Yolov5({"imgsz": 64}))


if __name__ == "__main__":
    torch.set_num_threads(1)
    questions = json.loads(sys.argv[1])
    print("\nANSWERS" + json.dumps([partial(globals()[name], *words)() for name, *words in questions]))
