# SPDX-License-Identifier: AGPL-3.0-or-later
"""Sensitivity tables: measured once, resumed, and turned into widths; a toy network, and a validator with opinions."""

from __future__ import annotations

import copy
import importlib
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import schemas
import torch
from engine_helpers import ToyFamily, modules
from torch import Tensor, nn


@pytest.fixture(scope="module")
def parts(engine: object) -> SimpleNamespace:
    """The modules, imported as the engine is on its own."""
    planning = "planning.plan planning.plan_file planning.sensitivity_table"
    found = modules("run.step run.sensitivity family.contract scripts.options", planning)
    return SimpleNamespace(**vars(found), command=modules("scripts.sensitivity").sensitivity)


class Opinionated(ToyFamily):
    """A family whose validator loves `grow` and does not care for `wide.0`."""

    def __init__(self, parts: SimpleNamespace, patience: int = 10**6) -> None:
        self.parts, self.patience, self.seen = parts, patience, 0

    def evaluate(self, weights: Path) -> Any:
        self.seen += 1
        if self.seen > self.patience:
            raise KeyboardInterrupt
        model = self.load(weights)
        lost = 0.6 * (1 - model.grow.out_channels / 12) + 0.001 * (1 - model.wide[0].out_channels / 24)
        return self.parts.contract.Metrics(map50=0.9 - lost, map50_95=0.8 - lost)


@pytest.fixture
def best(tmp_path: Path) -> Path:
    (tmp_path / "best.pt").write_bytes(b"stands for a checkpoint")
    return tmp_path / "best.pt"


def test_an_interrupted_table_goes_on(parts: SimpleNamespace, best: Path) -> None:
    asked, out = parts.sensitivity.Asked("l2", (0.25, 0.5)), best.parent / "table.json"
    whole = Opinionated(parts)
    wanted = parts.sensitivity.measure(whole, best, asked, best.parent / "whole.json")
    assert whole.seen == 1 + 2 * len(wanted["units"]) and wanted["dense"] == 0.8
    with pytest.raises(KeyboardInterrupt):
        parts.sensitivity.measure(Opinionated(parts, patience=4), best, asked, out)
    again = Opinionated(parts)
    assert parts.sensitivity.measure(again, best, asked, out) == wanted
    assert again.seen == whole.seen - 4, "what was measured is not measured again"
    assert wanted["units"]["grow"]["map50_95"]["0.5"] == pytest.approx(0.5)
    text = parts.command.table(wanted).splitlines()
    assert text[1].split() == ["grow", "12", "0.150", "0.300"]
    assert parts.command.heat_map(wanted, best.parent / "map.png").stat().st_size > 1000
    with pytest.raises(Exception, match=r"table\.json is another measurement \(importance l2, now l1\)"):
        parts.sensitivity.measure(Opinionated(parts), best, parts.sensitivity.Asked("l1", (0.5,)), out)


@pytest.mark.parametrize("size", [{"imgsz": 32}, {"img_size": [32, 32]}], ids=["imgsz", "YOLOv7's img_size"])
def test_a_table_at_another_image_size_is_not_gone_on_with(
    parts: SimpleNamespace, best: Path, size: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked, out, family = parts.sensitivity.Asked("l2", (0.5,)), best.parent / "table.json", Opinionated(parts)
    parts.sensitivity.measure(family, best, asked, out)
    monkeypatch.setattr(family, "arguments", lambda: {"data": "toys.yaml", "imgsz": 16, **size})
    with pytest.raises(Exception, match=rf"another measurement \({next(iter(size))} "):
        parts.sensitivity.measure(family, best, asked, out)


def test_plans_follow_what_was_measured(parts: SimpleNamespace, best: Path) -> None:
    """What the validator loves stays whole for as long as anything else can go; a plan file says so."""
    table, family = best.parent / "table.json", Opinionated(parts)
    parts.sensitivity.measure(family, best, parts.sensitivity.Asked("l2", (0.25, 0.5, 0.75)), table)
    settings = parts.options.Settings(
        prune_ratio=None, target_params=0.7, importance="l2", min_channels=2, sensitivity=str(table)
    )
    model, graph = parts.step.open_model(family, best, settings)
    dense = parts.step.dense_of(family, best)
    plan, scores = parts.step.plan_step(family, model, graph, settings, dense, 1)
    assert plan.keep["grow"] == 12 and plan.keep["hidden"] < 20 and plan.scope == "sensitivity"
    assert plan.pruned.params == pytest.approx(0.7 * plan.dense.params, rel=0.01)
    parts.plan_file.write_plan(plan, best.parent / "plan.yaml")
    assert parts.plan_file.read_plan(best.parent / "plan.yaml").fitted(graph).keep == plan.keep
    local = parts.plan.make_plan(graph, scores, target_params=0.7, floor=2)
    assert local.keep["grow"] < 12


def test_losses_never_fall_with_more_channels_gone(parts: SimpleNamespace) -> None:
    unit = SimpleNamespace(names=("a",), channels=8, first=8)
    row = {"channels": 8, "map50_95": {"0.25": 0.7, "0.5": 0.75, "0.75": 0.3}}
    curve = parts.sensitivity_table._curve(unit, {"dense": 0.8, "units": {"a": row}}, 8)
    assert list(curve) == sorted(curve, reverse=True) and len(curve) == 8
    assert curve[7] == pytest.approx(0.05, abs=1e-5), "an eighth gone: half way to a quarter"
    assert curve[4] == pytest.approx(0.1, abs=1e-5), "the better figure at half was luck"
    with pytest.raises(Exception, match="says nothing of a"):
        parts.sensitivity_table._curve(unit, {"dense": 0.8, "units": {}}, 8)
    with pytest.raises(Exception, match="of another network: a has 8, here 16"):
        parts.sensitivity_table._curve(unit, {"dense": 0.8, "units": {"a": row}}, 16)
    steps = parts.sensitivity_table._curve(
        SimpleNamespace(**{**vars(unit), "channels": 4}), {"dense": 0.8, "units": {"a": row}}, 8
    )
    assert steps == curve[:4], "a later step sees the first network's fractions"


def _planned(parts: SimpleNamespace, best: Path, table: Path) -> Any:
    settings = parts.options.Settings(
        prune_ratio=None, target_params=0.7, importance="l2", min_channels=2, sensitivity=str(table)
    )
    family = Opinionated(parts)
    model, graph = parts.step.open_model(family, best, settings)
    return parts.step.plan_step(family, model, graph, settings, parts.step.dense_of(family, best), 1)[0]


def _table(parts: SimpleNamespace, best: Path) -> tuple[Path, dict[str, Any]]:
    asked, table = parts.sensitivity.Asked("l2", (0.25, 0.5)), best.parent / "table.json"
    return table, parts.sensitivity.measure(Opinionated(parts), best, asked, table)


def test_only_a_whole_table_of_this_checkpoint_is_taken(parts: SimpleNamespace, best: Path) -> None:
    table, record = _table(parts, best)
    schemas.check("sensitivity", record)
    assert _planned(parts, best, table).removed
    whole = table.read_text()
    del record["units"]["grow"]["map50_95"]["0.5"]
    table.write_text(json.dumps(record))
    with pytest.raises(Exception, match=r"incomplete: grow lacks 50%\. Go on with the same command"):
        _planned(parts, best, table)
    table.write_text(whole)
    best.write_bytes(b"trained on")
    with pytest.raises(Exception, match=r"measured on another checkpoint \(.*best\.pt\), or that file has changed"):
        _planned(parts, best, table)


class Gated(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body, self.gate, self.out = nn.Conv2d(3, 64, 3), nn.Conv2d(64, 1, 1), nn.Conv2d(64, 5, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.body(x).relu()
        return self.out(x * torch.sigmoid(self.gate(x)))


def test_a_unit_of_one_channel_spoils_no_table(
    parts: SimpleNamespace, best: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.manual_seed(0)
    net = Gated()
    monkeypatch.setattr(Opinionated, "load", lambda self, weights: copy.deepcopy(net))
    monkeypatch.setattr(Opinionated, "example", lambda self, model: torch.zeros(1, 3, 16, 16))
    monkeypatch.setattr(Opinionated, "ignored", lambda self, model: {"out": "output"})
    monkeypatch.setattr(Opinionated, "evaluate", lambda self, weights: parts.contract.Metrics(map50=0.5, map50_95=0.4))
    table, record = _table(parts, best)
    assert list(record["units"]) == ["body"]
    assert _planned(parts, best, table).keep["gate"] == 1
    record["units"]["gate"] = {"channels": 1, "names": ["gate"], "map50_95": {}}  # as earlier tables have it
    table.write_text(json.dumps(record))
    assert _planned(parts, best, table).keep["gate"] == 1


def test_a_run_keeps_its_own_copy_of_the_table(
    parts: SimpleNamespace, best: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Typed as a relative path, gone meanwhile, the folder moved: --resume still plans by it."""
    script, record = modules("scripts.prune", "run.record").prune, modules("run.record").record
    table, _ = _table(parts, best)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(script.engine, "run", lambda state, *words, **more: state)
    monkeypatch.setattr(script, "outcome_of", lambda state: state)
    settings = parts.options.Settings(prune_ratio=None, target_params=0.7, sensitivity=table.name, repair=0)
    opened = SimpleNamespace(family=Opinionated(parts), weights=best, choose=lambda: Path("run"))
    script.carry(opened, settings)
    assert json.loads((tmp_path / "run/report.json").read_text())["settings"]["sensitivity"] == "sensitivity_table.json"
    whole = table.read_text()
    table.unlink()
    (tmp_path / "run").rename(tmp_path / "moved")
    found = record.State.load(tmp_path / "moved").settings.sensitivity
    assert Path(found) == tmp_path / "moved/sensitivity_table.json" and Path(found).read_text() == whole


def test_a_file_that_is_no_table(parts: SimpleNamespace, tmp_path: Path) -> None:
    with pytest.raises(Exception, match=r"none\.json: no such file\. Make it: python sensitivity\.py"):
        parts.sensitivity_table.read_table(tmp_path / "none.json")
    (tmp_path / "odd.json").write_text(json.dumps({"schema": 1}))
    with pytest.raises(Exception, match=r"odd\.json: not a table of sensitivity\.py"):
        parts.sensitivity_table.read_table(tmp_path / "odd.json")


def test_an_interrupted_measurement_says_how_to_go_on(
    parts: SimpleNamespace, best: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    guarded = importlib.import_module("pruning.scripts.prune").guarded
    door = importlib.import_module("pruning.checkpoint.reading")
    allowed = importlib.import_module("pruning.checkpoint.allowed")
    own = allowed.Rules(packages=("engine_helpers",))  # as an adapter says it
    monkeypatch.setitem(door._door, "rules", own)
    upstream = SimpleNamespace(
        open=lambda *words, **more: SimpleNamespace(family=Opinionated(parts, patience=2), weights=best)
    )
    assert guarded(lambda: parts.command.sensitivity("", ["--weights", str(best)], upstream)) == 130
    said = capsys.readouterr()
    assert f"(1 of {len(json.loads((best.parent / 'sensitivity.json').read_text())['units'])}): 25% removed" in said.out
    assert said.err.startswith(f"interrupted: what was measured is in {best.parent}/sensitivity.json, and the same")


def test_a_place_that_takes_no_table_is_refused_before_any_validation(parts: SimpleNamespace, best: Path) -> None:
    family = Opinionated(parts)
    opened = SimpleNamespace(family=family, weights=best)
    upstream = SimpleNamespace(open=lambda *words, **more: opened)

    def said(out: Path) -> str:
        with pytest.raises(Exception, match="--out") as caught:
            parts.command.sensitivity("", ["--weights", str(best), "--out", str(out)], upstream)
        return str(caught.value)

    folder = best.parent / "tables"
    folder.mkdir()
    assert f"a folder is there. Name a file: --out {folder}/sensitivity.json" in said(folder)
    assert said(best.parent / "map.png").endswith("map.json") and family.seen == 0
    assert sorted(path.name for path in best.parent.iterdir()) == ["best.pt", "tables"]
