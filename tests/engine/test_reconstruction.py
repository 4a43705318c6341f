# SPDX-License-Identifier: AGPL-3.0-or-later
"""Ranking by reconstruction error: against refitting without each channel, copies, couplings; toys, no upstream."""

from __future__ import annotations

import copy
import importlib
from collections.abc import Iterator
from contextlib import nullcontext
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from engine_helpers import OUTPUTS, toy
from torch import Tensor, nn


@pytest.fixture(scope="module")
def ranking(engine: object) -> SimpleNamespace:
    """The module, imported as the engine is on its own."""
    return importlib.import_module("pruning.planning.reconstruction")


def test_a_channel_costs_what_refitting_without_it_costs(ranking: SimpleNamespace) -> None:
    """Channels of a 1x3 kernel's input, gone one by one: each cost is the growth of numpy's least squares."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(400, 4 * 3, generator=generator, dtype=torch.float64) @ torch.randn(
        12, 12, generator=generator, dtype=torch.float64
    )
    x -= x.mean(0)
    weights = torch.randn(12, 5, generator=generator, dtype=torch.float64)
    reader = ranking.Reader(torch.linalg.inv(x.T @ x / 400)[None], weights[None], 3)
    rows = torch.arange(12).reshape(4, 3)
    costs = ranking._removal_costs([(reader, rows)], 4)
    wanted, gone, before = (x @ weights).numpy(), [], 0.0
    for channel in costs.argsort()[:3].tolist():
        left = {each: _refitted(x, wanted, [*gone, each]) for each in range(4) if each not in gone}
        assert min(left, key=lambda each: left[each]) == channel, "the least costly goes first"
        grown = left[channel] - before
        assert costs[channel] == pytest.approx(max(grown, float(costs[gone].max()) if gone else 0.0), rel=1e-5)
        gone, before = [*gone, channel], left[channel]


def _refitted(x: Tensor, wanted: np.ndarray, gone: list[int]) -> float:
    """Mean squared error, summed over outputs, of the best weights without some channels."""
    kept = [at for at in range(x.shape[1]) if at // 3 not in gone]
    answer, *_ = np.linalg.lstsq(x[:, kept].numpy(), wanted, rcond=None)
    return float(((x[:, kept].numpy() @ answer - wanted) ** 2).sum()) / len(x)


class Copies(nn.Module):
    """Four channels, of which the second says twice what the first says, and a layer that reads them."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.act, self.second = nn.Conv2d(3, 4, 1), nn.ReLU(), nn.Conv2d(4, 6, 3, padding=1)
        self.first.weight.data[1], self.first.bias.data[1] = 2 * self.first.weight.data[0], 2 * self.first.bias.data[0]

    def forward(self, x: Tensor) -> Tensor:
        return self.second(self.act(self.first(x)))


def test_of_copies_one_costs_next_to_nothing(engine: SimpleNamespace) -> None:
    """A large filter that says what another says goes first; by its norm it would stay longest."""
    torch.manual_seed(1)
    model, images = Copies(), list(torch.randn(8, 3, 12, 12).split(1))
    graph = engine.graph.PruningGraph.build(model, images[0], ignored={"second": "output"})
    state = copy.deepcopy(model.state_dict())
    scores = engine.scores.score_groups(graph, "reconstruction", images=lambda: images)["first"]
    assert int(scores.argmin()) in (0, 1) and scores[:2].min() < 0.1 * min(scores[:2].max(), scores[2])
    again = engine.scores.score_groups(graph, "reconstruction", images=lambda: images)["first"]
    assert torch.equal(scores, again) and all(torch.equal(state[k], v) for k, v in model.state_dict().items())
    assert all(module.training for module in model.modules())


def test_every_kind_of_coupling_has_its_costs(engine: SimpleNamespace) -> None:
    model, x = toy()
    graph = engine.graph.PruningGraph.build(model, x, ignored=OUTPUTS)
    images = [torch.randn_like(x) for _ in range(12)]
    scores = engine.scores.score_groups(graph, "reconstruction", images=lambda: images)
    assert {name: len(score) for name, score in scores.items()} == {g.name: g.channels for g in graph.groups}
    assert all(bool((score > 0).all()) for score in scores.values())
    plan = engine.plan.make_plan(graph, scores, scope="global", target_macs=0.6, floor=2)
    assert engine.apply.apply_plan(graph, plan, scores) == plan.removed > 0


def test_without_images_it_says_so(engine: SimpleNamespace) -> None:
    model, x = toy()
    graph = engine.graph.PruningGraph.build(model, x, ignored=OUTPUTS)
    with pytest.raises(engine.errors.PruneError, match="'reconstruction' needs training images"):
        engine.scores.score_groups(graph, "reconstruction")


def test_wide_layers_are_looked_at_place_by_place(
    engine: SimpleNamespace, ranking: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Beyond a number of features each place of a kernel counts by itself: the same order where places say little."""
    torch.manual_seed(1)
    model, images = Copies(), list(torch.randn(8, 3, 12, 12).split(1))
    graph = engine.graph.PruningGraph.build(model, images[0], ignored={"second": "output"})
    whole = engine.scores.score_groups(graph, "reconstruction", images=lambda: images)["first"]
    monkeypatch.setattr(ranking, "WIDEST", 10)
    apart = engine.scores.score_groups(graph, "reconstruction", images=lambda: images)["first"]
    assert torch.equal(whole.argsort(), apart.argsort()) and not torch.equal(whole, apart)


class Row(nn.Module):
    """Layers in a row, as a YOLO has them; the third changes what it is given, which the last reads, too."""

    def __init__(self) -> None:
        super().__init__()
        self.model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.Conv2d(8, 8, 1), Doubled(), Both())
        for at, source in enumerate([-1, -1, -1, [-1, 1, 0]]):
            self.model[at].i, self.model[at].f = at, source

    def forward(self, x: Tensor) -> Tensor:
        first = self.model[0](x)
        second = self.model[1](first)
        return self.model[3]([self.model[2](second), second, first])


class Doubled(nn.Module):
    """Changes what it is given, once each time that it runs."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(8, 8, 1), nn.Conv2d(8, 8, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.second(self.first(x.mul_(2)))


class Both(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.mix, self.out = nn.Conv2d(24, 8, 1), nn.Conv2d(8, 4, 1)

    def forward(self, x: list[Tensor]) -> Tensor:
        return self.out(self.mix(torch.cat(x, 1)))


@torch.no_grad()
def test_an_error_is_followed_from_its_layer_on(ranking: SimpleNamespace) -> None:
    """What a disturbed layer makes of the outputs, stage by stage, is what the whole network makes of it."""
    torch.manual_seed(2)
    model, batch = Row().eval(), torch.randn(6, 3, 9, 9)
    named = {name: layer for name, layer in model.named_modules() if isinstance(layer, nn.Conv2d)}
    dense, wanted = model(batch), {}
    for name, layer in named.items():
        with ranking.hooked([layer.register_forward_hook(ranking._disturb)]):
            wanted[name] = ranking.apart([model(batch)], [dense]) / ranking.NOISE
    assert ranking.sensitivities(model, named, batch) == pytest.approx(wanted, rel=1e-5)


def test_a_cost_is_for_what_is_to_be_saved(engine: SimpleNamespace) -> None:
    """To end at parameters, an error weighs against those; within a group the order is the same."""
    model, x = toy()
    graph = engine.graph.PruningGraph.build(model, x, ignored=OUTPUTS)
    images = [torch.randn_like(x) for _ in range(12)]
    macs, params = (
        engine.scores.score_groups(graph, "reconstruction", images=lambda: images, per=per)
        for per in ("macs", "params")
    )
    dense = graph.cost()
    for group in graph.groups:
        less = graph.cost({group.name: group.channels - 1})
        ratio = (1 - less.macs / dense.macs) / (1 - less.params / dense.params)
        assert torch.allclose(params[group.name], macs[group.name] * ratio, rtol=1e-4)


def test_the_family_gives_the_images(engine: SimpleNamespace, ranking: SimpleNamespace) -> None:
    """As a run asks for scores: 128 images at most, of the checkpoint's data set."""
    model, x = toy()
    graph = engine.graph.PruningGraph.build(model, x, ignored=OUTPUTS)
    asked = []

    def images(weights: str) -> Iterator[Tensor]:
        asked.append(weights)
        return iter([x, x.flip(2), x.flip(3)])

    family = SimpleNamespace(images=images, tracing=lambda model: nullcontext())
    step = importlib.import_module("pruning.run.step")
    scores = step.scores_of(family, model, graph, "reconstruction", 0, "best.pt")
    wanted = ranking.reconstruction_scores(graph, [x, x.flip(2), x.flip(3)])
    assert asked == ["best.pt"] and all(torch.equal(scores[name], wanted[name]) for name in wanted)
