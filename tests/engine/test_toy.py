# SPDX-License-Identifier: AGPL-3.0-or-later
"""The engine on its own: a network with every kind of coupling, no upstream anywhere."""

from __future__ import annotations

import copy
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from engine_helpers import OUTPUTS, keeps, masked, modules, relative, tensors, toy
from torch import nn


@pytest.mark.parametrize("scope", ["local", "global"])
@pytest.mark.parametrize("criterion", ["lamp", "random"])
def test_pruned_toy_equals_masked_toy(engine: SimpleNamespace, scope: str, criterion: str) -> None:
    model, x = toy()
    dense = copy.deepcopy(model)
    graph = engine.graph.PruningGraph.build(model, x, ignored=OUTPUTS)
    scores = engine.scores.score_groups(graph, criterion)
    plan = engine.plan.make_plan(graph, scores, scope=scope, ratio=0.4, floor=3)
    assert engine.apply.apply_plan(graph, plan, scores) == plan.removed > 20
    with torch.no_grad():
        wanted = tensors(masked(dense, graph.groups, plan, scores)(x))
        assert relative(tensors(model(x)), wanted) < 1e-12
    assert engine.counts.count(model, x) == plan.pruned


def test_groups_and_reasons_cover_every_layer(engine: SimpleNamespace) -> None:
    model, x = toy()
    graph = engine.graph.PruningGraph.build(model, x, ignored=OUTPUTS)
    assert {group.name: (group.channels, set(group.layers)) for group in graph.groups} == {
        "stem.0": (16, {"stem.0", "left.0", "deep.0"}),
        "wide.0": (24, {"wide.0"}),
        "grow": (12, {"grow"}),
        "hidden": (20, {"hidden"}),
    }
    assert graph.frozen == {"out": "output", "score": "output"}


def test_weights_that_remember_how_they_were_made_are_weights(engine: SimpleNamespace) -> None:
    """YOLOv5's fuse() copies into a weight with autograd on; the weight then hangs on what it was made from."""
    model, x = toy()
    wanted = engine.graph.PruningGraph.build(copy.deepcopy(model), x, ignored=OUTPUTS)
    weight = model.wide[0].weight.requires_grad_(False)
    scale = nn.Parameter(torch.ones(len(weight), dtype=weight.dtype))  # a value for each channel, as BatchNorm's
    weight.copy_(weight * scale.view(-1, 1, 1, 1))
    assert not weight.is_leaf
    graph = engine.graph.PruningGraph.build(model, x, ignored=OUTPUTS)
    assert [group.name for group in graph.groups] == [group.name for group in wanted.groups]
    assert graph.frozen == wanted.frozen


def test_outputs_are_found_without_being_named(engine: SimpleNamespace) -> None:
    model, x = toy()
    frozen = engine.graph.PruningGraph.build(model, x).frozen
    assert set(frozen) == {"out", "score"} and all("output of the traced forward" in why for why in frozen.values())


def test_cost_predicts_the_count_of_every_width(engine: SimpleNamespace) -> None:
    model, x = toy()
    graph = engine.graph.PruningGraph.build(model, x, ignored=OUTPUTS)
    assert graph.cost() == engine.counts.count(model, x)
    for seed in range(4):
        model, x = toy()
        graph = engine.graph.PruningGraph.build(model, x, ignored=OUTPUTS)
        generator = torch.Generator().manual_seed(seed)
        keep = {g.name: int(torch.randint(1, g.channels + 1, (), generator=generator)) for g in graph.groups}
        scores = engine.scores.score_groups(graph, "random", seed=seed)
        plan = engine.plan.make_plan(graph, scores, ratio=0.5, floor=1)
        plan = _edited(plan, keep)
        engine.apply.apply_plan(graph, plan, scores)
        assert engine.counts.count(model, x) == plan.fitted(_fresh(engine)).pruned


def _edited(plan, keep):
    from dataclasses import replace

    return replace(plan, entries=tuple(replace(entry, keep=keep[entry.name]) for entry in plan.entries))


def _fresh(engine):
    model, x = toy()
    return engine.graph.PruningGraph.build(model, x, ignored=OUTPUTS)


def test_building_changes_nothing(engine: SimpleNamespace) -> None:
    model, x = toy()
    model.train()
    model.left.eval()
    model.out.weight.requires_grad_(False)
    state, modes = copy.deepcopy(model.state_dict()), [m.training for m in model.modules()]
    engine.graph.PruningGraph.build(model, x, ignored=OUTPUTS)
    assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())
    assert [m.training for m in model.modules()] == modes
    assert not model.out.weight.requires_grad and model.stem[0].weight.requires_grad


def test_stripped_checkpoint_prunes_like_a_trainable_one(engine: SimpleNamespace) -> None:
    model, x = toy(dtype=torch.float32)
    stripped = copy.deepcopy(model).half().requires_grad_(False)
    graph = engine.graph.PruningGraph.build(stripped, x, ignored=OUTPUTS)
    assert graph.groups == engine.graph.PruningGraph.build(model, x, ignored=OUTPUTS).groups
    scores = engine.scores.score_groups(graph, "l2")
    engine.apply.apply_plan(graph, engine.plan.make_plan(graph, scores, ratio=0.5, floor=1), scores)
    assert {p.dtype for p in stripped.parameters()} == {torch.float32}
    assert not any(p.requires_grad for p in stripped.parameters())
    assert stripped.stem[0].weight.shape[0] == 8


@pytest.mark.parametrize(
    ("ignored", "words"),
    [
        ({"stemm": "typo"}, "Cannot keep layer 'stemm': the model has none. Did you mean 'stem'?"),
        ({"": "all"}, "Nothing can be pruned: 0 groups, 8 layers kept (8 layers: all)"),
    ],
)
def test_bad_ignored_layers(engine: SimpleNamespace, ignored: dict[str, str], words: str) -> None:
    model, x = toy()
    with pytest.raises(engine.errors.PruneError) as error:
        engine.graph.PruningGraph.build(model, x, ignored=ignored)
    assert words in str(error.value)


@pytest.mark.parametrize("example", [torch.zeros(2, 3, 16, 16), [torch.zeros(1)]])
def test_example_must_be_one_image(engine: SimpleNamespace, example: object) -> None:
    with pytest.raises(engine.errors.PruneError, match="must be one image"):
        engine.graph.PruningGraph.build(toy()[0], example, ignored=OUTPUTS)


def test_failing_forward_is_named(engine: SimpleNamespace) -> None:
    with pytest.raises(engine.errors.PruneError, match="Cannot trace Toy: RuntimeError"):
        engine.graph.PruningGraph.build(toy()[0], torch.zeros(1, 4, 16, 16), ignored=OUTPUTS)
    with pytest.raises(engine.errors.PruneError, match="no output depends on a weight"):
        engine.graph.PruningGraph.build(nn.Sequential(nn.ReLU()), torch.zeros(1, 3, 4, 4))


class Grouped(nn.Module):
    """A grouped convolution that is not depthwise, between two plain ones."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Conv2d(3, 8, 1), nn.Conv2d(8, 8, 1, groups=2)
        self.c, self.d = nn.Conv2d(8, 8, 1), nn.Conv2d(8, 2, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.d(self.c(self.b(self.a(x))))


def test_grouped_convolutions_keep_their_neighbours(engine: SimpleNamespace) -> None:
    graph = engine.graph.PruningGraph.build(Grouped(), torch.zeros(1, 3, 4, 4), ignored={"d": "output"})
    assert [group.name for group in graph.groups] == ["c"]
    assert all("grouped convolution" in graph.frozen[name] for name in ("a", "b"))


def test_graph_is_spent_after_a_plan(engine: SimpleNamespace) -> None:
    model, x = toy()
    graph = engine.graph.PruningGraph.build(model, x, ignored=OUTPUTS)
    scores = engine.scores.score_groups(graph, "l1")
    plan = engine.plan.make_plan(graph, scores, ratio=0.3, floor=1)
    engine.apply.apply_plan(graph, plan, scores)
    for again in (
        lambda: engine.apply.apply_plan(graph, plan, scores),
        lambda: engine.scores.score_groups(graph, "l1"),
        lambda: engine.plan.make_plan(graph, scores, ratio=0.3),
    ):
        with pytest.raises(engine.errors.PruneError, match="build a new PruningGraph"):
            again()


def test_linear_cost_of_one_group_by_hand(engine: SimpleNamespace) -> None:
    model, x = toy()
    graph = engine.graph.PruningGraph.build(model, x, ignored=OUTPUTS)
    saved = graph.cost().params - graph.cost({"hidden": 19}).params
    assert saved == 24 + 1 + 4  # one row of hidden, its bias, one column of score
    saved = graph.cost().macs - graph.cost({"grow": 11}).macs
    assert saved == 24 * 4 * 64 + 256 + 5 * 256  # transposed kernel at its 8x8 input, bias at 16x16, a column of out
    assert graph.cost(keeps(graph)).params < graph.cost().params / 2
    with pytest.raises(engine.errors.PruneError, match=r"Unknown group 'hiden'\. Did you mean 'hidden'\?"):
        graph.cost({"hiden": 3})


def test_engine_imports_no_upstream() -> None:
    dropins = Path(__file__).parents[2] / "kit" / "prunekit" / "dropins"
    files = sorted(file.relative_to(dropins).with_suffix("") for file in (dropins / "pruning").rglob("*.py"))
    parts = [".".join(file.parts) for file in files if file.name != "__init__"]
    assert len(parts) > 60
    code = "import sys; " + "; ".join(f"import {part}" for part in parts)
    code += "; print([m for m in sys.modules if m.partition('.')[0] in ('ultralytics', 'yolov5', 'models', 'utils')])"
    done = subprocess.run([sys.executable, "-c", code], cwd=dropins, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_renewed_graph_is_the_one_that_a_new_trace_finds(engine: SimpleNamespace) -> None:
    """Three plans on one trace: groups, costs and scores as of a graph built anew, outputs as of the masked network."""
    model, x = toy()
    graph = engine.graph.PruningGraph.build(model, x, ignored=OUTPUTS)
    for number in range(3):
        dense = copy.deepcopy(model)
        scores = engine.scores.score_groups(graph, "lamp")
        plan = engine.plan.make_plan(graph, scores, ratio=0.25, floor=2)
        groups = graph.groups
        engine.apply.apply_plan(graph, plan, scores)
        with torch.no_grad():
            assert relative(tensors(model(x)), tensors(masked(dense, groups, plan, scores)(x))) < 1e-12, number
        spent, graph = graph, graph.renewed()
        anew = engine.graph.PruningGraph.build(model, x, ignored=OUTPUTS)
        assert graph.groups == anew.groups and graph.cost() == anew.cost() == engine.counts.count(model, x)
        keep = {group.name: max(1, group.channels - 1) for group in graph.groups}
        assert graph.cost(keep) == anew.cost(keep)
        ours, theirs = (engine.scores.score_groups(each, "l2") for each in (graph, anew))
        assert all(torch.allclose(ours[name], theirs[name]) for name in theirs)
        with pytest.raises(Exception, match="used up"):
            spent.check_usable()


def test_the_engine_knows_the_fork_that_it_lies_in(engine: SimpleNamespace, tmp_path: Path) -> None:
    """YOLOv5's and YOLOv7's scripts ask it: a module that moves a folder down must not name another fork."""
    dropins = Path(__file__).parents[2] / "kit" / "prunekit" / "dropins"
    scripts = modules("scripts.prune").prune
    scripts.require_own(dropins.resolve())
    with pytest.raises(engine.errors.PruneError, match="this script belongs to the fork"):
        scripts.require_own(tmp_path)
