# SPDX-License-Identifier: AGPL-3.0-or-later
"""docs/own-modules.md: its block and its file of rules, as they stand there; refused networks; twins."""

from __future__ import annotations

import importlib
import re
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import torch
from engine_helpers import build, image, modules
from own_blocks import Eights, Funnelled, Scaled, told_before
from torch import nn

pytestmark = pytest.mark.upstream
PAGE = Path(__file__).parents[2] / "docs" / "own-modules.md"


def test_the_documented_rule(kit: SimpleNamespace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The block is kept without the file, and pruned with it; the network holds the user's class afterwards."""
    block, rules = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    mine = ModuleType("ultralytics.nn.modules.mine")
    vars(mine).update(torch=torch, nn=nn, Conv=kit.block.Conv, Bottleneck=kit.block.Bottleneck)
    exec(block, vars(mine))
    monkeypatch.setitem(sys.modules, "ultralytics.nn.modules.mine", mine)
    (tmp_path / "prunekit_rules.py").write_text(rules, encoding="utf-8")
    proof = importlib.import_module("ultralytics.pruning.planning.proof")
    found = {}
    for own in ((), kit.surgery.own_rules(tmp_path)):
        model = build(kit, "yolov8n")
        mine_now = mine.MyCSP(32, 32).double()
        mine_now.i, mine_now.f, mine_now.type = 2, -1, "MyCSP"
        model.model[2] = mine_now
        every = (*kit.blocks.RULES, *own)
        kit.surgery.split_blocks(model, every)
        ignored = kit.blocks.ignored_layers(model)
        proof.prove(model, image(), tracing=kit.blocks.tracing, ignored=ignored, rules=every)
        with kit.blocks.tracing(model):
            graph = kit.graph.PruningGraph.build(model, image(), ignored=ignored, rules=every)
        found[len(own)] = graph
        kit.surgery.merge_blocks(model, every)
        assert type(model.model[2]) is mine.MyCSP
    assert found[0].frozen["model.2.cv1.conv"] == "model.2 MyCSP: splits the channels"
    assert "model.2.cv1.conv" not in found[1].frozen
    assert {group.tie for group in found[1].groups if group.name.startswith("model.2.cv")} >= {"model.2"}


Saved = Callable[[type[nn.Module]], tuple[Any, Path]]


@pytest.fixture
def saved(kit: SimpleNamespace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Saved:
    """The adapter and a checkpoint of a small network with a user's block of 32 channels as layer 2."""

    def make(block: type[nn.Module]) -> tuple[Any, Path]:
        monkeypatch.setattr(block, "__module__", kit.block.__name__)
        for module in (kit.block, kit.tasks):
            monkeypatch.setattr(module, block.__name__, block, raising=False)
        rows = [[-1, 1, "Conv", [16, 3, 2]], [-1, 1, "Conv", [32, 3, 2]], [-1, 1, block.__name__, [32]]]
        rows += [[-1, 1, "Conv", [32, 3, 2]]]
        model = kit.tasks.DetectionModel(
            {"nc": 2, "backbone": rows, "head": [[[2, 3], 1, "Detect", ["nc"]]]}, verbose=False
        )
        weights, model.args, model.task = tmp_path / "own.pt", {}, "detect"
        torch.save({"model": model, "train_args": {}}, weights)
        adapter = importlib.import_module("ultralytics.prunekit.adapter")
        return adapter.Ultralytics({"imgsz": 64}), weights

    return make


def test_a_network_that_could_not_be_rebuilt_once_pruned(saved: Saved) -> None:
    """Before anything is validated or trained: what cannot be rebuilt, and the option that keeps it, which helps."""
    parts = modules("run.loop", "settings", package="ultralytics.pruning")
    family, weights = saved(Scaled)
    refused, *fine = told_before(parts.loop, parts.settings.Settings, family, weights)
    assert refused.startswith(
        f"{weights}: pruned, this network could not be rebuilt from its YAML (structure: 1 tensors"
    )
    assert "first 'model.2.gamma': the model has (1, 1, 1, 1), a rebuild (1, 32, 1, 1)" in refused
    assert refused.endswith("Keep these channels: --ignore model.2.cv") and fine == ["", ""]


def test_a_users_block_that_raises_torchs_own_error(saved: Saved, monkeypatch: pytest.MonkeyPatch) -> None:
    """A RuntimeError of the network is told like any other; one of torch's writer (a full disk) stays what it is."""
    parts = modules("run.loop", "settings", package="ultralytics.pruning")
    family, weights = saved(Eights)
    refused, _, fine = told_before(parts.loop, parts.settings.Settings, family, weights)
    assert "(RuntimeError: Eights: 1 channels, which 8 does not divide). Keep these channels: --ignore model" in refused
    assert fine == ""
    monkeypatch.setattr(type(family), "save", lambda *_: torch.save({}, weights.parent / "gone" / "pruned.pt"))
    with pytest.raises(RuntimeError, match="does not exist"):
        parts.loop.preflight(family, weights, parts.settings.Settings())


def test_a_users_block_that_its_own_yaml_no_longer_builds(saved: Saved, monkeypatch: pytest.MonkeyPatch) -> None:
    """The code has changed since the training: told in words, with what to do, before anything is pruned."""
    parts = modules("run.loop", "settings", package="ultralytics.pruning")
    family, weights = saved(Eights)
    monkeypatch.setattr(Eights, "__init__", lambda self, width, heads: None)
    with pytest.raises(
        parts.loop.PruneError, match=r"cannot be rebuilt from its own YAML \(TypeError: .*heads.* class"
    ):
        parts.loop.preflight(family, weights, parts.settings.Settings())


def test_an_activation_with_layers_of_its_own_is_pruned_with_its_block(saved: Saved) -> None:
    """Its class stands in the user's code, its widths in the block: nothing about it has to be refused."""
    parts = modules("run.loop", "settings", package="ultralytics.pruning")
    family, weights = saved(Funnelled)
    assert told_before(parts.loop, parts.settings.Settings, family, weights) == ["", "", ""]


@pytest.mark.parametrize("head", ["RTDETRDecoder", "WorldDetect", "YOLOEDetect"])
def test_networks_that_are_refused(kit: SimpleNamespace, head: str) -> None:
    named = type(head, (nn.Module,), {})
    below = type("Own", (named,), {})
    with pytest.raises(kit.errors.PruneError, match=r"best\.pt: a.* network: "):
        kit.blocks.refuse_unknown(nn.Sequential(below()), "best.pt")


@pytest.mark.parametrize("name", ["C2", "RepNCSPELAN4", "ELAN1"])
def test_twins_of_p6_and_v9(kit: SimpleNamespace, name: str) -> None:
    """Same output split and merged, to the bit; halves tied."""
    torch.manual_seed(0)
    wide = {"C2": (16, 16), "RepNCSPELAN4": (16, 16, 16, 8), "ELAN1": (16, 16, 16, 8)}[name]
    model = nn.Sequential(getattr(kit.block, name)(*wide), nn.Conv2d(16, 3, 1)).double().eval()
    x = torch.randn(1, 16, 8, 8, dtype=torch.float64)
    with torch.no_grad():
        dense, state = model(x), model.state_dict()
        assert kit.surgery.split_blocks(model, kit.blocks.RULES) == 1
        assert (model(x) - dense).abs().max() < 1e-14
        graph = kit.graph.PruningGraph.build(model, x, ignored={"1": "output"}, rules=kit.blocks.RULES)
        assert {group.tie for group in graph.groups} >= {"0"} and set(graph.frozen) == {"1"}
        kit.surgery.merge_blocks(model, kit.blocks.RULES)
    merged = model.state_dict()
    assert type(model[0]).__name__ == name and all(torch.equal(merged[key], state[key]) for key in state)
