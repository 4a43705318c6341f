# SPDX-License-Identifier: AGPL-3.0-or-later
"""A block that normalises before its convolution, with the names of one that normalises behind it; fpgm's distances."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from engine_helpers import modules
from torch import Tensor, nn


class Before(nn.Module):
    def __init__(self, before: int, after: int) -> None:
        super().__init__()
        self.bn, self.act, self.conv = nn.BatchNorm2d(before), nn.SiLU(), nn.Conv2d(before, after, 3, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(self.act(self.bn(x)))


def net(*widths: int) -> nn.Module:
    a, b, c = widths
    owner = nn.Module()
    owner.model = nn.Sequential(nn.Conv2d(3, a, 3, 2, 1), Before(a, b), Before(b, c), nn.Conv2d(c, 4, 1))
    return owner


@pytest.mark.parametrize("built", [(16, 16, 16), (16, 32, 16)])
@pytest.mark.parametrize("pruned", [(8, 9, 10), (8, 8, 8), (16, 9, 16)])
def test_a_norm_before_its_convolution_is_rebuilt(
    engine: SimpleNamespace, built: tuple[int, ...], pruned: tuple[int, ...]
) -> None:
    block = modules("network.width_block").width_block
    plain = {"backbone": [[-1, 1, "Conv", [16]]], "head": []}
    fresh, owner = net(*built), net(*pruned)
    closed = block.close_block(plain, "guard", owner, fresh, ["model.3"])
    assert ("model.1.bn" in closed["prunekit"]["widths"]) == (pruned[0] != pruned[1])
    fresh.load_state_dict(owner.state_dict())


def test_fpgm_sums_distances_between_filters(engine: SimpleNamespace) -> None:
    """Six filters near one point, two at its negative: far from all others, and equal to them when squared."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 8, 3, bias=False), nn.Conv2d(8, 4, 1))
    base = torch.randn(3, 3, 3)
    signs = torch.tensor([1.0] * 6 + [-1.0] * 2)[:, None, None, None]
    model[0].weight.data = signs * base + 0.05 * torch.randn(8, 3, 3, 3)
    graph = engine.graph.PruningGraph.build(model, torch.zeros(1, 3, 8, 8), ignored={"1": "output"})
    scores = engine.scores.score_groups(graph, "fpgm")["0"]
    flat = model[0].weight.detach().flatten(1)
    wanted = torch.stack([(flat - each).norm(dim=1).sum() for each in flat])
    assert torch.allclose(scores, wanted / wanted.mean(), rtol=1e-5)
    assert set(scores.argsort()[-2:].tolist()) == {6, 7}
