# SPDX-License-Identifier: AGPL-3.0-or-later
"""Plans: what they choose, that targets are hit, that they can be edited and replayed, and what is refused."""

from __future__ import annotations

import copy
import importlib
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import yaml
from engine_helpers import OUTPUTS, build, graph_of, toy
from torch import nn


@pytest.fixture(scope="module")
def graph(engine: SimpleNamespace) -> Any:
    """A graph of the toy that no test uses up."""
    model, x = toy()
    return engine.graph.PruningGraph.build(model, x, ignored=OUTPUTS)


@pytest.fixture(scope="module")
def scores(engine: SimpleNamespace, graph: Any) -> dict[str, torch.Tensor]:
    return engine.scores.score_groups(graph, "lamp")


@pytest.fixture(scope="module")
def yolo(kit: SimpleNamespace) -> tuple[Any, dict[str, torch.Tensor]]:
    """Graph and scores of yolo11n, that no test uses up."""
    graph = graph_of(kit, build(kit, "yolo11n", dtype=torch.float32))
    return graph, kit.scores.score_groups(graph, "lamp")


def test_local_ratio_is_torch_prunings(engine: SimpleNamespace, graph: Any, scores: Any) -> None:
    plan = engine.plan.make_plan(graph, scores, ratio=0.37, floor=1)
    assert plan.keep == {"stem.0": 10, "wide.0": 15, "grow": 7, "hidden": 12}
    assert plan.removed == 28 and plan.pruned == graph.cost(plan.keep) and plan.notes == ()


def test_global_ratio_removes_the_lowest_of_all(engine: SimpleNamespace, graph: Any) -> None:
    scores = {"stem.0": torch.arange(16.0), "wide.0": torch.arange(24.0) + 100, "grow": torch.arange(12.0) + 50}
    scores["hidden"] = torch.arange(20.0) + 10
    plan = engine.plan.make_plan(graph, scores, scope="global", ratio=0.25, floor=1)
    assert plan.keep == {"stem.0": 2, "wide.0": 24, "grow": 12, "hidden": 16}  # 18 of 72
    plan = engine.plan.make_plan(graph, scores, scope="global", ratio=0.25, floor=1, max_ratio=0.5)
    assert plan.keep == {"stem.0": 8, "wide.0": 24, "grow": 12, "hidden": 10}
    assert any("least width" in note and "stem.0" in note for note in plan.notes)


@pytest.mark.upstream
@pytest.mark.parametrize("round_to", [1, 8])
@pytest.mark.parametrize("target", [{"target_macs": 0.5}, {"target_macs": 12e6}, {"target_params": 0.3}])
@pytest.mark.parametrize("scope", ["local", "global"])
def test_targets_are_hit(kit: SimpleNamespace, yolo: Any, scope: str, target: dict[str, float], round_to: int) -> None:
    graph, scores = yolo
    plan = kit.plan.make_plan(graph, scores, scope=scope, round_to=round_to, **target)
    (name, value), measure = *target.items(), "macs" if "target_macs" in target else "params"
    wanted = value if value > 1 else value * getattr(plan.dense, measure)
    assert abs(getattr(plan.pruned, measure) - wanted) <= 0.01 * wanted, name
    assert plan.pruned == graph.cost(plan.keep)
    for entry in plan.entries:
        assert entry.keep == entry.channels or (entry.keep % round_to == 0 and entry.keep >= 8)
    ties = {entry.tie: {e.keep for e in plan.entries if e.tie == entry.tie} for entry in plan.entries if entry.tie}
    assert ties and all(len(widths) == 1 for widths in ties.values())


def test_target_fractions_refer_to_the_base(engine: SimpleNamespace, graph: Any, scores: Any) -> None:
    base = engine.counts.Cost(graph.cost().macs * 2, graph.cost().params * 2)
    plan = engine.plan.make_plan(graph, scores, target_macs=0.3, base=base, floor=1)
    assert abs(plan.pruned.macs / graph.cost().macs - 0.6) < 0.006


def test_ratio_of_the_first_network(engine: SimpleNamespace, graph: Any, scores: Any) -> None:
    first = {"stem.0": 20, "wide.0": 40, "grow": 12, "hidden": 20}
    plan = engine.plan.make_plan(graph, scores, ratio=0.5, floor=1, first=first)
    assert plan.keep == {"stem.0": 10, "wide.0": 20, "grow": 6, "hidden": 10}
    plan = engine.plan.make_plan(graph, scores, ratio=0.5, floor=1, first=first, scope="global")
    assert sum(plan.keep.values()) == 46


def test_unreachable_targets_name_the_nearest(engine: SimpleNamespace, graph: Any, scores: Any) -> None:
    least = graph.cost({group.name: 8 for group in graph.groups}).params
    with pytest.raises(engine.errors.PruneError) as error:
        engine.plan.make_plan(graph, scores, target_params=0.1)
    assert f"the nearest reachable is {least:,}" in str(error.value)
    plan = engine.plan.make_plan(graph, scores, target_params=least)  # what it says is true
    assert plan.pruned.params == least
    with pytest.raises(engine.errors.PruneError) as error:
        engine.plan.make_plan(graph, scores, target_macs=0.97, round_to=8, floor=8)
    assert "Cannot come within 1% of" in str(error.value) and "nearest reachable is" in str(error.value)
    with pytest.raises(engine.errors.PruneError, match=r"is not below the .* of this network: nothing to remove"):
        engine.plan.make_plan(graph, scores, target_params=1.0)


def test_floor_is_a_note_with_numbers(engine: SimpleNamespace, graph: Any, scores: Any) -> None:
    plan = engine.plan.make_plan(graph, scores, ratio=0.5, floor=10)
    assert plan.keep == {"stem.0": 10, "wide.0": 12, "grow": 10, "hidden": 10}
    assert plan.notes[0].startswith("3 groups at the least width (--min-channels 10, --round-to 1")
    plan = engine.plan.make_plan(graph, scores, ratio=0.5, floor=14)
    assert plan.keep["grow"] == 12  # narrower than the floor already: stays
    assert any("1 group not above the least width" in note and "grow" in note for note in plan.notes)


def test_rounding_gives_multiples_or_dense(engine: SimpleNamespace, graph: Any, scores: Any) -> None:
    plan = engine.plan.make_plan(graph, scores, ratio=0.3, floor=1, round_to=8)
    assert plan.keep == {"stem.0": 8, "wide.0": 16, "grow": 8, "hidden": 16}
    plan = engine.plan.make_plan(graph, scores, ratio=0.2, floor=1, round_to=16)
    assert plan.keep == {"stem.0": 16, "wide.0": 16, "grow": 12, "hidden": 16}


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({}, "Give one of ratio, target_macs and target_params; got none."),
        ({"ratio": 0.5, "target_macs": 0.5}, "got ratio, target_macs."),
        ({"ratio": 1.0}, "ratio 1.0: must lie between 0 and 1"),
        ({"ratio": 0.0}, "ratio 0.0: must lie between 0 and 1"),
        ({"target_macs": -1}, "target_macs -1: must be above 0"),
        ({"ratio": 0.5, "scope": "lokal"}, "Unknown scope 'lokal'"),
        ({"ratio": 0.5, "floor": 0}, "floor 0"),
        ({"ratio": 0.5, "round_to": 0}, "round_to 0"),
        ({"ratio": 0.5, "max_ratio": 1.5}, "max_ratio 1.5"),
        ({"ratio": 0.5, "floor": 64}, "The plan removes 0 of 72 channels in 4 groups (floor 64"),
        ({"ratio": 0.01, "floor": 1, "round_to": 8}, "The plan removes 0 of 72 channels"),
    ],
)
def test_bad_settings(engine: SimpleNamespace, graph: Any, scores: Any, settings: dict[str, Any], words: str) -> None:
    with pytest.raises(engine.errors.PruneError) as error:
        engine.plan.make_plan(graph, scores, **settings)
    assert words in str(error.value)


def test_no_scores_no_plan(engine: SimpleNamespace, graph: Any) -> None:
    with pytest.raises(engine.errors.PruneError, match="none of the 4 groups has a score"):
        engine.plan.make_plan(graph, {}, ratio=0.5)


def test_same_seed_same_network(engine: SimpleNamespace) -> None:
    first, again, other = (_pruned(engine, seed) for seed in (1, 1, 2))
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), again.parameters(), strict=True))
    assert not torch.equal(first.stem[0].weight, other.stem[0].weight)


def _pruned(engine: SimpleNamespace, seed: int) -> nn.Module:
    model, x = toy()
    graph = engine.graph.PruningGraph.build(model, x, ignored=OUTPUTS)
    scores = engine.scores.score_groups(graph, "random", seed=seed)
    engine.apply.apply_plan(graph, engine.plan.make_plan(graph, scores, ratio=0.5, floor=1), scores)
    return model


def test_saved_plan_is_the_plan(engine: SimpleNamespace, graph: Any, scores: Any, tmp_path: Path) -> None:
    plan = engine.plan.make_plan(graph, scores, ratio=0.5, floor=7, criterion="lamp", seed=3)
    engine.plan_file.write_plan(plan, tmp_path / "new" / "plan.yaml")
    assert engine.plan_file.read_plan(tmp_path / "new" / "plan.yaml") == plan
    assert engine.plan_file.read_plan(tmp_path / "new" / "plan.yaml").fitted(graph) == plan
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["plan.yaml"]  # no half-written file left


@pytest.mark.upstream
def test_replay_gives_the_same_network(kit: SimpleNamespace, tmp_path: Path) -> None:
    pruned = []
    for replay in (False, True):
        model = build(kit, "yolov8n", dtype=torch.float32)
        graph = graph_of(kit, model)
        scores = kit.scores.score_groups(graph, "lamp")
        if replay:
            plan = kit.plan_file.read_plan(tmp_path / "plan.yaml").fitted(graph)
        else:
            plan = kit.plan.make_plan(graph, scores, scope="global", target_macs=0.5, criterion="lamp")
            kit.plan_file.write_plan(plan, tmp_path / "plan.yaml")
        kit.apply.apply_plan(graph, plan, scores)
        kit.surgery.merge_blocks(model, kit.blocks.RULES)
        pruned.append(model.state_dict())
    assert all(torch.equal(pruned[0][name], pruned[1][name]) for name in pruned[0]) and len(pruned[0]) == len(pruned[1])


@pytest.mark.upstream
def test_edited_plan_is_followed(kit: SimpleNamespace, tmp_path: Path) -> None:
    model = build(kit, "yolov8n", dtype=torch.float32)
    graph = graph_of(kit, model)
    scores = kit.scores.score_groups(graph, "l2")
    kit.plan_file.write_plan(kit.plan.make_plan(graph, scores, ratio=0.5), tmp_path / "plan.yaml")
    edits = {"model.0.conv": 11, "model.4.cv0.conv": 9, "model.4.cv1.conv": 9, "model.22.cv3.0.1.conv": 80}
    data = yaml.safe_load((tmp_path / "plan.yaml").read_text())
    data["groups"] = [{**group, "keep": edits.get(group["name"], group["keep"])} for group in data["groups"]]
    data["groups"] = [group for group in data["groups"] if group["name"] != "model.9.cv2.conv"]  # left out: dense
    (tmp_path / "plan.yaml").write_text(yaml.safe_dump(data))
    plan = kit.plan_file.read_plan(tmp_path / "plan.yaml").fitted(graph)
    kit.apply.apply_plan(graph, plan, scores)
    widths = {name: model.get_submodule(name).out_channels for name in [*edits, "model.9.cv2.conv", "model.1.conv"]}
    assert widths == {**edits, "model.9.cv2.conv": 256, "model.1.conv": 16}
    kit.surgery.merge_blocks(model, kit.blocks.RULES)
    assert model.model[4].c == 9 and plan.pruned == kit.counts.count(model, torch.zeros(1, 3, 64, 64))


def test_an_edited_plan_says_and_stores_its_own_costs(
    engine: SimpleNamespace, graph: Any, scores: Any, tmp_path: Path
) -> None:
    plan = engine.plan.make_plan(graph, scores, ratio=0.5, floor=1)
    engine.plan_file.write_plan(plan, tmp_path / "plan.yaml")
    assert engine.plan_file.read_plan(tmp_path / "plan.yaml").fitted(graph) == plan
    text = (tmp_path / "plan.yaml").read_text().replace("keep: 12", "keep: 20", 1)
    (tmp_path / "plan.yaml").write_text(text)
    edited = engine.plan_file.read_plan(tmp_path / "plan.yaml").fitted(graph)
    assert edited.pruned == graph.cost(edited.keep) != plan.pruned
    assert edited.notes == (engine.plan.EDITED,) and f"{edited.pruned.macs:,.0f}" in engine.plan.plan_table(edited)


def _text_of(engine: SimpleNamespace, graph: Any, scores: Any, file: Path) -> str:
    engine.plan_file.write_plan(engine.plan.make_plan(graph, scores, ratio=0.5, floor=1), file)
    return file.read_text()


DOUBLES = {
    "keep": (lambda text: text.replace("  keep: 8\n", "  keep: 8\n  keep: 12\n", 1), "keep"),
    "groups": (lambda text: text + "groups:\n- {name: grow, channels: 12, keep: 4}\n", "groups"),
    "a cost": (lambda text: text.replace("dense:\n", "dense:\n  macs: 1\n", 1), "macs"),
}


@pytest.mark.parametrize("double", DOUBLES)
def test_a_key_that_stands_twice_is_refused(
    engine: SimpleNamespace, graph: Any, scores: Any, tmp_path: Path, double: str
) -> None:
    """YAML itself would take the last and say nothing."""
    change, key = DOUBLES[double]
    text = _text_of(engine, graph, scores, tmp_path / "plan.yaml")
    (tmp_path / "plan.yaml").write_text(change(text))
    assert change(text) != text
    with pytest.raises(
        engine.errors.PruneError, match=rf"plan\.yaml, line \d+: {key} stands twice, also at line \d+\."
    ):
        engine.plan_file.read_plan(tmp_path / "plan.yaml")


def test_a_plan_that_cannot_be_put_in_place_leaves_nothing(
    engine: SimpleNamespace, graph: Any, scores: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = importlib.import_module("pruning.files")

    def full(*places: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.replace", full)
    with pytest.raises(OSError, match="No space left"):
        files.write_whole(tmp_path / "plan.yaml", lambda scratch: _text_of(engine, graph, scores, scratch))
    assert not list(tmp_path.iterdir())


def test_table_is_readable(engine: SimpleNamespace, graph: Any, scores: Any) -> None:
    plan = engine.plan.make_plan(graph, scores, ratio=0.5, floor=7)
    dense, pruned = plan.dense, plan.pruned
    assert engine.plan.plan_table(plan).splitlines() == [
        "layer   before  after  kept       with",
        "------  ------  -----  ----  ---------",
        "stem.0      16      8   50%  +2 layers",
        "wide.0      24     12   50%",
        "grow        12      7   58%",
        "hidden      20     10   50%",
        "------  ------  -----  ----  ---------",
        "channels    72 -> 37 (48.6% removed, local)",
        f"MACs        {dense.macs:,.0f} -> {pruned.macs:,.0f} ({pruned.macs / dense.macs:.1%}, at 3x16x16)",
        f"parameters  {dense.params:,} -> {pruned.params:,} ({pruned.params / dense.params:.1%})",
        "not pruned  2 layers",
        "note: 1 group at the least width (--min-channels 7, --round-to 1): grow",
    ]


HALVES = """
groups:
- {name: a, channels: 8, keep: 4, tie: block}
- {name: b, channels: 8, keep: 5, tie: block}
"""
HEAD = "version: 1\nexample: [1, 3, 16, 16]\ndense: {macs: 2, params: 2}\npruned: {macs: 1, params: 1}\n"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a: [", "is not YAML: while parsing"),
        ("- 1", "is not a plan: it holds no mapping"),
        ("version: 1", "key 'example' is missing"),
        (HEAD + "groups: []", "groups must be a list"),
        (HEAD + "group: []", "unknown key 'group'. Did you mean 'groups'?"),
        (HEAD.replace("version: 1", "version: 7") + "groups: [{name: a, channels: 8, keep: 4}]", "plan version 7"),
        (HEAD + "scope: lokal\ngroups: [{name: a, channels: 8, keep: 4}]", "unknown scope 'lokal'"),
        (HEAD.replace("macs: 2", "macs: x") + "groups: [{name: a, channels: 8, keep: 4}]", "is damaged"),
        (HEAD + "groups:\n- {name: a, channels: 8, keep: 9}", "line 6: a: keep is 9, must be 1 to 8"),
        (HEAD + "groups:\n- {name: a, channels: 8, keep: 0}", "line 6: a: keep is 0, must be 1 to 8"),
        (HEAD + "groups:\n- {name: a, channels: 8, keep: 4.5}", "line 6: a: keep is 4.5, must be a whole number"),
        (HEAD + "groups:\n- {name: a, channels: 8, kepp: 4}", "line 6: unknown key 'kepp'. Did you mean 'keep'?"),
        (HEAD + "groups:\n- {name: a, channels: 8}", "line 6: key 'keep' is missing"),
        (HEAD + "groups:\n- a", "line 6: a group must have a name"),
        (HEAD + "groups:\n- &x {name: a, channels: 8, keep: 4}\n- *x", "group a stands twice, also at line 6"),
        (HEAD + HALVES, "line 8: b keeps 5, but a (line 7), the other half of block block, keeps 4."),
    ],
)
def test_bad_files(engine: SimpleNamespace, tmp_path: Path, text: str, words: str) -> None:
    (tmp_path / "plan.yaml").write_text(text)
    with pytest.raises(engine.errors.PruneError) as error:
        engine.plan_file.read_plan(tmp_path / "plan.yaml")
    assert words in str(error.value) and "plan.yaml" in str(error.value)


def test_missing_file(engine: SimpleNamespace, tmp_path: Path) -> None:
    with pytest.raises(engine.errors.PruneError, match=r"Cannot read the plan .*gone\.yaml"):
        engine.plan_file.read_plan(tmp_path / "gone.yaml")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"name": "wide.O"}, "Unknown group 'wide.O'. Did you mean 'wide.0'?"),
        ({"name": "score"}, "score is kept: output."),
        ({"channels": 32}, "wide.0 has 24 channels in this model, 32 in the plan"),
        ({"keep": 25}, "wide.0: keep is 25, must be 1 to 24"),
    ],
)
def test_plan_of_another_network(
    engine: SimpleNamespace, graph: Any, scores: Any, change: dict[str, Any], words: str
) -> None:
    plan = engine.plan.make_plan(graph, scores, ratio=0.5, floor=1)
    entries = [replace(e, line=9, **change) if e.name == "wide.0" else e for e in plan.entries]
    before = copy.deepcopy(graph.model.state_dict())
    with pytest.raises(engine.errors.PruneError) as error:
        engine.apply.apply_plan(graph, replace(plan, entries=tuple(entries)), scores)
    assert f"line 9: {words}" in str(error.value)
    assert not graph.applied
    assert all(torch.equal(value, before[name]) for name, value in graph.model.state_dict().items())


@pytest.mark.upstream
def test_unequal_halves_are_refused(kit: SimpleNamespace, yolo: Any) -> None:
    graph, scores = yolo
    plan = kit.plan.make_plan(graph, scores, ratio=0.5)
    entries = tuple(replace(e, keep=e.keep - 1) if e.name == "model.4.cv0.conv" else e for e in plan.entries)
    with pytest.raises(kit.errors.PruneError, match=r"Unequal halves of block model\.4"):
        kit.apply.apply_plan(graph, replace(plan, entries=entries), scores)


def test_apply_refuses_to_do_nothing_or_guess(engine: SimpleNamespace, graph: Any, scores: Any) -> None:
    plan = engine.plan.make_plan(graph, scores, ratio=0.5, floor=1)
    dense = replace(plan, entries=tuple(replace(e, keep=e.channels) for e in plan.entries))
    with pytest.raises(engine.errors.PruneError, match="keeps all 72 channels of its 4 groups"):
        engine.apply.apply_plan(graph, dense, scores)
    for partial in ({k: v for k, v in scores.items() if k != "grow"}, {**scores, "grow": scores["grow"][:-1]}):
        with pytest.raises(engine.errors.PruneError, match="Group grow needs 12 scores"):
            engine.apply.apply_plan(graph, plan, partial)
    assert not graph.applied


def test_a_place_that_cannot_be_written_is_one_error(engine: SimpleNamespace, tmp_path: Path) -> None:
    """A folder in the file's place, and a disk that torch's archive writer finds full; other errors stay what they are.

    The archive writer knows RuntimeError only.
    """
    files = importlib.import_module("pruning.files")
    with pytest.raises(IsADirectoryError, match="a folder is there"):
        files.write_whole(tmp_path, lambda scratch: scratch.write_text("x"))
    with pytest.raises(OSError, match=r"new\.pt cannot be written"):
        files.write_whole(tmp_path / "new.pt", lambda scratch: torch.save(torch.zeros(999), "/dev/full"))
    with pytest.raises(RuntimeError, match="is invalid for input"):
        files.write_whole(tmp_path / "new.pt", lambda scratch: torch.zeros(2).view(3))
    assert list(tmp_path.iterdir()) == []
