# SPDX-License-Identifier: AGPL-3.0-or-later
"""Repair and statistics where networks and images are not the usual ones; what `before` and `after` are measured on."""

from __future__ import annotations

import copy
import errno
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from engine_helpers import modules
from torch import Tensor, nn


@pytest.fixture(scope="module")
def parts(engine: SimpleNamespace) -> SimpleNamespace:
    """The engine with its repair."""
    names = (*(f"repair.{name}" for name in ("answers", "repair", "solver", "stages")), "training.recalibrate")
    return SimpleNamespace(**vars(engine), **vars(modules(*names)))


class Net(nn.Module):
    """A convolution, a block of its channels, an output."""

    def __init__(self, block: nn.Module) -> None:
        super().__init__()
        self.a, self.block, self.out = nn.Conv2d(3, 16, 3, 2, 1), block, nn.Conv2d(16, 4, 1)

    def forward(self, x: Tensor) -> Any:
        return self.out(self.block(self.a(x).relu()))


class Twice(nn.Module):
    """One convolution for two scales, with a norm for each."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norms = nn.Conv2d(16, 16, 1, bias=False), nn.ModuleList(nn.BatchNorm2d(16) for _ in range(2))

    def forward(self, x: Tensor) -> Tensor:
        return self.norms[0](self.conv(x)) + self.norms[1](self.conv(2 * x))


class SameInput(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(16, 16, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(x).relu() + self.conv(x)


class Squeeze(nn.Module):
    """A norm behind a pooling over all places: one value per channel and image."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(16, 16, 1), nn.BatchNorm2d(16)

    def forward(self, x: Tensor) -> Tensor:
        return x * self.norm(self.conv(x.mean((2, 3), keepdim=True))).sigmoid()


class Row(nn.Module):
    """Stages, the second of which begins by changing what it is given."""

    def __init__(self, inplace: bool) -> None:
        super().__init__()
        second = nn.Sequential(nn.SiLU(inplace), nn.Conv2d(16, 16, 3, 1, 1), nn.Conv2d(16, 16, 3, 1, 1))
        self.model = nn.Sequential(nn.Conv2d(3, 16, 3, 2, 1), second, nn.Conv2d(16, 4, 1))
        for at, module in enumerate(self.model):
            module.f, module.i = -1, at

    def forward(self, x: Tensor) -> Any:
        return self.model(x)


def pictures(number: int, seed: int = 1) -> list[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.randn(number, 3, 4, 4, generator=generator)
    return list(nn.functional.interpolate(coarse, size=16, mode="bicubic").split(1))


def repaired(parts: SimpleNamespace, model: nn.Module, images: list[Tensor], output: str = "out") -> Any:
    """The repaired network, the dense one, as it was before, and what was done."""
    dense, survivors = copy.deepcopy(model.eval()), {}
    graph = parts.graph.PruningGraph.build(model, images[0], ignored={output: "output"})
    scores = parts.scores.score_groups(graph, "l2")
    parts.apply.apply_plan(graph, parts.plan.make_plan(graph, scores, ratio=0.5, floor=2), scores, survivors)
    before = copy.deepcopy(model)
    return model, dense, before, parts.repair.repair(model, dense, survivors, images)


@pytest.mark.parametrize("block", [Twice, SameInput])
def test_a_layer_that_is_called_more_than_once_is_left(parts: SimpleNamespace, block: Any) -> None:
    torch.manual_seed(0)
    done = repaired(parts, Net(block()), pictures(16))[3]
    assert done.fits["block.conv"].left == "called more than once"
    assert done.fits["out"].left is None and done.after <= done.before


@pytest.mark.parametrize("number", [1, 3, 17])
def test_one_value_per_channel_is_no_batch(parts: SimpleNamespace, number: int) -> None:
    torch.manual_seed(0)
    model, _, _, done = repaired(parts, Net(Squeeze()), pictures(number))
    assert done.after <= done.before and all(bool(v.isfinite().all()) for v in model.state_dict().values())


def test_a_stage_that_changes_its_input_is_given_it_anew(parts: SimpleNamespace) -> None:
    fits = []
    for inplace in (False, True):
        torch.manual_seed(0)
        fits.append(repaired(parts, Row(inplace), pictures(16), "model.2")[3].fits)
    assert fits[0] == fits[1]
    stages = parts.stages.Stages(Row(True), [torch.ones(1, 3, 16, 16)])
    with torch.no_grad():
        given = stages.run(0, 0)
        stages.keep(0, [given])
        kept = given.clone()
        stages.run(1, 0)
    assert torch.equal(kept, given), "what was handed out was a copy"


@pytest.mark.parametrize("number", [2, 8, 16])
def test_before_and_after_are_measured_on_images_that_no_fit_saw(
    parts: SimpleNamespace, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    torch.manual_seed(0)
    fitted: list[Tensor] = []
    solver, images = parts.solver.Solver, pictures(number)

    class Spy(solver):  # type: ignore[misc, valid-type]
        def __init__(self, model: Any, dense: Any, survivors: Any, batches: Any, *rest: Any) -> None:
            fitted.extend(batches)
            super().__init__(model, dense, survivors, batches, *rest)

    monkeypatch.setattr(parts.repair, "Solver", Spy)
    model, dense, before, done = repaired(parts, Net(nn.Conv2d(16, 16, 1)), images)
    seen = {float(image.sum()) for batch in fitted for image in batch}
    unseen = [image for image in images if float(image.sum()) not in seen]
    assert unseen and len(seen) + len(unseen) == number and len(seen) >= number // 2
    apart, x = parts.answers.apart, torch.cat(unseen)
    with torch.no_grad():
        assert abs(apart([before(x)], [dense(x)]) - done.before) < 1e-4
        assert abs(apart([model(x)], [dense(x)]) - done.after) < 1e-4


def test_a_single_image_leaves_none_to_judge_by(parts: SimpleNamespace) -> None:
    torch.manual_seed(0)
    model, _, before, done = repaired(parts, Net(nn.Conv2d(16, 16, 1)), pictures(1))
    assert done.before == done.after and not done.fits
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), before.parameters(), strict=True))


def test_a_full_folder_keeps_a_stage_in_memory(parts: SimpleNamespace, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(parts.stages, "_take_room", full)
    tensor = torch.rand(3, 4)
    assert parts.stages._parked(tensor) is tensor


@pytest.mark.parametrize("size", [1, 3, 8])
def test_statistics_are_those_of_all_images_whatever_the_batch(parts: SimpleNamespace, size: int) -> None:
    """Images whose level differs: the variance between batches counts, and a norm that sees one value is left."""
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(8, 4, 5, 5, generator=generator) + 3 * torch.randn(8, 4, 1, 1, generator=generator)
    norm, lone = nn.BatchNorm2d(4).eval(), nn.BatchNorm2d(4).eval()
    net = nn.ModuleList([norm, lone])
    seen = parts.recalibrate.recalibrate(
        net, lambda: ((norm(batch), lone(batch[:1].mean((2, 3), keepdim=True))) for batch in images.split(size))
    )
    assert seen == len(images.split(size)) == int(norm.num_batches_tracked)
    assert torch.allclose(norm.running_var, images.var((0, 2, 3)), rtol=1e-4)
    assert torch.allclose(norm.running_mean, images.mean((0, 2, 3)), atol=1e-5)
    assert not norm.training and norm.momentum == 0.1
    assert bool((lone.running_var == 1).all()) is (size == 8), "a single value has no variance"
