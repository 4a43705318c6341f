# SPDX-License-Identifier: AGPL-3.0-or-later
"""docs/notebooks/prune_yolov5.ipynb: as published it is whole, small and anonymous; executed, it does what it says."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest
from home_five import Home
from published import NOTEBOOKS, RUN, check_published, texts

NOTEBOOK = NOTEBOOKS / "prune_yolov5.ipynb"
TINY = {
    "data": "tiny.yaml",
    "weights": "best.pt",
    "img": 64,
    "epochs": 2,
    "steps": 2,
    "latency": ["--rounds", "11"],
    "more": ["--batch-size", "8", "--workers", "0", "--device", "cpu", "--noplots"],
}


def check(said: dict[str, str]) -> None:
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


def test_published_outputs() -> None:
    """Outputs are kept, small, and name no machine."""
    text = NOTEBOOK.read_text(encoding="utf-8")
    check_published(text)
    check(texts(json.loads(text)))


@pytest.mark.slow
@pytest.mark.upstream
def test_executed(home: Home, nets5: Path, tiny5: dict[str, Path], tmp_path: Path) -> None:
    """Every cell runs on tiny data, and its outputs hold what the published ones hold."""
    pytest.importorskip("nbclient")
    pytest.importorskip("ipykernel")
    shutil.copy(nets5 / "dense.pt", home.root / "best.pt")
    shutil.copy(tiny5["detect"], home.root / "tiny.yaml")
    home.python(RUN, NOTEBOOK, tmp_path / "out.ipynb", json.dumps(TINY))
    check(texts(json.loads((tmp_path / "out.ipynb").read_text(encoding="utf-8"))))
