# SPDX-License-Identifier: AGPL-3.0-or-later
"""docs/notebooks: as published each is whole, small and anonymous; executed, it does what it says."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

import pytest
import yaml
from forkhome import Home
from kinds import EIGHT, FIVE, Family, marks
from published import NOTEBOOKS, RUN, check_published, texts

TINY_EIGHT = {
    "data": "tiny.yaml",
    "weights": "best.pt",
    "imgsz": 64,
    "epochs": 1,
    "latency": ["--rounds", "11"],
    "train": {"batch": 8, "workers": 0, "device": "cpu", "plots": False, "verbose": False},
}
TINY_FIVE = {
    "data": "tiny.yaml",
    "weights": "best.pt",
    "img": 64,
    "epochs": 1,
    "steps": 2,
    "latency": ["--rounds", "11"],
    "more": ["--batch-size", "8", "--workers", "0", "--device", "cpu", "--noplots"],
}


def check_eight(said: dict[str, str]) -> None:
    """What the outputs of any run must hold: the target was met, files are smaller, and the ONNX file was validated."""
    assert [row for row in said if not said[row]] == ["helpers"], "a cell without an output"
    shares = [[int(share) for share in re.findall(r"(\d+)%", line)] for line in said["plan"].splitlines()[:2]]
    assert shares[0][0] < 40 and shares[1][0] == pytest.approx(50, abs=3), said["plan"]
    steps = [int(share) for share in re.findall(r"step \d+: MACs (\d+)%", said["prune"])]
    assert len(steps) == 2 and steps[0] > steps[1] == pytest.approx(50, abs=3), said["prune"]
    before, after = (int(count.replace(",", "")) for count in re.findall(r"\d+,[\d,]+", said["prune"])[:2])
    left = after / before  # the plan is of one step, the run of two: its second ranks another network
    assert max(left, shares[1][1] / 100) < 0.65, (said["plan"], said["prune"])
    assert {"pruned.pt", "pruned.yaml", "report.html", "report.json"} <= set(said["report"].split())
    assert len(re.findall(r"mAP50-95 [01]\.\d+", said["control"])) == 2
    large, small = (float(size) for size in re.findall(r"([\d.]+) MB", said["export"]))
    assert small / large == pytest.approx(left, abs=0.1), said["export"]
    kept, shipped = (re.findall(r"mAP50 ([01]\.\d+)", said[cell])[-1] for cell in ("control", "export"))
    assert float(shipped) == pytest.approx(float(kept), abs=0.002), (
        "the file that is shipped, as accurate as the network"
    )
    assert len(re.findall(r"speed-up [\d.]+ \([\d.]+ to [\d.]+\)", said["latency"])) == 2
    assert said["predict"] == "PNG"


def check_five(said: dict[str, str]) -> None:
    """What the outputs of any run must hold: the targets were met, each figure is there, both pictures are drawn."""
    assert [row for row in said if not said[row]] == ["helpers"], "a cell without an output"
    assert len(re.findall(r"parameters +[\d,]+ -> [\d,]+", said["plan"])) == 2
    for cell, rows in (("strategies", 3), ("steps", 3)):
        work = [int(share) for share in re.findall(r"MACs +(\d+)%", said[cell])]
        assert len(work) == rows and all(49 <= share <= 51 for share in work[:2]), said[cell]
    assert re.search(r"dense, trained on +params 100%  MACs 100%  mAP50 [01]\.\d+ -> [01]\.\d+", said["steps"])
    gains = json.loads(said["steps"].rpartition("step by step: ")[2].replace("'", '"'))
    assert len(gains) > 1 and all(step == gains[0] and step["obj"] > 0 for step in gains)
    assert said["strategies-plot"] == said["steps-plot"] == "PNG"
    sizes = [float(size) for size in re.findall(r"file ([\d.]+) MB", said["validate"])]
    assert len(sizes) == 2 and sizes[1] < sizes[0]
    ratios = [float(ratio) for ratio in re.findall(r"MACs ratio ([\d.]+)", said["latency"])]
    assert ratios[0] == 1.0 and ratios[1] == pytest.approx(2.0, abs=0.05)
    assert float(said["widths"].partition("torch by ")[2].partition(" of")[0]) < 1e-3


CASES = (
    (EIGHT, "prune_yolov8.ipynb", TINY_EIGHT, check_eight),
    (FIVE, "prune_yolov5.ipynb", TINY_FIVE, check_five),
)


@pytest.mark.parametrize("name, check", [pytest.param(*case[1::2], id=case[0].name) for case in CASES])
def test_published_outputs(name: str, check: Callable[[dict[str, str]], None]) -> None:
    """Outputs are kept, small, and name no machine."""
    text = (NOTEBOOKS / name).read_text(encoding="utf-8")
    check_published(text)
    check(texts(json.loads(text)))


@pytest.mark.upstream
@pytest.mark.parametrize(
    "family, name, settings, check", [pytest.param(*case, id=case[0].name, marks=marks(case[0])) for case in CASES]
)
def test_executed(
    request: pytest.FixtureRequest,
    home: Home,
    family: Family,
    name: str,
    settings: dict[str, Any],
    check: Callable[[dict[str, str]], None],
) -> None:
    """Every cell runs on tiny data, and its outputs hold what the published ones hold."""
    pytest.importorskip("nbclient")
    pytest.importorskip("ipykernel")
    out, image = home.root.with_name("out.ipynb"), family.data(request).parent / "images" / "val"
    home.python(RUN, NOTEBOOKS / name, out, json.dumps({**settings, "image": str(image)}))
    said = texts(json.loads(out.read_text(encoding="utf-8")))
    check(said)
    if family is EIGHT:  # to the last parameter what the last step's plan says, of the network that it was made for
        plan = yaml.safe_load((home.root / "runs/notebook/pruned/step2_plan.yaml").read_text(encoding="utf-8"))
        assert f"-> {plan['pruned']['params']:,}\n" in said["prune"], said["prune"]
