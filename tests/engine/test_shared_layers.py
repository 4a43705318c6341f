# SPDX-License-Identifier: AGPL-3.0-or-later
"""A layer whose output channels belong to several groups loses what each of them removes."""

from __future__ import annotations

import copy
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from engine_helpers import relative, tensors
from torch import Tensor, nn


class Shared(nn.Module):
    """A concatenation of two layers' channels that goes through a depthwise layer, or is added to another layer's."""

    def __init__(self, depthwise: bool) -> None:
        super().__init__()
        self.a, self.c, self.depthwise = nn.Conv2d(3, 16, 3, 1, 1), nn.Conv2d(16, 12, 1), depthwise
        self.d = nn.Conv2d(28, 28, 3, 1, 1, groups=28) if depthwise else nn.Conv2d(16, 28, 1)
        self.out = nn.Conv2d(28, 5, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.a(x)
        y = torch.cat([x, self.c(x)], 1)
        return self.out(self.d(y) if self.depthwise else torch.relu(y + self.d(x)))


@pytest.mark.parametrize("depthwise", [True, False])
def test_groups_of_unequal_widths_share_a_layer(engine: SimpleNamespace, depthwise: bool) -> None:
    torch.manual_seed(0)
    model, x = Shared(depthwise).double().eval(), torch.randn(1, 3, 8, 8, dtype=torch.float64)
    dense = copy.deepcopy(model)
    graph = engine.graph.PruningGraph.build(model, x, ignored={"out": "output"})
    scores = {"a": torch.rand(16), "c": torch.rand(12)}
    plan = engine.plan.make_plan(graph, scores, ratio=0.5, floor=1)
    plan = replace(plan, entries=tuple(replace(entry, keep={"a": 11, "c": 4}[entry.name]) for entry in plan.entries))
    engine.apply.apply_plan(graph, plan, scores)
    assert (model.a.out_channels, model.c.out_channels, model.d.out_channels) == (11, 4, 15)
    names = {"a": 0, "c": 16}
    gone = [names[e.name] + i for e in plan.entries for i in scores[e.name].argsort()[: e.channels - e.keep].tolist()]
    dense.out.weight.data[:, gone] = 0
    with torch.no_grad():  # the channels of `a` go into `c` and `d`, too
        for name in ("c", "d")[: 1 if depthwise else 2]:
            dense.get_submodule(name).weight.data[:, [i for i in gone if i < 16]] = 0
        assert relative(tensors(model(x)), tensors(dense(x))) < 1e-12
