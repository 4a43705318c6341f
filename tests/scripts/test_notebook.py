# SPDX-License-Identifier: AGPL-3.0-or-later
"""docs/notebooks/prune_yolov8.ipynb: as published it is whole, small and anonymous; executed, it does what it says."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from published import NOTEBOOKS, RUN, check_published, texts
from workshop import Workshop

NOTEBOOK = NOTEBOOKS / "prune_yolov8.ipynb"
TINY = {
    "weights": "best.pt",
    "imgsz": 64,
    "epochs": 1,
    "latency": ["--rounds", "11"],
    "train": {"batch": 8, "workers": 0, "device": "cpu", "plots": False, "verbose": False},
}


def check(said: dict[str, str]) -> None:
    """What the outputs of any run must hold: the target was met, files are smaller, and the ONNX file was validated."""
    assert [row for row in said if not said[row]] == ["helpers"], "a cell without an output"
    shares = [[int(share) for share in re.findall(r"(\d+)%", line)] for line in said["plan"].splitlines()[:2]]
    assert shares[0][0] < 40 and shares[1][0] == pytest.approx(50, abs=3), said["plan"]
    steps = [int(share) for share in re.findall(r"step \d+: MACs (\d+)%", said["prune"])]
    assert len(steps) == 2 and steps[0] > steps[1] == pytest.approx(50, abs=3), said["prune"]
    before, after = (int(count.replace(",", "")) for count in re.findall(r"\d+,[\d,]+", said["prune"])[:2])
    assert after < 0.6 * before
    assert {"pruned.pt", "pruned.yaml", "report.html", "report.json"} <= set(said["report"].split())
    assert len(re.findall(r"mAP50-95 [01]\.\d+", said["control"])) == 2
    large, small = (float(size) for size in re.findall(r"([\d.]+) MB", said["export"]))
    assert small < 0.6 * large
    kept, shipped = (re.findall(r"mAP50 ([01]\.\d+)", said[cell])[-1] for cell in ("control", "export"))
    assert float(shipped) == pytest.approx(float(kept), abs=0.002), (
        "the file that is shipped, as accurate as the network"
    )
    assert len(re.findall(r"speed-up [\d.]+ \([\d.]+ to [\d.]+\)", said["latency"])) == 2
    assert said["predict"] == "PNG"


def test_published_outputs() -> None:
    """Outputs are kept, small, and name no machine."""
    text = NOTEBOOK.read_text(encoding="utf-8")
    check_published(text)
    check(texts(json.loads(text)))


@pytest.mark.slow
@pytest.mark.upstream
def test_executed(workshop: Workshop, tiny_set: Path, tmp_path: Path) -> None:
    """Every cell runs on tiny data, and its outputs hold what the published ones hold."""
    pytest.importorskip("nbclient")
    pytest.importorskip("ipykernel")
    workshop.network("yolov8n.yaml", "best.pt")
    workshop.env["PYTHONPATH"] = str(workshop.root)  # as an installed fork is found
    settings = {**TINY, "data": str(tiny_set), "image": str(tiny_set.parent / "images" / "val")}
    workshop.python(str(RUN), str(NOTEBOOK), str(tmp_path / "out.ipynb"), json.dumps(settings))
    check(texts(json.loads((tmp_path / "out.ipynb").read_text(encoding="utf-8"))))
