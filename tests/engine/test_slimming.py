# SPDX-License-Identifier: AGPL-3.0-or-later
"""Network slimming: one threshold on raw |gamma|, the same in inspect_bn.py and in a plan; live channels stay."""

from __future__ import annotations

import importlib
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from engine_helpers import OUTPUTS, build, graph_of, toy
from torch import nn

pytestmark = pytest.mark.filterwarnings("ignore")


def sparse_toy(engine: SimpleNamespace) -> tuple[nn.Module, Any]:
    """A toy after sparsity training: `wide` is all but dead, `left` keeps alive what its shortcut carries."""
    model, x = toy()
    with torch.no_grad():
        for norm in (model.stem[1], model.left[1], model.deep[1], model.wide[1]):
            norm.weight.copy_(torch.linspace(1e-4, 1e-3, norm.num_features))
            norm.bias.zero_()
        model.stem[1].weight[:10] = 0.5
        model.left[1].weight[10:12] = 0.4  # coupled with dead channels of the stem
        model.wide[1].weight[:3] = 0.3
    return model, engine.graph.PruningGraph.build(model, x, ignored=OUTPUTS)


def slim(engine: SimpleNamespace, graph: Any, ratio: float, **more: Any) -> Any:
    scores = engine.scores.score_groups(graph, "bn_scale")
    options = {"scope": "global", "criterion": "bn_scale", "floor": 1, **more}
    return engine.plan.make_plan(graph, scores, ratio=ratio, **options)


@pytest.mark.parametrize("channels", [100, 5200])
def test_a_threshold_keeps_as_many_as_asked_for(engine: SimpleNamespace, channels: int) -> None:
    """In floating point 100 * 0.55 is a little more than 55: its ceiling would keep one more."""
    scales = torch.arange(1.0, channels + 1)
    kept = [int((scales >= engine.bn_sparsity.keep_threshold(scales, keep / 100)).sum()) for keep in range(1, 100)]
    assert kept == [channels * keep // 100 for keep in range(1, 100)]


def test_a_coupled_channel_counts_as_its_largest_scale(engine: SimpleNamespace) -> None:
    model, graph = sparse_toy(engine)
    scores = engine.scores.score_groups(graph, "bn_scale")
    scales = torch.stack([norm.weight.abs() for norm in (model.stem[1], model.left[1], model.deep[1])])
    assert torch.equal(scores["stem.0"], scales.amax(0).float().detach())
    assert torch.equal(scores["wide.0"], model.wide[1].weight.abs().float().detach())


@pytest.mark.parametrize("ratio", [0.2, 0.5, 0.8])
def test_one_threshold_cuts_dead_layers_and_no_live_channel(engine: SimpleNamespace, ratio: float) -> None:
    model, graph = sparse_toy(engine)
    report = engine.bn_sparsity.bn_report(model, 1 - ratio)
    plan = slim(engine, graph, ratio)
    kept = {layer.name: layer.kept for layer in report.layers}
    assert plan.keep["stem.0"] >= max(kept["stem.1"], kept["left.1"], kept["deep.1"])
    assert plan.keep["wide.0"] == max(1, kept["wide.1"]) and plan.keep["stem.0"] <= 16 and plan.removed
    assert f"threshold |gamma| {report.threshold:.4g}" in " ".join(plan.notes)
    x = torch.randn(1, 3, 16, 16, dtype=torch.float64)
    dense = model(x)[1]
    engine.apply.apply_plan(graph, plan, engine.scores.score_groups(graph, "bn_scale"))
    assert float((model(x)[1] - dense).abs().max()) < 0.02 * float(dense.abs().max())


def test_the_account_adds_up(engine: SimpleNamespace) -> None:
    """15 of 72 channels are alive; the other 57 are told one by one."""
    _, graph = sparse_toy(engine)
    threshold = engine.slimming.global_threshold(graph, 57 / 72, {})
    plan = slim(engine, graph, 57 / 72, floor=4)
    said = engine.slimming.account(graph, threshold, plan.keep)
    assert threshold == pytest.approx(0.3) and plan.keep["stem.0"] == 12 and plan.keep["wide.0"] == 4
    # 3 norms' channels go with each of the stem's: 4 * 3 + 20 go, 12 * 3 - 12 are under it beside a live one
    assert (said.channels, said.below, said.gone, said.coupled, said.held, said.frozen) == (72, 57, 32, 24, 1, 0)
    assert "57 of 72 BatchNorm channels are under it, 32 go; of the others stay 24 (coupled" in str(said)


def test_widths_are_rounded_up(engine: SimpleNamespace) -> None:
    _, graph = sparse_toy(engine)
    assert slim(engine, graph, 57 / 72, round_to=8).keep == {"stem.0": 16, "wide.0": 8, "grow": 12, "hidden": 20}


def test_iterative_steps_refer_to_the_first_network(engine: SimpleNamespace) -> None:
    """After a step, the same ratio removes nothing more than what it asks of the first network."""
    _, graph = sparse_toy(engine)
    first = {group.name: group.channels for group in graph.groups}
    plan = slim(engine, graph, 0.25, first=first)
    engine.apply.apply_plan(graph, plan, engine.scores.score_groups(graph, "bn_scale"))
    rest = graph.renewed()
    assert engine.slimming.global_threshold(rest, 0.25, first) <= 0.001  # the lowest of what is left
    assert engine.slimming.global_threshold(rest, 57 / 72, first) == pytest.approx(0.3)


def test_large_biases_are_a_warning(engine: SimpleNamespace) -> None:
    model, graph = sparse_toy(engine)
    assert not [note for note in slim(engine, graph, 0.5).notes if note.startswith("warning: ")]
    nn.init.constant_(model.wide[1].bias, 0.3)
    plan = slim(engine, graph, 0.5)
    assert "warning: the BatchNorm biases of the channels that go are not small" in engine.plan.plan_table(plan)


@pytest.mark.upstream
def test_halves_of_a_block_keep_what_either_needs(kit: SimpleNamespace) -> None:
    """One half of each C2f alive, the other dead: widths are those of the live half, and no live channel goes."""
    model = build(kit, "yolov8n", dtype=torch.float32)
    for name, norm in kit.bn_sparsity.bn_layers(model).items():
        with torch.no_grad():
            norm.weight.copy_(torch.linspace(1e-4, 1e-3, norm.num_features))
            live = norm.num_features // 2 if name.endswith(".cv1.bn") else 8
            norm.weight[:live] = 0.5
    graph = graph_of(kit, model)
    plan = kit.plan.make_plan(
        graph, kit.scores.score_groups(graph, "bn_scale"), scope="global", ratio=0.5, criterion="bn_scale", floor=1
    )
    scales = {group.name: kit.slimming.largest_scales(graph.items[group.name]) for group in graph.groups}
    live = {name: int((scale >= 0.5).sum()) for name, scale in scales.items()}
    assert all(plan.keep[name] >= number for name, number in live.items())
    halves = [entry for entry in plan.entries if entry.tie]
    assert halves and all(entry.keep == max(live[e.name] for e in halves if e.tie == entry.tie) for entry in halves)


def test_a_best_pt_that_is_not_sparse_names_the_last_pt_beside_it(engine: SimpleNamespace, tmp_path: Path) -> None:
    last_instead = importlib.import_module("pruning.scripts.inspect_bn").last_instead
    best, last = tmp_path / "best.pt", tmp_path / "last.pt"
    assert last_instead(best, "train longer") == []
    last.touch()
    assert last_instead(best, "train longer")[0].endswith(f"inspect_bn.py --weights {last}")
    assert last_instead(best, "prune") == last_instead(last, "train longer") == []
