# SPDX-License-Identifier: AGPL-3.0-or-later
"""prune.py, `yolo prune` and `YOLO(...).prune(...)` make the same network, bit for bit, and refuse in one line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from workshop import Workshop

pytestmark = [pytest.mark.upstream, pytest.mark.slow]
HERE = Path(__file__).parent
REFUSALS = (
    "unknown keyword 'target_mac'; did you mean target_macs?",
    "model: the network is the one that prune() is called on",
    "data={}: give text, a number, True or False, or a list of them.",
    "Leave --device out to use what is here",
    "--mode is not yours to set here",
    "yolov8n.yaml: built from a YAML and never trained",
    "in memory only (",  # whether upstream still knows the file, its releases differ
    "best.pt does not hold them). Save them first: model.save('mine.pt')",
    "old.onnx: an exported network cannot be pruned.",
)


@pytest.fixture
def ready(workshop: Workshop, tiny_set: Path) -> Workshop:
    """A fork with `best.pt`, an untrained yolov8n of ten classes."""
    workshop.network("yolov8n.yaml", "best.pt")
    return workshop


def test_three_ways_in_make_the_same_network(ready: Workshop, tiny_set: Path) -> None:
    """Settings, widths and weights of one step; callbacks, loggers, and every kind of model that is refused."""
    ready.env["PYTHONPATH"] = str(ready.root)  # as an installed fork is found
    said = ready.python(str(HERE / "calls_eight.py"), "best.pt", str(tiny_set))
    found = json.loads(said.rpartition("ANSWERS")[2].splitlines()[0])
    assert found["codes"] == {"script": 0, "yolo": 0, "wrong task": 2}
    assert "error: best.pt: a detect network, not one to segment. Leave 'segment' out." in said.splitlines()
    assert found["differ"] == [[], []] and found["returned"] == [] and found["left"] == []
    settings = [ready.report(f"{way}/run")["settings"] for way in ("script", "yolo", "called")]
    assert settings[0] == settings[1] == settings[2]
    chosen = {"importance": "reconstruction", "scope": "global", "round_to": 8, "repair": 128}
    assert {name: settings[0][name] for name in chosen} == chosen, "the defaults of a target"
    outcome, run = found["outcome"], ready.root / "called/run"
    assert [outcome["path"], outcome["plan"]] == [str(run / "pruned.pt"), str(run / "step1_plan.yaml")]
    assert 0.57 < outcome["macs_after"] / outcome["macs_before"] <= 0.63 and outcome["status"] == "done"
    _events(found)
    for text, part in zip(found["said"], REFUSALS, strict=True):
        assert part in text and "\n" not in text
    assert found["trained"]["said"] == "LookupError: 'stop here'", "what a callback raises is the user's"
    assert found["trained"]["weights"] == str(ready.root / "here/train/weights/best.pt")


def _events(found: dict[str, list[list[object]]]) -> None:
    """Callbacks ran in the run and in its trainings, and are on the network that came out; loggers were told."""
    heard = [tuple(each) for each in found["heard"]]
    assert [each for each in heard if each[1] == "Pruner"] == [
        ("on_prune_start", "Pruner"),
        ("on_prune_step_end", "Pruner"),
        ("on_prune_end", "Pruner"),
    ]
    assert ("on_train_epoch_end", "DetectionTrainer") in heard and ("on_val_end", "DetectionValidator") in heard
    assert found["kept"] == ["<lambda>"] and found["plan"][0] == "planned" and found["plan"][2]
    wrote = {(row[1], row[3]): row[2] for row in found["wrote"]}
    assert wrote["prune/macs", 0] == found["outcome"]["macs_before"]
    assert wrote["prune/macs", 1] == found["outcome"]["macs_after"] and wrote["prune/plan", 1] is True
