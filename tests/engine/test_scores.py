# SPDX-License-Identifier: AGPL-3.0-or-later
"""Criteria against formulas worked out by hand, and every way in which scores can say nothing."""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from engine_helpers import OUTPUTS, build, graph_of, toy
from torch import Tensor, nn

ALL = ("lamp", "l1", "l2", "group_norm", "bn_scale", "taylor", "hessian", "fpgm", "random", "reconstruction")


def graph_for(engine: SimpleNamespace, seed: int = 0) -> tuple[Any, nn.Module, Tensor]:
    model, x = toy(seed)
    return engine.graph.PruningGraph.build(model, x, ignored=OUTPUTS), model, x


def losses_of(model: nn.Module, x: Tensor, number: int = 2) -> Iterator[Tensor]:
    """Different scalar losses of the toy."""
    for index in range(number):
        out, score = model(x + index)
        yield (out**2).mean() + (score**2).mean()


def same_order(found: Tensor, wanted: Tensor) -> bool:
    return torch.equal(torch.argsort(found, stable=True), torch.argsort(wanted, stable=True))


def test_criteria_are_these(engine: SimpleNamespace) -> None:
    assert engine.scores.CRITERIA == ALL


@pytest.mark.parametrize("criterion", ALL)
def test_every_criterion_scores_and_prunes(engine: SimpleNamespace, criterion: str) -> None:
    graph, model, x = graph_for(engine)
    given = {"losses": lambda: losses_of(model, x), "images": lambda: [x, x + 1, x.flip(3)]}
    scores = engine.scores.score_groups(graph, criterion, **given)
    unscored = {"grow", "hidden"} if criterion == "bn_scale" else set()  # they have no BatchNorm
    assert set(scores) == {group.name for group in graph.groups} - unscored
    for name, score in scores.items():
        assert score.shape == (graph.group(name).channels,) and score.dtype == torch.float32
        assert not engine.scores.flat(score)
    plan = engine.plan.make_plan(graph, scores, ratio=0.5, floor=1)
    assert all(plan.keep[name] == graph.group(name).channels for name in unscored)
    assert engine.apply.apply_plan(graph, plan, scores) == plan.removed > 0
    assert engine.counts.count(model, x) == plan.pruned


@pytest.mark.upstream
@pytest.mark.parametrize("name", ["yolov8n", "yolo11n"])
def test_every_criterion_on_real_networks(kit: SimpleNamespace, name: str) -> None:
    model = build(kit, name, dtype=torch.float32)
    graph = graph_of(kit, model)

    def losses() -> Iterator[Tensor]:
        outputs = kit.blocks.trace_forward(model, torch.rand(1, 3, 64, 64))
        yield sum((value**2).mean() for value in outputs.values())

    for criterion in ALL[:-1]:  # the last takes a minute; the scripts' own tests have it
        scores = kit.scores.score_groups(graph, criterion, losses=losses)
        assert set(scores) == {group.name for group in graph.groups}
        assert not any(kit.scores.flat(score) for score in scores.values())


def test_l1_is_the_filter_norm_of_the_root(engine: SimpleNamespace) -> None:
    graph, model, _ = graph_for(engine)
    norms = model.stem[0].weight.abs().flatten(1).sum(1).float()
    assert torch.allclose(engine.scores.score_groups(graph, "l1")["stem.0"], norms / norms.mean())


def test_lamp_divides_by_what_is_as_large(engine: SimpleNamespace) -> None:
    graph, model, _ = graph_for(engine)
    # of `hidden`: mean over its own rows and the columns of `score` that read them
    raw = ((model.hidden.weight**2).sum(1) + (model.score.weight**2).sum(0)).float() / 2
    wanted = torch.stack([value / raw[raw >= value].sum() for value in raw])
    assert torch.allclose(engine.scores.score_groups(graph, "lamp")["hidden"], wanted)


def test_group_norm_sees_all_layers_of_a_group(engine: SimpleNamespace) -> None:
    graph, model, _ = graph_for(engine)
    raw = ((model.hidden.weight**2).sum(1) + (model.score.weight**2).sum(0)).float()
    assert torch.allclose(engine.scores.score_groups(graph, "group_norm")["hidden"], raw / raw.mean())


def test_taylor_and_hessian_use_all_losses(engine: SimpleNamespace) -> None:
    graph, model, x = graph_for(engine)
    layers = (model.hidden.weight, model.score.weight)
    grads = [torch.autograd.grad(loss, layers) for loss in losses_of(model, x)]
    for criterion, power in (("taylor", 1), ("hessian", 2)):
        scores = engine.scores.score_groups(graph, criterion, losses=lambda: losses_of(model, x))
        rows, columns = ((grads[0][i] ** power + grads[1][i] ** power) * layers[i] ** power for i in (0, 1))
        raw = (rows.abs().sum(1) + columns.abs().sum(0)).float()
        assert torch.allclose(scores["hidden"], raw / raw.mean(), rtol=1e-4)


def test_losses_leave_the_model_as_it_was(engine: SimpleNamespace) -> None:
    graph, model, x = graph_for(engine)
    model.requires_grad_(False)
    before = {name: value.clone() for name, value in model.state_dict().items()}

    def losses() -> Iterator[Tensor]:
        model.train()
        yield from losses_of(model, x)

    engine.scores.score_groups(graph, "taylor", losses=losses)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert not any(p.requires_grad or p.grad is not None for p in model.parameters())
    assert not any(module.training for module in model.modules())


def test_random_follows_its_seed(engine: SimpleNamespace) -> None:
    graph, *_ = graph_for(engine)
    first, again, other = (engine.scores.score_groups(graph, "random", seed=seed) for seed in (5, 5, 6))
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not any(torch.equal(first[name], other[name]) for name in first)


def test_equal_gammas_cannot_rank(engine: SimpleNamespace) -> None:
    graph, model, _ = graph_for(engine)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.ones_(module.weight)
    with pytest.raises(engine.errors.PruneError) as error:
        engine.scores.score_groups(graph, "bn_scale")
    assert "within each of 2 groups all channels score the same (40 channels, scores 1 to 1)" in str(error.value)
    assert "train_sparse.py" in str(error.value)


def test_a_group_without_a_ranking_counts_as_average(engine: SimpleNamespace) -> None:
    graph, model, _ = graph_for(engine)
    with torch.no_grad():
        model.wide[0].weight.copy_(model.wide[0].weight[:1].expand(24, -1, -1, -1))
    scores = engine.scores.score_groups(graph, "l1")
    assert torch.equal(scores["wide.0"], torch.ones(24)) and not engine.scores.flat(scores["stem.0"])
    plan = engine.plan.make_plan(graph, scores, scope="global", ratio=0.3, floor=1)
    assert any("equal scores" in note and "wide.0" in note for note in plan.notes)
    nn.init.zeros_(model.wide[1].weight)  # by bn_scale the same says much: this layer does nothing
    scores = engine.scores.score_groups(graph, "bn_scale")
    assert torch.equal(scores["wide.0"], torch.zeros(24))
    plan = engine.plan.make_plan(graph, scores, scope="global", ratio=0.3, floor=1)
    assert any("without a score" in note and "grow, hidden" in note for note in plan.notes)


@pytest.mark.parametrize(
    ("criterion", "losses", "words"),
    [
        ("lmap", None, "Unknown criterion 'lmap'. Did you mean 'lamp'?"),
        ("taylor", None, "'taylor' needs calibration losses"),
        ("hessian", list, "'hessian' got no calibration loss"),
        ("taylor", lambda: [torch.tensor(1.0)], "must be scalar tensors with a graph"),
    ],
)
def test_bad_requests(engine: SimpleNamespace, criterion: str, losses: Any, words: str) -> None:
    with pytest.raises(engine.errors.PruneError) as error:
        engine.scores.score_groups(graph_for(engine)[0], criterion, losses=losses)
    assert words in str(error.value)


def test_broken_weights_are_named(engine: SimpleNamespace) -> None:
    graph, model, _ = graph_for(engine)
    with torch.no_grad():
        model.hidden.weight[3, 4] = float("nan")
    with pytest.raises(engine.errors.PruneError, match=r"of hidden \(and 0 more groups\) are not finite"):
        engine.scores.score_groups(graph, "l2")
