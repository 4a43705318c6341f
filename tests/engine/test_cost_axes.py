# SPDX-License-Identifier: AGPL-3.0-or-later
"""What a plan says about costs is what is counted: activations on tokens, and shared with a branch for training."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from torch import Tensor, nn


class Tokens(nn.Module):
    """Linear layers and a counted activation on (n, places, channels)."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.a, self.act = nn.Conv2d(3, 16, 3, 2, 1), nn.Linear(16, 48), nn.GELU()
        self.b, self.out = nn.Linear(48, 16), nn.Conv2d(16, 4, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        tokens = self.b(self.act(self.a(x.flatten(2).transpose(1, 2))))
        return self.out(tokens.transpose(1, 2).view(x.shape))


class Block(nn.Module):
    def __init__(self, act: nn.Module, before: int = 16) -> None:
        super().__init__()
        self.conv, self.act = nn.Conv2d(before, 16, 1), act

    def forward(self, x: Tensor) -> Tensor:
        return self.act(self.conv(x))


class Auxiliary(nn.Module):
    """One ReLU for all blocks, one of which is trained only."""

    def __init__(self) -> None:
        super().__init__()
        act = nn.ReLU()
        self.first, self.second, self.extra = Block(act, 3), Block(act), Block(act)
        self.out, self.other = nn.Conv2d(16, 4, 1), nn.Conv2d(16, 4, 1)

    def forward(self, x: Tensor) -> list[Tensor]:
        x = self.second(self.first(x))
        return [self.out(x), self.other(self.extra(x))] if self.training else [self.out(x)]


@pytest.mark.parametrize("kind", [Tokens, Auxiliary])
def test_planned_costs_are_those_that_are_counted(engine: SimpleNamespace, kind: type[nn.Module]) -> None:
    torch.manual_seed(0)
    model, x = kind().train(), torch.zeros(1, 3, 16, 16)
    outputs = {name: "output" for name in ("out", "other") if hasattr(model, name)}
    graph = engine.graph.PruningGraph.build(model, x, ignored=outputs)
    scores = {group.name: torch.rand(group.channels) for group in graph.groups}
    plan = engine.plan.make_plan(graph, scores, ratio=0.7, floor=1)
    assert plan.removed > 10
    engine.apply.apply_plan(graph, plan, scores)
    assert engine.counts.count(model, x) == plan.pruned
