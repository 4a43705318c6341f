# SPDX-License-Identifier: AGPL-3.0-or-later
"""Fewer layers: a bottleneck that goes is the identity with a silent slice, in every kind of block that repeats one."""

from __future__ import annotations

import copy
import importlib
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import yaml
from engine_helpers import image, modules, randomise, relative, tensors
from torch import nn

# Upstream's rows at an eighth of the width and with more bottlenecks; block type -> bottlenecks that go.
CASES: dict[str, tuple[str, float, dict[str, list[int]]]] = {
    "C2f": ("yolov8", 0.67, {"model.4": [0, 2, 3], "model.8": [1], "model.15": [0]}),
    "C3": ("yolov5", 0.67, {"model.4": [0, 2], "model.6": [1, 2, 3], "model.23": [1]}),
    "C3k2": ("yolo11", 1.0, {"model.2": [0], "model.6": [1], "model.10": [0], "model.22": [1]}),
    "A2C2f": ("yolo12", 1.0, {"model.4": [0], "model.6": [0, 2], "model.11": [1]}),
}


@pytest.fixture(scope="module")
def parts(kit: SimpleNamespace) -> SimpleNamespace:
    names = ("network.stacks", "planning.depth", "planning.depth_proof")
    own = modules(*names, package="ultralytics.pruning")
    structure = importlib.import_module("ultralytics.prunekit.structure")
    return SimpleNamespace(**vars(own), structure=structure, kit=kit)


def deep(kit: SimpleNamespace, name: str, depth: float, width: float = 0.125) -> nn.Module:
    """A narrow network with the depth of a larger scale, float64."""
    file = next((Path(kit.tasks.__file__).parents[1] / "cfg" / "models").rglob(f"{name}.yaml"))
    rows = {**yaml.safe_load(file.read_text()), "scales": {"n": [depth, width, 1024]}, "scale": "n", "nc": 4}
    kit.tasks.Conv.default_act = nn.SiLU()
    torch.manual_seed(0)
    model = kit.tasks.DetectionModel(rows, verbose=False)
    randomise(model)
    return model.double().eval()


def removed_of(parts: SimpleNamespace, model: nn.Module, gone: dict[str, list[int]]) -> list[Any]:
    blocks = parts.kit.blocks
    stacks = parts.stacks.find_stacks(model, blocks.stacks(model.model), image(), blocks.tracing)
    counts = {stack.name: len(stack) for stack in stacks}
    entries = [
        parts.depth.BlockEntry(name, counts[name], tuple(at for at in range(counts[name]) if at not in places))
        for name, places in gone.items()
    ]
    return parts.depth.fitting(entries, stacks)


@pytest.mark.parametrize("kind", CASES)
def test_without_a_bottleneck_as_with_the_identity_there(parts: SimpleNamespace, kind: str) -> None:
    name, depth, gone = CASES[kind]
    model = deep(parts.kit, name, depth, 0.25 if kind == "A2C2f" else 0.125)  # attention takes multiples of 32
    removed = removed_of(parts, model, gone)
    own = copy.deepcopy(model)
    for block, places in gone.items():  # by hand: nothing of the engine's
        stage: Any = own.get_submodule(block)
        for at in places:
            stage.m[at] = nn.Identity()
        if isinstance(stage.m, nn.ModuleList):
            width = stage.cv2.conv.in_channels // (len(stage.m) + (1 if _single(stage) else 2))
            for at in places:
                end = stage.cv2.conv.in_channels - (len(stage.m) - 1 - at) * width
                stage.cv2.conv.weight.data[:, end - width : end] = 0
    before = sum(p.numel() for p in model.parameters())
    film = parts.depth_proof.prove_cut(model, image(), removed, parts.kit.blocks.tracing)
    assert film.error < 1e-12 and film.compared > 200
    for stack, places in removed:
        parts.stacks.mask(model, stack, places)
        parts.stacks.cut(model, stack, places)
    assert sum(p.numel() for p in model.parameters()) < before
    with torch.no_grad():
        assert relative(tensors(model(image())), tensors(own(image()))) < 1e-12
    rebuilt(parts, model)


def _single(stage: Any) -> bool:
    """A2C2f hands on its first convolution whole, the others its two halves."""
    return type(stage).__name__ == "A2C2f"


def rebuilt(parts: SimpleNamespace, model: Any) -> None:
    """Its YAML builds it again: strict load, zero difference, and channels can be pruned from there."""
    model.yaml = yaml.safe_load(yaml.safe_dump(parts.structure.close_structure(model)))
    again = parts.structure.rebuild(copy.deepcopy(model)).eval()
    with torch.no_grad():
        for own, other in zip(tensors(model.float()(image().float())), tensors(again(image().float())), strict=True):
            assert torch.equal(own, other)


@pytest.mark.parametrize(("kind", "dead"), [("C2f", ("model.4", 2)), ("C3", ("model.6", 1))])
def test_the_bottleneck_that_does_nothing_goes_first(parts: SimpleNamespace, kind: str, dead: tuple[str, int]) -> None:
    """x + 0 is the identity. In a C2f its slice is the one before a second time, which the reader can make up for."""
    name, depth, _ = CASES[kind]
    model = deep(parts.kit, name, depth).float()
    block, at = dead
    model.get_submodule(f"{block}.m.{at}.cv2.bn").weight.data.zero_()
    model.get_submodule(f"{block}.m.{at}.cv2.bn").bias.data.zero_()  # SiLU(0) = 0
    blocks = parts.kit.blocks
    stacks = parts.stacks.find_stacks(model, blocks.stacks(model.model), image(), blocks.tracing)
    generator = torch.Generator().manual_seed(1)
    images = [torch.rand(1, 3, 128, 128, generator=generator) for _ in range(12)]
    state = copy.deepcopy(model.state_dict())
    one = [stack for stack in stacks if stack.name == block]  # outputs of random weights hardly hang on deep layers
    (first,) = parts.depth.choose_blocks(model, one, 1, images, tracing=blocks.tracing)
    assert (first.name, first.gone) == (block, [at]) and 0 <= first.error < 1e-4
    whole = parts.depth.choose_blocks(model, stacks, 100, images, tracing=blocks.tracing)
    assert all(len(entry.keep) == 1 for entry in whole) and len(whole) == len(stacks)
    assert all(torch.equal(value, state[key]) for key, value in model.state_dict().items())


@pytest.mark.parametrize("depth", [0.33, 0.5, 0.67, 1.0, 1.33])
def test_rows_say_the_number_that_is_built(parts: SimpleNamespace, depth: float) -> None:
    """As upstreams scale it; at 1.33 no whole number becomes 2."""
    for wanted in range(1, 13):
        rows = {"backbone": [[-1, 100, "C2f", [64]]], "head": [[-1, 7, "C2f", [64]]]}
        made = parts.stacks.with_numbers(rows, {0: wanted}, depth)
        number = made["backbone"][0][1]
        assert (max(round(number * depth), 1) if number > 1 else number) == wanted
        assert made["head"] == rows["head"] and rows["backbone"][0][1] == 100
        assert type(number) is int or depth > 1


def test_plans_carry_blocks_and_old_plans_need_none(parts: SimpleNamespace, tmp_path: Path) -> None:
    kit, entry = parts.kit, parts.depth.BlockEntry("model.4", 4, (0, 3), 0.25)
    group = kit.plan.PlanEntry("model.1.conv", 8, 4, ("model.1.conv",))
    cost = kit.counts.Cost(10.0, 10)
    plan = kit.plan.Plan("l1", "local", (group,), cost, cost, (1, 3, 64, 64), {}, blocks=(entry,))
    kit.plan_file.write_plan(plan, tmp_path / "plan.yaml")
    assert kit.plan_file.read_plan(tmp_path / "plan.yaml") == plan
    assert "blocks      2 bottlenecks removed: model.4 keeps 2 of 4 (without m.1, m.2" in kit.plan.plan_table(plan)
    data = yaml.safe_load((tmp_path / "plan.yaml").read_text())
    (tmp_path / "plan.yaml").write_text(yaml.safe_dump({**data, "groups": []}))  # fewer layers, and no channels
    alone = kit.plan_file.read_plan(tmp_path / "plan.yaml")
    assert alone.entries == () and alone.blocks == (entry,) and "channels    0 -> 0" in kit.plan.plan_table(alone)
    del data["blocks"]
    (tmp_path / "old.yaml").write_text(yaml.safe_dump(data))
    assert kit.plan_file.read_plan(tmp_path / "old.yaml").blocks == ()


@pytest.mark.parametrize(
    ("block", "words"),
    [
        ({"name": "model.4", "blocks": 4, "keep": []}, "at least one"),
        ({"name": "model.4", "blocks": 4, "keep": [1, 0]}, "rising list"),
        ({"name": "model.4", "blocks": 4, "keep": [0, 4]}, "of 0 to 3"),
        ({"name": "model.4", "blocks": 4, "keep": 2}, "rising list"),
        ({"name": "model.4", "blocks": 4, "keeps": [0]}, "Did you mean 'keep'?"),
        ({"name": "model.4", "blocks": "4", "keep": [0]}, "blocks '4'"),
        (["model.4"], "must have a name, blocks and keep"),
    ],
    ids=["none", "order", "beyond", "number", "key", "text", "list"],
)
def test_bad_blocks_of_a_plan_are_named_with_their_line(
    parts: SimpleNamespace, tmp_path: Path, block: Any, words: str
) -> None:
    cost = {"macs": 1.0, "params": 1}
    rows = {"version": 1, "example": [1, 3, 8, 8], "dense": cost, "pruned": cost, "groups": []}
    file = tmp_path / "plan.yaml"
    file.write_text(yaml.safe_dump({"blocks": [block], **rows}, sort_keys=False))
    with pytest.raises(parts.kit.errors.PruneError) as stop:
        parts.kit.plan_file.read_plan(file)
    assert words in str(stop.value) and f"{file}, line 2" in str(stop.value)


def test_blocks_of_another_network_are_refused(parts: SimpleNamespace) -> None:
    entry, stack = parts.depth.BlockEntry, parts.stacks.Stack
    stacks = [stack("model.4", "model.4.cv2.conv", True, (8, 8, 6), (8, 6, 6))]
    cases = {
        entry("model.44", 3, (0,), line=7): "Plan, line 7: model.44 is no block .* Did you mean 'model.4'",
        entry("model.4", 4, (0,)): "has 3 bottlenecks in this network, 4 in the plan",
        entry("model.4", 3, (0, 2)): "m.1 cannot be left out: it takes 8 channels and gives 6",
    }
    for wrong, words in cases.items():
        with pytest.raises(parts.kit.errors.PruneError, match=words):
            parts.depth.fitting([wrong], stacks)
    assert parts.depth.fitting([entry("model.4", 3, (1,))], stacks) == [(stacks[0], [0, 2])]
