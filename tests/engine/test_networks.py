# SPDX-License-Identifier: AGPL-3.0-or-later
"""Real networks: published counts, and pruned equals masked for every generation and task."""

from __future__ import annotations

import copy
import io
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from engine_helpers import all_outputs, build, graph_of, image, keeps, masked, relative
from torch import nn

pytestmark = pytest.mark.upstream

# facts.md, "ratio 0.5, params", uniform columns: name, dense, head kept whole, only its outputs kept.
# All keep attention blocks whole. yolo26n was measured with halves of unequal width: its blocks cannot be merged.
TABLE = [
    ("yolov8n", 3_157_200, 1_174_568, 800_264),
    ("yolov8s", 11_166_560, 3_632_400, 2_807_952),
    ("yolo11n", 2_624_080, 1_265_136, 848_200),
    ("yolo12n", 2_602_288, 1_928_704, 1_598_264),
    ("yolo26n", 2_572_280, 1_314_376, 1_001_400),
]


@pytest.mark.parametrize(("name", "dense", "head", "outputs"), TABLE)
def test_published_table(kit: SimpleNamespace, name: str, dense: int, head: int, outputs: int) -> None:
    for mode, wanted in (("head", head), ("outputs", outputs)):
        model = build(kit, name, dtype=torch.float32)
        graph = graph_of(kit, model, mode, attention="block", ties=name != "yolo26n")
        assert graph.cost().params == dense
        assert graph.cost(keeps(graph)).params == wanted


def test_equal_halves_cost_yolo26n_little(kit: SimpleNamespace) -> None:
    model = build(kit, "yolo26n", dtype=torch.float32)
    graph = graph_of(kit, model, "head")
    assert graph.cost(keeps(graph)).params == 1_351_368
    assert graph.frozen["model.22.cv0.conv"].startswith("half of a block, equal to model.22.cv1.conv (tied to")


def test_default_prunes_around_attention(kit: SimpleNamespace) -> None:
    found = {}
    for name in ("yolo11n", "yolo12n", "yolo26n"):
        graph = graph_of(kit, build(kit, name, dtype=torch.float32))
        found[name] = graph.cost(keeps(graph)).params
    assert found == {"yolo11n": 757_576, "yolo12n": 1_067_832, "yolo26n": 890_168}


def prune(kit: SimpleNamespace, model: nn.Module, mode: str, *, x: torch.Tensor, **settings: Any) -> Any:
    """Prune `model` in place by group norm; returns the plan."""
    graph = graph_of(kit, model, mode, x=x)
    scores = kit.scores.score_groups(graph, "group_norm")
    plan = kit.plan.make_plan(graph, scores, floor=1, **settings)
    kit.apply.apply_plan(graph, plan, scores)
    return plan


def test_published_first_step_of_yolo11n(kit: SimpleNamespace) -> None:
    model, x = build(kit, "yolo11n", dtype=torch.float32), image(640, torch.float32)
    plan = prune(kit, model, "head", x=x, ratio=1 - 0.5 ** (1 / 10))
    assert plan.pruned == kit.counts.count(model, x) == kit.counts.Cost(2_944_523_600, 2_374_149)
    assert plan.dense.params == 2_624_080 and plan.dense.macs / plan.pruned.macs == 1.1125151790259042


@pytest.mark.slow
def test_published_ten_steps_of_yolo11n(kit: SimpleNamespace) -> None:
    model, x = build(kit, "yolo11n", dtype=torch.float32), image(64, torch.float32)
    params = [prune(kit, model, "head", x=x, ratio=1 - 0.5 ** (1 / 10)).pruned.params for _ in range(10)]
    assert (params[0], params[-1]) == (2_374_149, 1_190_775)
    assert sum(parameter.numel() for parameter in model.parameters()) == 1_190_775


@pytest.mark.slow
def test_published_yolov8x(kit: SimpleNamespace) -> None:
    model, x = build(kit, "yolov8x", dtype=torch.float32), image(640, torch.float32)
    plan = prune(kit, model, "head", x=x, ratio=0.5)
    assert plan.dense == kit.counts.Cost(129_092_051_200, 68_229_648)
    assert plan.pruned == kit.counts.count(model, x) == kit.counts.Cost(41_741_203_200, 20_787_528)


QUICK = [("yolov8n", "local"), ("yolo11n", "global"), ("yolo26n-pose", "local"), ("yolov8n-cls", "global")]
TASKS = ["", "-seg", "-pose", "-obb", "-cls"]
NAMES = [name + task for name in ("yolov8n", "yolo11n", "yolo26n", "yolo12n") for task in TASKS]
WAYS = [[("local", "outputs"), ("global", "head")], [("local", "head"), ("global", "outputs")]]
ALL = [(name, *way) for at, name in enumerate(NAMES) for way in WAYS[at % 2]]  # each network in both, by turns


@pytest.mark.parametrize(("name", "scope"), QUICK)
def test_pruned_equals_masked(kit: SimpleNamespace, name: str, scope: str) -> None:
    check_pruned_equals_masked(kit, name, scope, "outputs")


@pytest.mark.slow
@pytest.mark.parametrize(("name", "scope", "mode"), ALL)
def test_pruned_equals_masked_everywhere(kit: SimpleNamespace, name: str, scope: str, mode: str) -> None:
    check_pruned_equals_masked(kit, name, scope, mode)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["yolo12l", "yolov10n"])  # a lone per-channel parameter; PSA and C2fCIB
def test_pruned_equals_masked_in_rare_blocks(kit: SimpleNamespace, name: str) -> None:
    check_pruned_equals_masked(kit, name, "global", "outputs")


def check_pruned_equals_masked(kit: SimpleNamespace, name: str, scope: str, mode: str) -> None:
    model, x = build(kit, name), image()
    stock = {type(module) for module in model.modules()}
    dense = copy.deepcopy(model)
    kit.surgery.split_blocks(dense, kit.blocks.RULES)
    graph = graph_of(kit, model, mode)
    scores = kit.scores.score_groups(graph, "random", seed=3)
    plan = kit.plan.make_plan(graph, scores, scope=scope, ratio=0.5, floor=2)
    unmasked = all_outputs(kit, dense, x)
    wanted = all_outputs(kit, masked(dense, graph.groups, plan, scores), x)
    kit.apply.apply_plan(graph, plan, scores)
    assert relative(all_outputs(kit, model, x), wanted) < 1e-12
    assert kit.counts.count(model, x) == plan.pruned
    kit.surgery.merge_blocks(model, kit.blocks.RULES)
    assert relative(all_outputs(kit, model, x), wanted) < 1e-12
    assert kit.counts.count(model, x) == plan.pruned
    assert relative(unmasked, wanted) > 0.01  # the mask matters
    assert {type(module) for module in model.modules()} == stock


def test_a_pruned_model_pickles_no_class_of_ours(kit: SimpleNamespace) -> None:
    model = build(kit, "yolo11n", dtype=torch.float32)
    prune(kit, model, "outputs", x=image(64, torch.float32), ratio=0.5)
    for merged in (False, True):
        torch.save(model, buffer := io.BytesIO())
        ours = [name for name in (b"ultralytics.prunekit", b"ultralytics.pruning") if name in buffer.getvalue()]
        assert bool(ours) is not merged
        kit.surgery.merge_blocks(model, kit.blocks.RULES)


def test_a_wrong_channel_would_be_seen(kit: SimpleNamespace) -> None:
    model, x = build(kit, "yolo11n"), image()
    dense = copy.deepcopy(model)
    kit.surgery.split_blocks(dense, kit.blocks.RULES)
    graph = graph_of(kit, model)
    scores = kit.scores.score_groups(graph, "random")
    plan = kit.plan.make_plan(graph, scores, ratio=0.5)
    kit.apply.apply_plan(graph, plan, scores)
    one_off = {**scores, "model.4.cv2.conv": scores["model.4.cv2.conv"].roll(1)}
    wanted = all_outputs(kit, masked(dense, graph.groups, plan, one_off), x)
    assert relative(all_outputs(kit, model, x), wanted) > 1e-6


@pytest.mark.parametrize("name", ["yolov8n", "yolo12n", "yolo26n-seg"])
def test_every_layer_is_in_a_group_or_has_a_reason(kit: SimpleNamespace, name: str) -> None:
    model = build(kit, name, dtype=torch.float32)
    graph = graph_of(kit, model)
    grouped = [layer for group in graph.groups for layer in group.layers]
    layers = {n for n, m in model.named_modules() if isinstance(m, (nn.Linear, nn.modules.conv._ConvNd))}
    assert len(grouped) == len(set(grouped)) and not set(grouped) & set(graph.frozen)
    assert set(grouped) | set(graph.frozen) == layers and all(graph.frozen.values())
    widths = {group.name: group.channels for group in graph.groups}
    ties = {group.tie: {widths[g.name] for g in graph.groups if g.tie == group.tie} for group in graph.groups}
    ties.pop(None)
    assert ties and all(len(width) == 1 for width in ties.values())


def test_tracing_without_a_forward_is_the_same(kit: SimpleNamespace) -> None:
    model = build(kit, "yolo26n", dtype=torch.float32)
    graph = graph_of(kit, model)
    detach, modes = torch.Tensor.detach, [module.training for module in model.modules()]
    with kit.blocks.tracing(model):
        kept = kit.blocks.ignored_layers(model)
        other = kit.graph.PruningGraph.build(model, image(), ignored=kept, rules=kit.blocks.RULES)
    assert other.groups == graph.groups and other.frozen == graph.frozen and other.cost() == graph.cost()
    assert torch.Tensor.detach is detach and [module.training for module in model.modules()] == modes
    assert not model._forward_hooks


def test_attention_that_is_not_ignored_is_kept(kit: SimpleNamespace) -> None:
    model = build(kit, "yolo11n", dtype=torch.float32)
    kit.surgery.split_blocks(model, kit.blocks.RULES)
    graph = kit.graph.PruningGraph.build(model, image(), forward=kit.blocks.trace_forward)
    said = "model.10.m.0.attn Attention: a reshape regroups the channels"
    assert graph.frozen["model.10.m.0.attn.qkv.conv"] == said and len(graph.groups) > 60


def test_unknown_modes(kit: SimpleNamespace) -> None:
    for arguments in (("outputz",), ("head", "blocks")):
        with pytest.raises(kit.errors.PruneError, match=r"\(outputs, head\).*\(inner, block\)"):
            kit.blocks.ignored_layers(build(kit, "yolov8n"), *arguments)
