# SPDX-License-Identifier: AGPL-3.0-or-later
"""MACs held against torch's own counter, and what a shared activation and a transposed convolution cost."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from engine_helpers import build, graph_of, image, modules
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

sys.path.append(str(Path(__file__).parents[2] / "benchmarks"))
from support_checks import products

ATEN = torch.ops.aten
PRODUCTS = (ATEN.convolution, ATEN.addmm, ATEN.mm)  # not bmm: products of two activations are no layer's


class Shared(nn.Module):
    """One activation with three parents, a transposed convolution, and linear layers at 256 positions."""

    def __init__(self) -> None:
        super().__init__()
        act = nn.LeakyReLU(0.1)
        self.first = nn.Sequential(nn.Conv2d(3, 16, 3, padding=1), nn.BatchNorm2d(16), act)
        self.second = nn.Sequential(Subclass(16, 8, 3, padding=1), act)
        self.up = nn.ConvTranspose2d(8, 12, 2, 2)
        self.out = nn.Sequential(nn.Conv2d(12, 4, 1), act)
        self.hidden, self.score = nn.Linear(16, 6), nn.Linear(6, 2)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        y = self.first(x)
        return self.out(self.up(self.second(y))), self.score(self.hidden(y.flatten(2).transpose(1, 2)))


class Subclass(nn.Conv2d):
    """Counted as what it derives from."""


def by_hand(a: int, b: int, up: int, hidden: int) -> int:
    """MACs of Shared at 16 px for these widths: weights, biases, 2 a BatchNorm, 1 an activation."""
    convs = 256 * (3 * 9 * a + a + a * 9 * b + b) + 1024 * (up * 4 + 4)
    return convs + 256 * b * up * 4 + 1024 * up + 256 * (2 * a + a + b) + 1024 * 4 + 256 * hidden * (a + 2) + hidden + 2


def dense_widths(graph: Any) -> dict[str, int]:
    """All channels of each group."""
    return {group.name: group.channels for group in graph.groups}


def flops(model: nn.Module, x: Tensor, ops: tuple[Any, ...] = PRODUCTS) -> float:
    """Half of what torch's counter finds in these operators: multiply-adds."""
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model(x)
    return sum(counter.get_flop_counts()["Global"].get(op, 0) for op in ops) / 2


def test_each_call_is_counted_once(engine: SimpleNamespace) -> None:
    model, x = Shared().eval(), torch.randn(1, 3, 16, 16)
    assert engine.counts.count(model, x).macs == by_hand(16, 8, 12, 6)
    graph = engine.graph.PruningGraph.build(model, x, ignored={"out": "output", "score": "output"})
    assert graph.cost() == engine.counts.count(model, x) and products(graph, dense_widths(graph)) == flops(model, x)
    scores = engine.scores.score_groups(graph, "l1")
    plan = engine.plan.make_plan(graph, scores, ratio=0.5, floor=1)
    engine.apply.apply_plan(graph, plan, scores)
    assert plan.pruned == engine.counts.count(model, x) and plan.pruned.macs == by_hand(8, 4, 6, 3)


def test_what_deployment_drops(engine: SimpleNamespace) -> None:
    deployed, options = (importlib.import_module(f"pruning.{name}") for name in ("network.deployed", "scripts.options"))
    model, x = Shared().eval(), torch.randn(1, 3, 16, 16)
    cost, whole = deployed.deployed_cost(model, x, ["hidden", "score"]), engine.counts.count(model, x)
    assert whole.macs - cost.macs == 256 * 6 * 18 + 6 + 2 and whole.params - cost.params == 16 * 6 + 6 + 6 * 2 + 2
    half = engine.counts.Cost(0.487 * cost.macs, 0)
    line = deployed.deployed_line(cost, half, options.Settings(target_macs=0.5, prune_ratio=None), 0)
    assert "(48.7%), without the one-to-many head" in line and line.endswith("add --deployed")
    assert "add --dep" not in deployed.deployed_line(cost, half, options.Settings(), 0)


@pytest.mark.upstream
def test_a_target_of_the_deployed_network(kit: SimpleNamespace) -> None:
    """yolo26 without its one-to-many head at half of its MACs, step by step, by what is counted on the pruned one."""
    parts = modules("network.deployed", "run.step", "settings", package="ultralytics.pruning")
    deployed, step = parts.deployed, parts.step
    settings = parts.settings.Settings(target_macs=0.5, prune_ratio=None, deployed=True, importance="l2", steps=2)
    model, x = build(kit, "yolo26n", dtype=torch.float32), image(dtype=torch.float32)
    dropped = ["model.23.cv2", "model.23.cv3"]
    family, whole = SimpleNamespace(dropped=lambda _: dropped, tracing=None), kit.counts.count(model, x)
    before, shares = deployed.deployed_cost(model, x, dropped), []
    dense = step.Dense(whole, step.widths_of(model), deployed=before)
    assert before.macs < whole.macs and before.params < whole.params
    for number in (1, 2):
        graph = graph_of(kit, model)
        plan, scores = step.plan_step(family, model, graph, settings, dense, number)
        costs = deployed.deployed_costs(graph, dropped)
        planned = costs(plan.keep)
        kit.apply.apply_plan(graph, plan, scores)
        assert planned == deployed.deployed_cost(model, x, dropped)
        shares.append(planned.macs / before.macs)
    assert shares == pytest.approx([0.5**0.5, 0.5], abs=0.005)


@pytest.mark.upstream
@pytest.mark.parametrize("name", ["yolov6n", "yolov8n-seg", "yolo11n", "yolo26n"])
def test_layers_of_real_networks(kit: SimpleNamespace, name: str) -> None:
    """Every convolution's and linear layer's multiply-adds are those of torch's counter, to the last one."""
    model = build(kit, name, dtype=torch.float32)
    graph = graph_of(kit, model)
    assert products(graph, dense_widths(graph)) == flops(model, image(dtype=torch.float32))
    assert graph.cost() == kit.counts.count(model, image(dtype=torch.float32))


@pytest.mark.upstream
def test_a_target_is_hit_where_one_activation_is_shared(kit: SimpleNamespace) -> None:
    """YOLOv6 has one ReLU for all blocks: half of its MACs is half of what torch counts, not 0.45."""
    model = build(kit, "yolov6n", dtype=torch.float32)
    x = image(dtype=torch.float32)
    dense, graph = flops(model, x), graph_of(kit, model)
    scores = kit.scores.score_groups(graph, "lamp")
    kit.apply.apply_plan(graph, kit.plan.make_plan(graph, scores, target_macs=0.5), scores)
    assert flops(model, x) / dense == pytest.approx(0.5, rel=0.02)
