# SPDX-License-Identifier: AGPL-3.0-or-later
"""docs/schemas holds the keys that the code writes and reads, no others. Real runs are held against it, too."""

from __future__ import annotations

import json
from dataclasses import fields
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import schemas
import yaml
from engine_helpers import modules, toy
from torch import nn


def keys(name: str, *below: str) -> set[str]:
    """The keys that a schema describes, at its top or below."""
    one: Any = schemas.schema(name)
    for key in below:
        one = one["properties"][key]
    return set(one.get("items", one)["properties"])


def test_a_record_has_the_keys_of_its_schema(engine: SimpleNamespace, tmp_path: Path) -> None:
    parts = modules("run.record", "settings", "planning.proof")
    state = parts.record.State(
        tmp_path, parts.settings.Settings(), "toy", "/x.pt", {}, proof=parts.proof.Proof().as_dict()
    )
    state.save()
    record = json.loads((tmp_path / "report.json").read_text())
    assert record.keys() == keys("report")
    assert record["proof"].keys() == keys("report", "proof")
    schemas.check("report", record)
    with pytest.raises(AssertionError, match=r"\$\.proof: Additional properties .*'more' was unexpected"):
        schemas.check("report", {**record, "proof": {"more": 1}})
    with pytest.raises(AssertionError, match=r"\$\.status: 'ended' is not one of"):
        schemas.check("report", {**record, "status": "ended"})


def test_a_step_and_a_time_have_the_keys_of_their_schema(engine: SimpleNamespace) -> None:
    parts = modules("run.record", "runtime.timing")
    needed = schemas.schema("report")["properties"]["steps"]["items"]["required"]
    assert set(needed) == parts.record._STEP
    times = schemas.schema("report")["properties"]["timing"]["properties"]["steps"]["additionalProperties"]
    assert set(times["properties"]) == {field.name for field in fields(parts.timing.Speed)}


def test_a_plan_file_is_what_its_schema_says(engine: SimpleNamespace, tmp_path: Path) -> None:
    plan_file = modules("planning.plan_file").plan_file
    model, image = toy()
    graph = engine.graph.PruningGraph.build(model, image, ignored={"out": "output", "score": "output"})
    plan = engine.plan.make_plan(graph, engine.scores.score_groups(graph, "l1"), ratio=0.5)
    plan_file.write_plan(plan, tmp_path / "plan.yaml")
    schemas.check("plan", yaml.safe_load((tmp_path / "plan.yaml").read_text()))
    assert keys("plan") == set(plan_file._KEYS) and keys("plan", "groups") == set(plan_file._GROUP_KEYS)


def test_a_width_block_is_what_its_schema_says(engine: SimpleNamespace) -> None:
    block = modules("network.width_block").width_block
    plain = {"backbone": [[-1, 1, "Conv", [16]]], "head": []}
    wide, narrow = (_chain(width) for width in (16, 8))
    made = block.close_block(plain, "guard", narrow, wide, ["model.1"])["prunekit"]
    schemas.check("width-block", made)
    assert made["widths"] and keys("width-block") == block._KEYS


def _chain(width: int) -> nn.Module:
    owner = nn.Module()
    owner.model = nn.Sequential(nn.Conv2d(3, width, 3), nn.Conv2d(width, 4, 1))
    return owner
