# SPDX-License-Identifier: AGPL-3.0-or-later
"""What a proof holds for: the size and the modes of use, the network it was made of, values that are numbers."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from engine_helpers import modules
from torch import Tensor, nn


@pytest.fixture(scope="module")
def parts(engine: SimpleNamespace) -> SimpleNamespace:
    """The engine with its proof."""
    return SimpleNamespace(**vars(engine), **vars(modules("planning.proof", "planning.draw", "run.step", "run.proofs")))


class Spread(nn.Module):
    """Divides by what the channels spread, without gradients: autograd sees a constant."""

    def forward(self, x: Tensor) -> Tensor:
        return x / (x.detach().std(1, keepdim=True) + 0.1) if self.applies(x) else x * 1.0

    def applies(self, x: Tensor) -> bool:
        return True


class Large(Spread):
    def applies(self, x: Tensor) -> bool:
        return x.shape[-1] > 32


class Used(Spread):
    def applies(self, x: Tensor) -> bool:
        return not self.training


class Switched(Spread):
    def __init__(self, on: bool) -> None:
        super().__init__()
        self.on = on

    def applies(self, x: Tensor) -> bool:
        return self.on


class Temper(nn.Module):
    """A learned temperature, of which the logarithm is taken."""

    def __init__(self, value: float) -> None:
        super().__init__()
        self.t = nn.Parameter(torch.tensor([value]))

    def forward(self, x: Tensor) -> Tensor:
        return -x * torch.log(self.t)


class Net(nn.Module):
    def __init__(self, block: nn.Module, first: nn.Module | None = None) -> None:
        super().__init__()
        self.a, self.first, self.b = nn.Conv2d(3, 8, 3, 2, 1), first or nn.Identity(), nn.Conv2d(8, 8, 1)
        self.block, self.out = block, nn.Conv2d(8, 4, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(self.block(self.b(self.first(self.a(x)))))


class Toy:
    """As much of a family as opening a network takes."""

    rules = ()

    def __init__(self, size: int = 64) -> None:
        self.size = size

    def load(self, model: nn.Module) -> nn.Module:
        return model.train()

    def example(self, model: nn.Module) -> Tensor:
        return torch.zeros(1, 3, self.size, self.size)

    def ignored(self, model: nn.Module) -> dict[str, str]:
        return {"out": "output"}

    @contextmanager
    def tracing(self, model: nn.Module) -> Iterator[None]:
        yield


def opened(parts: SimpleNamespace, model: nn.Module, size: int = 64) -> Any:
    return parts.step.open_model(Toy(size), model, SimpleNamespace(ignore=()))[1]


@pytest.mark.parametrize(("size", "groups", "proven"), [(64, ["a", "b"], 64), (128, ["a"], 128)])
def test_a_network_that_computes_otherwise_on_large_maps(
    parts: SimpleNamespace, size: int, groups: list[str], proven: int
) -> None:
    torch.manual_seed(0)
    graph = opened(parts, Net(Large()), size)
    assert [group.name for group in graph.groups] == groups and graph.proof.size == proven


def test_the_small_image_serves_where_nothing_changes_with_size(parts: SimpleNamespace) -> None:
    torch.manual_seed(0)
    graph = opened(parts, Net(nn.AvgPool2d(2)), 256)
    assert graph.proof.size == 64 and [group.name for group in graph.groups] == ["a", "b"]


def test_a_module_that_computes_otherwise_in_use(parts: SimpleNamespace) -> None:
    torch.manual_seed(0)
    graph = opened(parts, Net(Used()))
    assert list(graph.proof.opaque) == ["block"] and [group.name for group in graph.groups] == ["a"]


def test_one_network_s_proof_is_not_taken_for_another_s(
    parts: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.manual_seed(0)
    made: list[Any] = []
    prove = parts.proofs.prove
    monkeypatch.setattr(parts.proofs, "prove", lambda *args, **named: made.append(1) or prove(*args, **named))
    assert not opened(parts, Net(Switched(False))).proof.opaque
    assert list(opened(parts, Net(Switched(True))).proof.opaque) == ["block"]
    assert not opened(parts, Net(Switched(False))).proof.opaque and len(made) == 2, "other weights, the same proof"


@pytest.mark.parametrize("value", [0.05, 1e4])
def test_a_small_parameter_hides_nothing_behind_it(parts: SimpleNamespace, value: float) -> None:
    """Drawn around zero, its logarithm would be no number, and so would all that comes after."""
    torch.manual_seed(0)
    model, x = Net(Spread(), Temper(value)), torch.zeros(1, 3, 16, 16)
    proof = parts.proof.prove(model, x, tracing=lambda model: nullcontext(), ignored={"out": "output"})
    assert list(proof.opaque) == ["block"]


def test_values_that_are_no_numbers_are_said(parts: SimpleNamespace) -> None:
    model, x = Net(nn.Identity(), Temper(-1.0)), torch.zeros(1, 3, 16, 16)
    with pytest.raises(parts.errors.PruneError, match="first Temper gives values that are not finite"):
        parts.proof.prove(model, x, tracing=lambda model: nullcontext(), ignored={"out": "output"})


def test_bare_parameters_keep_their_signs_and_are_not_zero(parts: SimpleNamespace) -> None:
    model = nn.Module()
    model.gamma = nn.Parameter(torch.tensor([0.0, -3.0, 1e-4, 2.0]))
    parts.draw.randomise(model)
    drawn = model.gamma.detach()
    assert bool((drawn != 0).all()) and drawn[1] < -2 and 0 < drawn[2] < 2e-4
