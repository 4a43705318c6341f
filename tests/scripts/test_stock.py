# SPDX-License-Identifier: AGPL-3.0-or-later
"""A plain, pip-installed upstream with the fork out of reach: it uses what a run made, and refuses to train it."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from generations import ELEVEN
from workshop import SMALL, Workshop

pytestmark = [pytest.mark.upstream, pytest.mark.slow]

USE = """
import json, sys, torch, ultralytics
from ultralytics import YOLO
weights, data = sys.argv[1:3]
torch.manual_seed(0)
image = torch.rand(1, 3, 64, 64)
yolo = YOLO(weights)
said = {
    "home": ultralytics.__file__,
    "classes": sorted({type(m).__module__.split(".")[0] for m in yolo.model.modules()}),
    "params": sum(p.numel() for p in yolo.model.parameters()),
    "sum": float(yolo.model.float().eval()(image)[0].double().sum()),
    "boxes": len(YOLO(weights).predict(image, verbose=False)[0]),
    "map": float(YOLO(weights).val(data=data, imgsz=64, workers=0, plots=False, verbose=False).box.map),
    "onnx": YOLO(weights).export(format="onnx", imgsz=64, simplify=False, verbose=False),
}
print("SAID" + json.dumps(said))
"""
TRAIN = """
import sys
from ultralytics import YOLO
YOLO(sys.argv[1]).train(data=sys.argv[2], epochs=1, imgsz=64, device="cpu", workers=0, plots=False)
"""


def in_stock(stock: Path, env: dict[str, str], cwd: Path, code: str, *words: str) -> subprocess.CompletedProcess[str]:
    """Run code where only the stock upstream can be imported."""
    environment = {**env, "PYTHONPATH": str(stock)}
    command = [sys.executable, "-c", code, *words]
    return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("rows", [SMALL, ELEVEN], ids=["eight", "eleven"])
def test_stock_upstream_takes_what_a_run_made(
    workshop: Workshop, stock: Path, tiny_set: Path, tmp_path: Path, rows: str
) -> None:
    workshop.small(rows=rows)
    words = ("prune_one_shot.py", "--weights", "best.pt", "--data", str(tiny_set), "--imgsz", "64", "--epochs", "1")
    workshop.python(*words, "--device", "cpu", "--workers", "0", "--plots", "False", "--name", "run", "--no-export")
    away = tmp_path / "away"
    away.mkdir()
    shutil.copy(workshop.root / "runs/detect/run/pruned.pt", away)
    used = in_stock(stock, workshop.env, away, USE, "pruned.pt", str(tiny_set))
    assert used.returncode == 0, used.stderr[-3000:]
    said = json.loads(used.stdout.rpartition("SAID")[2].splitlines()[0])
    output = workshop.python("-c", USE, str(away / "pruned.pt"), str(tiny_set))
    own = json.loads(output.rpartition("SAID")[2].splitlines()[0])
    assert said["home"].startswith(str(stock)) and said["classes"] == ["torch", "ultralytics"]
    assert said["params"] == own["params"] == workshop.report("runs/detect/run")["steps"][0]["params"]
    assert said["sum"] == own["sum"] and said["map"] == own["map"]
    assert (away / said["onnx"]).is_file()
    trained = in_stock(stock, workshop.env, away, TRAIN, "pruned.pt", str(tiny_set))
    assert trained.returncode != 0 and "prunekit" in trained.stderr.splitlines()[-1]
