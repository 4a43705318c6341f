# SPDX-License-Identifier: AGPL-3.0-or-later
"""What a run says, and what its report and charts show: a toy network, and a validator that is told what to find."""

from __future__ import annotations

import argparse
import dataclasses
import shlex
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from engine_helpers import ToyFamily, modules

LOW = "WARNING: the dense network scores next to nothing on this data"
DENSE_LOW = [0.0004] * 9
MEASURED = {
    "runtime": "onnxruntime",
    "target": 0.6,
    "share": 0.59,
    "low": 0.57,
    "high": 0.61,
    "macs": 0.52,
    "round_to": 16,
    "image": 16,
    "threads": 2,
}


@pytest.fixture(scope="module")
def parts(engine: object) -> SimpleNamespace:
    """The modules, imported as the engine is on its own."""
    return modules(
        "run.step run.loop run.report run.charts run.preview run.sensitivity planning.plan planning.scores",
        "run.repair_step family.contract scripts.prune scripts.options settings errors",
    )


class Told(ToyFamily):
    """A family whose validator finds these accuracies, one after the other."""

    def __init__(self, parts: SimpleNamespace, found: list[float]) -> None:
        self.parts, self.found = parts, iter(found)

    def evaluate(self, weights: Path) -> Any:
        value = next(self.found)
        return self.parts.contract.Metrics(map50=value, map50_95=value)


@pytest.fixture
def best(tmp_path: Path) -> Path:
    (tmp_path / "best.pt").write_bytes(b"stands for a checkpoint")
    return tmp_path / "best.pt"


def _run(parts: SimpleNamespace, best: Path, found: list[float], **settings: Any) -> tuple[Any, list[str]]:
    asked = parts.settings.Settings(
        **{"prune_ratio": 0.4, "importance": "l2", "min_channels": 2, "round_to": 1, "export": False, **settings}
    )
    family, said = Told(parts, found), []
    state = parts.loop.new_run(best.parent / "run", family, best, asked)
    style = parts.loop.Style("After pruning iter {step}: {figures}", str(best.parent / "chart.png"), ratio="speed up")
    return parts.loop.run(state, family, say=said.append, style=style), said


def test_a_step_is_announced_once_where_the_limit_ends_the_run(parts: SimpleNamespace, best: Path) -> None:
    state, said = _run(parts, best, [0.8, 0.1, 0.75, 0.1, 0.69, 0.1], steps=3, max_map_drop=0.1)
    steps = [line.partition(":")[0] for line in said if line.startswith("After pruning iter")]
    assert steps == ["After pruning iter 1", "After pruning iter 2"] and state.status == "stopped"
    assert sum("step 2 is not kept, the result is step 1" in line for line in said) == 1


def test_a_last_step_with_nothing_left_to_remove_is_left_out(parts: SimpleNamespace, best: Path) -> None:
    """Rounded widths reach the ratio early: what the steps before have trained is the result."""
    state, said = _run(parts, best, [0.8] * 9, steps=6, prune_ratio=0.5, round_to=8)
    assert state.status == "done" and state.steps[-1]["step"] < 6 == len(state.steps) + state.skipped
    assert f"Step 6 is left out, the result is step {state.steps[-1]['step']}: The plan removes 0 of" in "".join(said)
    assert (state.folder / "pruned.pt").is_file() and state.final["checkpoint"] == "pruned.pt"


def test_a_run_whose_only_step_removes_nothing_is_an_error(parts: SimpleNamespace, best: Path) -> None:
    with pytest.raises(Exception, match="The plan removes 0 of"):
        _run(parts, best, [0.8] * 9, steps=2, prune_ratio=0.1, round_to=32)


def test_a_replayed_plan_that_its_criterion_says_nothing_of_is_refused_before_any_validation(
    parts: SimpleNamespace, best: Path
) -> None:
    """`grow` has no BatchNorm, so bn_scale does not say which of its channels go."""
    family, settings = Told(parts, []), parts.settings.Settings(prune_ratio=None, importance="bn_scale")
    _, graph = parts.step.open_model(family, best, settings)
    scores = parts.scores.score_groups(graph, "bn_scale")
    plan = parts.plan.make_plan(graph, scores, ratio=0.5, floor=1, criterion="bn_scale")
    assert parts.loop.preflight(family, best, settings, plan).keep == plan.keep

    def edited(keep: dict[str, int]) -> Any:
        entries = [dataclasses.replace(entry, keep=keep.get(entry.name, entry.channels)) for entry in plan.entries]
        return dataclasses.replace(plan, entries=tuple(entries))

    with pytest.raises(Exception, match="Group grow needs 12 scores to choose channels by, got none"):
        parts.loop.preflight(family, best, settings, edited({"grow": 6}))
    with pytest.raises(Exception, match="The plan keeps all 72 channels of its 4 groups"):
        parts.loop.preflight(family, best, settings, edited({}))
    trained = dataclasses.replace(settings, sparsity=1e-3)  # sparsity training comes first, and makes other scores
    assert parts.loop.preflight(family, best, trained, edited({"grow": 6})).keep["grow"] == 6


def test_a_dense_network_that_scores_next_to_nothing_is_said_before_anything_is_pruned(
    parts: SimpleNamespace, best: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    said = _run(parts, best, DENSE_LOW, steps=1)[1]
    warned = next(number for number, line in enumerate(said) if line.startswith(LOW))
    assert warned < next(number for number, line in enumerate(said) if "removed" in line)
    parts.sensitivity.measure(
        Told(parts, [0.0004] * 99), best, parts.sensitivity.Asked("l2", (0.5,)), best.parent / "table.json"
    )
    assert capsys.readouterr().out.splitlines()[0].startswith(LOW)
    planned: list[str] = []
    settings = parts.settings.Settings(prune_ratio=0.4, importance="l2", min_channels=2, round_to=1, steps=1)
    parts.preview.plan_only(Told(parts, DENSE_LOW), best, settings, best.parent / "plan.yaml", planned.append)
    assert planned[0].startswith(LOW)
    assert any("without any fine-tuning, BatchNorm recalibrated on" in line for line in planned)
    for value, warned in ((0.8, False), (0.051, False), (0.049, True)):
        assert any(LOW in line for line in _run(parts, best, [value] * 3, steps=1)[1]) is warned


@pytest.mark.parametrize(("raised", "code"), [("NoData", 0), ("PruneError", 2)])
def test_a_plan_without_data(
    parts: SimpleNamespace, best: Path, raised: str, code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    """Where nobody names a data set, the plan has no estimate; one that is named, or remembered, has to be there."""
    family, folder = Told(parts, []), best.parent / "exp"

    def check_data(_: Path) -> None:
        raise getattr(parts.errors, raised)("gone.yaml is not here")

    family.check_data = check_data  # type: ignore[method-assign]
    opened = parts.contract.Opened(family, best, lambda: folder)
    upstream = SimpleNamespace(help_text=lambda: "", open=lambda *_, **__: opened)
    asked = parts.settings.Settings(prune_ratio=0.4, importance="l2", min_channels=2, round_to=1)
    words = ["--weights", str(best), "--plan-only"]
    assert parts.prune.guarded(lambda: parts.prune.prune("", asked, words, upstream)) == code
    said = capsys.readouterr()
    assert ("error: gone.yaml is not here" in said.err) == (code == 2)
    assert ("accuracy not estimated: gone.yaml" in said.out) == (code == 0)
    assert [file.name for file in best.parent.rglob("exp/*")] == ([] if code else ["plan.yaml"])


def test_a_run_ends_with_what_was_reached(parts: SimpleNamespace, best: Path) -> None:
    """One line of before and after; a warning where most of the accuracy is gone."""
    lost, kept = (_run(parts, best, values, steps=1)[1] for values in ([0.8, 0.3, 0.3], [0.8, 0.3, 0.7]))
    assert kept[-2].startswith("Dense -> pruned: mAP50 0.800 -> 0.700, mAP50-95 ") and "WARNING" not in kept[-2]
    assert (
        "\nWARNING: more than half of the accuracy is gone: " in lost[-2]
        and "(--repair 128), or prune less" in lost[-2]
    )


def test_ctrl_c_ends_with_the_command_that_goes_on(
    parts: SimpleNamespace, best: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The run's folder may be hundreds of lines up, and have another number than README's."""
    family, folder = Told(parts, [0.8] * 9), best.parent / "a run"

    def finetune(*_: Any, **__: Any) -> Path:
        raise KeyboardInterrupt

    family.finetune = finetune  # type: ignore[method-assign]
    upstream = SimpleNamespace(
        help_text=lambda: "", open=lambda *_, **__: parts.contract.Opened(family, best, lambda: folder)
    )
    asked = parts.settings.Settings(prune_ratio=0.4, importance="l2", min_channels=2, round_to=1)
    words = ["--weights", str(best), "--no-export"]
    assert parts.prune.guarded(lambda: parts.prune.prune("", asked, words, upstream)) == 130
    assert capsys.readouterr().err == f"interrupted: go on with: python prune.py --resume '{folder}'\n"


def test_the_report_says_what_latency_was_reached_and_no_target_that_nobody_typed(
    parts: SimpleNamespace, best: Path
) -> None:
    """--target-latency turns into MACs and a rounding: those are in the record, as measured, not among the settings."""
    typed = {"target_latency": 0.6, "target_macs": 0.5213, "round_to": 16, "prune_ratio": None}
    asked = parts.settings.Settings(importance="l2", min_channels=2, export=False, **typed)
    state = parts.loop.new_run(best.parent / "run", Told(parts, []), best, asked)
    state.latency, row = MEASURED, {"params": 10, "macs": 10.0, "map50": 0.5, "map50_95": 0.4}
    state.dense = {**row, "widths": {"grow": 12, "hidden": 20}}
    state.steps = [{**row, "step": 1, "kept": True, "widths": {"grow": 6, "hidden": 9}, "checkpoint": "a.pt"}]
    parts.report.write_report(state, "plots/steps.png")
    text = (state.folder / "report.md").read_text()
    assert "Latency: 0.590 of the dense time (0.570 to 0.610), target 0.6: measured in onnxruntime, 16 px" in text
    settings = next(line for line in text.splitlines() if line.startswith("Settings:"))
    assert "--target-latency 0.6" in settings and "target-macs" not in settings and "round-to" not in settings


def test_the_report_has_the_settings_as_they_are_typed(parts: SimpleNamespace) -> None:
    """What is off is not among them; a command line made of them means the same settings."""
    asked = parts.settings.Settings(prune_ratio=None, target_macs=0.5, repair=0, ignore=("a b", "c"), recalibrate=True)
    flags = asked.as_flags()
    assert "None" not in flags and "False" not in flags and "sparsity" not in flags
    parser = argparse.ArgumentParser()
    defaults = parts.settings.Settings(prune_ratio=0.3, importance="l2", min_channels=4)
    parts.options.add_options(parser, defaults)
    assert parts.options.settings_of(parser.parse_args(shlex.split(flags)), defaults) == asked
    assert "--max-map-drop 0.0" in parts.settings.Settings(max_map_drop=0.0).as_flags()  # asked for, not off


def test_charts_name_what_they_show(parts: SimpleNamespace, best: Path) -> None:
    """Bars have a legend, MACs an axis of their own with its unit, layers their names."""
    from matplotlib.figure import Figure

    state, _ = _run(parts, best, [0.8, 0.1, 0.75], steps=1)
    figure, widths = Figure(), Figure()
    parts.charts.steps(list(parts.report._rows(state)), "mAP50-95", "")(figure.subplots())
    left, right = figure.axes
    assert {text.get_text() for text in left.get_legend().get_texts()} == {
        "fine-tuned mAP50-95",
        "pruned mAP50-95",
        "MACs (bars, right)",
    }
    assert "mAP50-95" in left.get_ylabel() and right.get_ylabel() == "MACs (G), bars"
    parts.charts.widths(state.dense["widths"], state.steps[0]["widths"])(widths.subplots())
    (axis,) = widths.axes
    assert [label.get_text() for label in axis.get_yticklabels()] == list(state.dense["widths"])
    assert {text.get_text() for text in axis.get_legend().get_texts()} == {"dense", "pruned"}


RATIO, TARGET = {"prune_ratio": 0.4}, {"prune_ratio": None, "target_macs": 0.5}
ON_IMAGES = {"importance": "reconstruction", "scope": "global", "round_to": 8}
DEFAULTS = {  # what is asked, epochs, images, what is typed: what differs then from the script's own settings
    "a ratio": (RATIO, 3, 2, (), {}),
    "a target": (TARGET, 3, 2, (), ON_IMAGES),
    "parameters": ({"prune_ratio": None, "target_params": 0.5}, None, 2, (), ON_IMAGES),
    "a time": ({"prune_ratio": None, "target_latency": 0.5}, 3, 2, (), ON_IMAGES),
    "no training": (TARGET, 0, 2, (), {"importance": "fpgm"}),
    "no training, by ratio": (RATIO, 0, 0, (), {"importance": "fpgm"}),
    "no images": (TARGET, 3, 0, (), {}),
    "a criterion": (TARGET, 3, 2, ("importance",), {}),
    "a criterion, no training": (TARGET, 0, 2, ("importance",), {}),
    "a scope": (TARGET, 3, 2, ("scope",), {"importance": "reconstruction", "round_to": 8}),
    "a rounding": (TARGET, 3, 2, ("round_to",), {"importance": "reconstruction", "scope": "global"}),
    "a table": ({**TARGET, "sensitivity": "table.json"}, 0, 2, (), {}),
}


@pytest.mark.parametrize("name", DEFAULTS)
def test_the_default_criterion_follows_from_what_is_asked(parts: SimpleNamespace, name: str) -> None:
    """What is typed stands; a table of sensitivity.py was measured with a criterion of its own."""
    asked, epochs, images, typed, wanted = DEFAULTS[name]
    family, said = Told(parts, []), []
    family.arguments = lambda: {"epochs": epochs}  # type: ignore[method-assign]
    family.images = lambda weights: iter(["a picture"] * images)  # type: ignore[attr-defined]
    settings = parts.settings.Settings(round_to=16, **asked)
    fine = parts.repair_step.ranked(family, Path("best.pt"), dataclasses.replace(settings, round_to=2), typed, len)
    assert fine.round_to == 2, "a script's own finer rounding stays"
    found = parts.repair_step.ranked(family, Path("best.pt"), settings, typed, said.append)
    assert found == dataclasses.replace(settings, **wanted)
    assert bool(said) == ("reconstruction" in wanted.values() or name == "no images"), said
