# SPDX-License-Identifier: AGPL-3.0-or-later
"""Repair of layers behind which an activation lets less than everything through: fitted by what is left of them."""

from __future__ import annotations

import copy
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from engine_helpers import modules
from torch import Tensor, nn
from torch.nn import functional


@pytest.fixture(scope="module")
def parts(engine: object) -> SimpleNamespace:
    """The repair, imported as the engine is on its own."""
    return modules("repair.repair repair.consumers repair.nonlinear")


class Block(nn.Module):
    """As YOLO's Conv: a convolution, a norm, an activation."""

    def __init__(self, inside: int, outside: int, act: nn.Module, groups: int = 1) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inside, outside, 3, 1, 1, groups=groups, bias=False)
        self.bn, self.act = nn.BatchNorm2d(outside), act

    def forward(self, x: Tensor) -> Tensor:
        return self.act(self.bn(self.conv(x)))


class Gated(Block):
    """The norm's output is looked at beside the activation, too."""

    def forward(self, x: Tensor) -> Tensor:
        y = self.bn(self.conv(x))
        return self.act(y) + y


class Net(nn.Module):
    """What the block is given is mixed by a matrix that no layer holds: the pruned network's has lost directions."""

    def __init__(self, block: nn.Module) -> None:
        super().__init__()
        self.first, self.block, self.out = nn.Conv2d(3, 12, 1), block, nn.Conv2d(12, 4, 1)
        self.register_buffer("mix", torch.eye(12))

    def forward(self, x: Tensor) -> Any:
        return self.out(self.block(torch.einsum("nchw,cd->ndhw", (2 * self.first(x)).tanh(), self.mix)))


def pictures(number: int, seed: int = 1) -> list[Tensor]:
    return list(torch.randn(number, 3, 8, 8, generator=torch.Generator().manual_seed(seed)).split(1))


def networks(block: Any) -> tuple[Any, Any]:
    """A network that has lost two thirds of what its block was given, and the dense one; most is below zero there."""
    torch.manual_seed(0)
    dense = Net(block()).eval()
    norm = dense.block[1] if isinstance(dense.block, nn.Sequential) else dense.block.bn
    norm.weight.data.fill_(10.0)
    norm.bias.data.fill_(-6.0)
    model = copy.deepcopy(dense)
    lost = torch.linalg.qr(torch.randn(12, 12)).Q[:, :8]
    model.mix -= lost @ lost.T
    return model, dense


BLOCKS = {
    "SiLU": lambda: Block(12, 12, nn.SiLU(inplace=True)),
    "ReLU": lambda: Block(12, 12, nn.ReLU()),
    "LeakyReLU": lambda: Block(12, 12, nn.LeakyReLU(0.1, inplace=True)),
    "grouped": lambda: Block(12, 12, nn.Hardswish(), groups=4),
    "depthwise": lambda: Block(12, 12, nn.SiLU(), groups=12),
    "in a row": lambda: nn.Sequential(nn.Conv2d(12, 12, 3, 1, 1, bias=False), nn.BatchNorm2d(12), nn.SiLU()),
}


def outcome(parts: SimpleNamespace, block: Any, monkeypatch: pytest.MonkeyPatch) -> tuple[Any, float]:
    """What was done, and how far the block's outputs are from the dense network's on other images."""
    monkeypatch.setattr(parts.repair, "_settle", lambda *_: None)
    model, dense = networks(block)
    done = parts.repair.repair(model, dense, {}, pictures(96))
    seen: list[Tensor] = []
    for network in (model, dense):
        network.block.register_forward_hook(lambda module, args, output: seen.append(output.detach()))
        network(torch.cat(pictures(32, seed=2)))
    return done, float(functional.mse_loss(*seen))


@pytest.mark.parametrize("name", BLOCKS)
def test_a_fit_is_better_for_what_the_activation_passes_on(
    parts: SimpleNamespace, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    layer = "block.0" if name == "in a row" else "block.conv"
    done, fit = outcome(parts, BLOCKS[name], monkeypatch)
    monkeypatch.setattr(parts.consumers, "ELEMENTWISE", ())
    linear, plain = outcome(parts, BLOCKS[name], monkeypatch)
    assert done.fits[layer].left is None and done.fits[layer].after < done.fits[layer].before
    assert fit < 0.99 * plain and linear.fits[layer].after != done.fits[layer].after


def test_what_is_looked_at_beside_its_activation_is_fitted_as_it_is(
    parts: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As in a block of somebody else's: what the activation swallows is not lost there."""
    gated = lambda: Gated(12, 12, nn.SiLU())  # noqa: E731
    done, known = outcome(parts, gated, monkeypatch)
    monkeypatch.setattr(parts.consumers, "ELEMENTWISE", ())
    linear, plain = outcome(parts, gated, monkeypatch)
    assert done.fits == linear.fits and known == plain


class Spread(nn.Module):
    """A transposed convolution, whose norm has fewer channels than it has outputs at a place; a norm called twice."""

    def __init__(self) -> None:
        super().__init__()
        self.up = nn.Sequential(nn.ConvTranspose2d(12, 12, 2, 2, bias=False), nn.BatchNorm2d(12), nn.ReLU())
        self.conv, self.bn, self.act = nn.Conv2d(12, 12, 2, 2, bias=False), nn.BatchNorm2d(12), nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        return self.act(self.bn(self.conv(self.up(self.bn(x)))))


def test_a_norm_of_another_form_or_of_two_places_is_not_taken_for_the_layer_s(
    parts: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    done, known = outcome(parts, Spread, monkeypatch)
    monkeypatch.setattr(parts.consumers, "ELEMENTWISE", ())
    linear, plain = outcome(parts, Spread, monkeypatch)
    assert done.fits == linear.fits and known == plain and done.fits["block.up.0"].left is None


def test_a_layer_without_room_for_its_samples_is_fitted_without_its_activation(
    parts: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parts.nonlinear, "MAX_BYTES", 1000)
    done, tight = outcome(parts, BLOCKS["SiLU"], monkeypatch)
    monkeypatch.setattr(parts.consumers, "ELEMENTWISE", ())
    linear, plain = outcome(parts, BLOCKS["SiLU"], monkeypatch)
    assert done.fits == linear.fits and tight == plain


def test_the_error_is_what_is_left_behind_the_activation(parts: SimpleNamespace) -> None:
    """By hand: ReLU makes one of two differences nothing, the other is 1 of a variance sum of 2."""
    fit = parts.nonlinear.NonlinearFit.behind(nn.ReLU(inplace=True), None, 1, 1)
    fit.add(torch.tensor([[[1.0], [1.0], [0.0]]]), torch.tensor([[[-4.0], [2.0], [0.0]]]))
    weights, nothing = torch.ones(1, 1, 1, dtype=torch.float64), torch.zeros(1, 1, 1, dtype=torch.float64)
    square, ridge = torch.full((1, 1, 1), 2.0, dtype=torch.float64), torch.ones(1, 1, dtype=torch.float64)
    change, before, after = fit.refined(nothing, weights, nothing, square, ridge, False)
    wanted = torch.tensor([0.0, 2.0, 0.0])
    spread = float((wanted - wanted.mean()).pow(2).sum())
    put = torch.tensor([1.0, 1.0, 0.0])
    assert abs(before - float((put - wanted).pow(2).sum()) / spread) < 1e-6
    better = (put * float(1 + change)).relu()
    assert after <= before and abs(after - float((better - wanted).pow(2).sum()) / spread) < 1e-6


def test_where_everything_is_passed_on_the_ridge_regression_stays(parts: SimpleNamespace) -> None:
    """Above zero ReLU changes nothing, so the penalised answer stays: it must not creep to a smaller penalty."""
    generator = torch.Generator().manual_seed(0)
    x, wanted = torch.rand(1, 200, 4, generator=generator), 5 + torch.rand(1, 200, 3, generator=generator)
    fit = parts.nonlinear.NonlinearFit.behind(nn.ReLU(), None, 1, 3)
    fit.add(x, wanted)
    weights, shift = torch.ones(1, 4, 3, dtype=torch.float64), torch.ones(1, 1, 3, dtype=torch.float64)
    square, ridge = x.double().transpose(1, 2) @ x.double(), torch.full((1, 4), 20.0, dtype=torch.float64)
    rest = wanted.double() - x.double() @ weights - shift
    start = torch.linalg.solve(square + torch.diag_embed(ridge), x.double().transpose(1, 2) @ rest)
    change, before, after = fit.refined(start, weights, shift, square, ridge, False)
    assert float((change - start).abs().max()) < 1e-4 and after < before
