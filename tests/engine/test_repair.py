# SPDX-License-Identifier: AGPL-3.0-or-later
"""Repair without training: least squares against numpy's, never a worse fit, every kind of layer; toys, no upstream."""

from __future__ import annotations

import copy
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from engine_helpers import OUTPUTS, modules, relative, tensors, toy
from torch import Tensor, nn


@pytest.fixture(scope="module")
def parts(engine: object) -> SimpleNamespace:
    """The modules, imported as the engine is on its own."""
    inside = ("answers", "repair", "layer", "ridge", "solver", "stages")
    names = (*(f"repair.{name}" for name in inside), "run.repair_step", "scripts.options")
    return modules(*names)


def pruned_toy(engine: SimpleNamespace, ratio: float = 0.5) -> tuple[nn.Module, nn.Module, dict[str, list[int]]]:
    """A pruned toy, its dense network, and which channels stayed."""
    model, x = toy()
    dense, survivors = copy.deepcopy(model), {}
    graph = engine.graph.PruningGraph.build(model, x, ignored=OUTPUTS)
    scores = engine.scores.score_groups(graph, "l2")
    engine.apply.apply_plan(graph, engine.plan.make_plan(graph, scores, ratio=ratio, floor=2), scores, survivors)
    return model, dense, survivors


def pictures(number: int, seed: int = 1) -> list[Tensor]:
    """Smooth images: neighbouring pixels say much the same, as in photographs."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.randn(number, 3, 5, 5, generator=generator, dtype=torch.float64)
    return list(nn.functional.interpolate(coarse, size=16, mode="bicubic").split(1))


def test_survivors_are_the_channels_that_stay(engine: SimpleNamespace) -> None:
    model, dense, survivors = pruned_toy(engine)
    kept = dict(model.named_modules())
    assert set(survivors) == {"stem.0", "left.0", "deep.0", "wide.0", "grow", "hidden"}
    whole = dense.stem[0].weight[survivors["stem.0"]]
    assert torch.equal(whole, kept["stem.0"].weight)
    assert torch.equal(dense.deep[0].weight[survivors["deep.0"]], kept["deep.0"].weight)
    assert torch.equal(dense.hidden.bias[survivors["hidden"]], kept["hidden"].bias)
    assert torch.equal(dense.grow.bias[survivors["grow"]], kept["grow"].bias)


def test_every_layer_fits_at_least_as_well_and_the_outputs_come_nearer(
    engine: SimpleNamespace, parts: SimpleNamespace
) -> None:
    model, dense, survivors = pruned_toy(engine)
    before = {name: tuple(value.shape) for name, value in model.state_dict().items()}
    done = parts.repair.repair(model, dense, survivors, pictures(32))
    assert list(done.fits) == ["stem.0", "left.0", "deep.0", "wide.0", "grow", "out", "hidden", "score"]
    assert all(fit.after <= fit.before for fit in done.fits.values())
    assert done.fits["stem.0"].left == "inputs unchanged" and done.fits["left.0"].left is None
    assert done.fits["out"].after < 0.7 * done.fits["out"].before
    assert done.after < 0.7 * done.before
    assert {name: tuple(value.shape) for name, value in model.state_dict().items()} == before
    images = pictures(8, seed=9)
    found, wanted = ([tensors(each(x)) for x in images] for each in (model, dense))
    assert abs(parts.answers.apart(found, wanted) - done.after) < 0.5 * done.after, "on other images, too"
    assert not any(module.training for module in model.modules()) and "Repaired" in done.line()


def test_nothing_removed_nothing_changes(parts: SimpleNamespace) -> None:
    model, _ = toy()
    dense, before = copy.deepcopy(model), copy.deepcopy(model.state_dict())
    done = parts.repair.repair(model, dense, {}, pictures(12))
    assert all(fit.left == "inputs unchanged" for fit in done.fits.values()) and done.after == 0.0
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    assert all(torch.equal(before[name], value) for name, value in dense.state_dict().items())


def test_the_same_seed_gives_the_same_weights(engine: SimpleNamespace, parts: SimpleNamespace) -> None:
    states = []
    for seed in (3, 3, 4):
        model, dense, survivors = pruned_toy(engine)
        parts.repair.repair(model, dense, survivors, pictures(8), seed=seed)
        states.append(torch.cat([value.flatten().double() for value in model.state_dict().values()]))
    assert torch.equal(states[0], states[1]) and not torch.equal(states[0], states[2])


class Linear(nn.Module):
    """Two layers without anything between, the second of a given kind."""

    def __init__(self, second: nn.Module) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 12, 1), second

    def forward(self, x: Tensor) -> Any:
        return self.second(self.first(x))


SECOND = {
    "plain": lambda width: nn.Conv2d(width, 5, 3, padding=1),
    "strided": lambda width: nn.Conv2d(width, 5, 3, stride=2, padding=2, dilation=2),
    "reflected": lambda width: nn.Conv2d(width, 5, (1, 3), padding="same", padding_mode="reflect"),
    "grouped": lambda width: nn.Conv2d(width, 6, 3, padding=1, groups=2),
    "transposed": lambda width: nn.ConvTranspose2d(width, 5, 2, 2),
}


@pytest.mark.parametrize("kind", SECOND)
def test_features_times_matrix_is_what_the_layer_puts_out(parts: SimpleNamespace, kind: str) -> None:
    """At all places, for each kind of layer: what is solved is what is computed."""
    torch.manual_seed(0)
    layer, x = SECOND[kind](12).double(), torch.randn(2, 12, 9, 7, dtype=torch.float64)
    layers, output = parts.layer, layer(x)
    assert layers.obstacle(layer) is None
    at = layers.places(layer, output, 10_000, torch.Generator())
    found = layers.features(layer, x, at) @ layers.matrix(layer) + layers.shift(layer)
    assert torch.allclose(found, layers.grouped(layer, layers.targets(layer, output, at)), atol=1e-12)
    before = layer.weight.clone()
    layers.write(layer, layers.matrix(layer))
    assert torch.equal(before, layer.weight)


def test_what_cannot_be_written_as_a_product_is_left_alone(engine: SimpleNamespace, parts: SimpleNamespace) -> None:
    torch.manual_seed(0)
    model = Linear(nn.ConvTranspose2d(12, 4, 3, 2)).double()
    dense = copy.deepcopy(model)
    model.first.weight.data += 0.1
    done = parts.repair.repair(model, dense, {}, pictures(8))
    assert done.fits["second"].left == "transposed convolution whose kernels overlap or are grouped"


def test_a_linear_network_gets_the_answer_of_numpy(parts: SimpleNamespace, monkeypatch: pytest.MonkeyPatch) -> None:
    """Half of the hidden channels gone, noise on what is wanted: weights and bias are those of numpy's lstsq."""
    torch.manual_seed(0)
    dense = Linear(nn.Conv2d(12, 5, 1)).double()
    model = Linear(nn.Conv2d(2, 5, 1)).double()
    model.first = nn.Conv2d(3, 2, 1).double()  # two of three directions of the image are left
    kept = [1, 7]
    model.first.weight.data, model.first.bias.data = dense.first.weight.data[kept], dense.first.bias.data[kept]
    model.second.weight.data, model.second.bias.data = dense.second.weight.data[:, kept], dense.second.bias.data.clone()
    images = [torch.randn(1, 3, 8, 8, dtype=torch.float64) for _ in range(32)]  # 64 places: all of each image
    least = lambda fitted, held, bias: (parts.ridge.solve(fitted + held, 1e-8, bias), 1e-8)  # noqa: E731
    monkeypatch.setattr(parts.solver, "choose", least)
    done = parts.repair.repair(model, dense, {"first": kept}, images)
    x = torch.cat(images[:24])  # the last batch is none that is fitted
    given = model.first(x).detach().permute(0, 2, 3, 1).reshape(-1, 2).numpy()
    wanted = dense(x).detach().permute(0, 2, 3, 1).reshape(-1, 5).numpy()
    answer, *_ = np.linalg.lstsq(np.c_[given, np.ones(len(given))], wanted, rcond=None)
    found = np.c_[model.second.weight.detach().reshape(5, 2).numpy(), model.second.bias.detach().numpy()]
    assert done.fits["second"].penalty == 1e-8 and np.abs(found - answer.T).max() < 1e-5


def moments(parts: SimpleNamespace, x: Tensor, y: Tensor, width: int) -> Any:
    zero = torch.zeros(1, x.shape[1], width, dtype=torch.float64)
    return parts.ridge.Moments.of(x[None], y[None], zero, torch.zeros(1, 1, width, dtype=torch.float64), True)


def test_streamed_least_squares_is_numpy_s(parts: SimpleNamespace) -> None:
    generator = torch.Generator().manual_seed(0)
    x, y = (torch.randn(300, width, generator=generator, dtype=torch.float64) + 2 for width in (6, 3))
    whole = moments(parts, x[:100], y[:100], 3) + moments(parts, x[100:], y[100:], 3)
    change = parts.ridge.solve(whole, 1e-12, bias=True)[0]
    answer, left, *_ = np.linalg.lstsq(np.c_[x.numpy(), np.ones(300)], y.numpy(), rcond=None)
    assert np.abs(change.numpy() - answer).max() < 1e-9
    spread = float((y - y.mean(0)).pow(2).sum())
    assert abs(whole.error(change[None]) - left.sum() / spread) < 1e-9
    assert abs(whole.error() - float(y.pow(2).sum()) / spread) < 1e-9


def test_dead_inputs_and_few_samples_do_no_harm(parts: SimpleNamespace) -> None:
    """Features that are zero, copies of each other, or more than there are samples: a finite answer, never worse."""
    generator = torch.Generator().manual_seed(0)
    x, y = (torch.randn(4, width, generator=generator, dtype=torch.float64) for width in (9, 2))
    x[:, 0], x[:, 1] = 0.0, x[:, 2]
    few = moments(parts, x, y, 2)
    for penalty in parts.ridge.GRID[1:]:
        assert few.error(parts.ridge.solve(few, penalty, bias=True)) <= few.error() + 1e-12
    dead = moments(parts, torch.zeros_like(x), y, 2)
    change = parts.ridge.solve(dead, 1e-2, bias=True)
    assert bool(change.isfinite().all()) and abs(dead.error(change) - 1) < 1e-9, "the mean, by the bias alone"
    noise = moments(parts, torch.randn(40, 9, dtype=torch.float64), torch.randn(40, 2, dtype=torch.float64), 2)
    change, penalty = parts.ridge.choose(few, noise, True)
    assert change is None or penalty > 1e-8, "what was held out has its say"


@pytest.mark.parametrize("number", [1, 2, 5])
def test_few_images(engine: SimpleNamespace, parts: SimpleNamespace, number: int) -> None:
    model, dense, survivors = pruned_toy(engine)
    done = parts.repair.repair(model, dense, survivors, pictures(number))
    assert done.images == number and done.after <= done.before
    assert all(bool(value.isfinite().all()) for value in model.state_dict().values())


class Row(nn.Module):
    """The form of a YOLO: layers in a row, each saying by `f` where its input comes from; the head changes its list."""

    def __init__(self) -> None:
        super().__init__()
        conv = lambda a, b, groups=1: nn.Sequential(  # noqa: E731
            nn.Conv2d(a, b, 3, 1, 1, groups=groups, bias=False), nn.BatchNorm2d(b), nn.SiLU(inplace=True)
        )
        self.model = nn.Sequential(conv(3, 16), conv(16, 16, 16), conv(16, 8), Cat(), Ends(24, 8))
        for at, source in enumerate([-1, -1, -1, [-1, 1], [-1, 2]]):
            self.model[at].i, self.model[at].f = at, source

    def forward(self, x: Tensor) -> Any:
        made: list[Any] = []
        for module in self.model:
            source = module.f
            if source != -1:
                x = [x if at == -1 else made[at] for at in source]
            x = module(x)
            made.append(x)
        return x


class Cat(nn.Module):
    def forward(self, x: list[Tensor]) -> Tensor:
        return torch.cat(x, 1)


class Ends(nn.Module):
    def __init__(self, *widths: int) -> None:
        super().__init__()
        self.m = nn.ModuleList(nn.Conv2d(width, 4, 1) for width in widths)

    def forward(self, x: list[Tensor]) -> list[Tensor]:
        for at, layer in enumerate(self.m):
            x[at] = layer(x[at])
        return x


@pytest.mark.parametrize("large", [0, 1 << 28])
def test_stage_by_stage_is_the_network(
    engine: SimpleNamespace, parts: SimpleNamespace, monkeypatch: pytest.MonkeyPatch, large: int
) -> None:
    """Also where what is kept between the stages lies in files."""
    monkeypatch.setattr(parts.stages, "LARGE", large)
    torch.manual_seed(0)
    model = Row().double().eval()
    images = pictures(16)
    with torch.no_grad():
        found, wanted = parts.repair.forward(model, images), [model(x) for x in images]
    assert relative(tensors(found), tensors(wanted)) == 0
    dense, survivors = copy.deepcopy(model), {}
    graph = engine.graph.PruningGraph.build(model, images[0], ignored={"model.4": "output"})
    scores = engine.scores.score_groups(graph, "l2")
    engine.apply.apply_plan(graph, engine.plan.make_plan(graph, scores, ratio=0.5, floor=2), scores, survivors)
    stages = parts.stages.Stages(model, images)
    assert len(stages.modules) == 5
    done = parts.repair.repair(model, dense, survivors, images)
    assert list(done.fits) == ["model.0.0", "model.1.0", "model.2.0", "model.4.m.0", "model.4.m.1"]
    assert done.after < done.before and all(fit.after <= fit.before for fit in done.fits.values())


@pytest.mark.parametrize(
    ("asked", "epochs", "images", "criterion", "wanted"),
    [
        (None, 0, 3, "lamp", 128),
        (None, 5, 3, "lamp", 0),
        (None, 5, 3, "reconstruction", 128),
        (0, 5, 3, "reconstruction", 0),
        (7, 5, 3, "lamp", 7),
        (0, 0, 3, "lamp", 0),
        (None, 0, 0, "lamp", 0),
        (7, 0, 0, "lamp", "--repair 7: no training"),
    ],
)
def test_when_it_is_done(
    parts: SimpleNamespace, asked: Any, epochs: int, images: int, criterion: str, wanted: Any
) -> None:
    family = SimpleNamespace(arguments=lambda: {"epochs": epochs}, images=lambda weights: iter(pictures(3)[:images]))
    settings = parts.options.Settings(repair=asked, importance=criterion).checked()
    if isinstance(wanted, str):
        with pytest.raises(Exception, match=wanted):
            parts.repair_step.settled(family, "best.pt", settings)
    else:
        assert parts.repair_step.settled(family, "best.pt", settings).repair == wanted


@pytest.mark.parametrize("logit", [4.1, 11.0, 40.0])
def test_what_never_varies_does_not_outweigh_the_rest(parts: SimpleNamespace, logit: float) -> None:
    """YOLOv5 and YOLOv7 do not train a single class: its probability is the same everywhere, and says nothing."""
    generator = torch.Generator().manual_seed(0)
    wanted = torch.randn(2, 3, 4, 4, 6, generator=generator)
    wanted[..., 5] = logit
    found = wanted + 0.1 * torch.randn(wanted.shape, generator=generator)
    off = parts.answers.apart([[found]], [[wanted]])
    without = parts.answers.apart([[found[..., :5]]], [[wanted[..., :5]]])
    assert 0 < off < 2 * without, "finite, and as far apart as boxes and objects are"
    assert parts.answers.apart([[wanted]], [[wanted]]) == 0


def test_boxes_count_where_an_object_is_and_classes_as_probabilities(parts: SimpleNamespace) -> None:
    """Both forms of heads: an error on the background costs next to nothing, the same error on an object does."""
    apart, generator = parts.answers.apart, torch.Generator().manual_seed(0)
    wanted = torch.randn(2, 3, 4, 4, 8, generator=generator)
    wanted[..., 4] = -9.0
    wanted[:, 0, 1, 2, 4] = 4.0
    empty, sure = wanted.clone(), wanted.clone()
    empty[:, 1, 2, 2, :4] += 2
    sure[:, 0, 1, 2, :4] += 2
    assert apart([[wanted]], [[wanted]]) == 0
    assert apart([[empty]], [[wanted]]) < 1e-3 * apart([[sure]], [[wanted]])
    boxes, scores = torch.randn(2, 16, 30, generator=generator), torch.full((2, 5, 30), -9.0)
    scores[:, 2, 7] = 3.0
    named = {"boxes": boxes, "scores": scores, "feats": [torch.zeros(1, 3)], "proto": torch.zeros(2, 4, 6, 6)}
    empty, sure = boxes.clone(), boxes.clone()
    empty[..., 3] += 2
    sure[..., 7] += 2
    off = {**named, "feats": [torch.zeros(1, 2)]}
    assert apart([off], [named]) == 0
    assert apart([{**off, "boxes": empty}], [named]) < 1e-2 * apart([{**off, "boxes": sure}], [named])


def test_a_box_counts_more_than_the_other_kinds_of_answers(parts: SimpleNamespace) -> None:
    """The same share of its variance, in either form of head: BOXES times that of a score."""
    apart, generator = parts.answers.apart, torch.Generator().manual_seed(0)
    boxes, scores = torch.randn(2, 16, 30, generator=generator), torch.full((2, 5, 30), 4.0)
    scores[:, :, ::2] = -4.0
    named, weight = {"boxes": boxes, "scores": scores}, parts.answers.BOXES
    sure, odds = scores.sigmoid().amax(1, keepdim=True), scores.sigmoid()
    spread = float((sure * boxes.pow(2)).sum() - (sure * boxes).sum() ** 2 / (sure * torch.ones_like(boxes)).sum())
    boxed = apart([{**named, "boxes": boxes + 0.1}], [named])
    assert abs(boxed - weight / (weight + 1) * float((0.01 * sure * torch.ones_like(boxes)).sum()) / spread) < 1e-5
    scored = apart([{**named, "scores": -scores}], [named])
    wanted = float((scores.sigmoid() - (-scores).sigmoid()).pow(2).sum() / (odds - odds.mean()).pow(2).sum())
    assert abs(scored - wanted / (weight + 1)) < 1e-4
    anchors = torch.randn(2, 3, 4, 4, 8, generator=generator)
    found = [anchors.clone() for _ in range(2)]
    found[0][..., :4] += 0.05
    found[1][..., 5:] += 0.05
    assert apart([[found[0]]], [[anchors]]) > 20 * apart([[found[1]]], [[anchors]])
