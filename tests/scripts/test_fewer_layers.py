# SPDX-License-Identifier: AGPL-3.0-or-later
"""prune.py --remove-blocks, as a user types it: two steps, a replayed plan, what plain upstream makes of the result."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import yaml
from test_stock import USE, in_stock
from workshop import SMALL, Workshop

# Two blocks, of four and of two bottlenecks.
DEEP = SMALL.replace("[0.33, 0.25, 1024]", "[0.67, 0.0625, 512]").replace("3, C2f, [256, True]", "6, C2f, [256, True]")
pytestmark = [pytest.mark.upstream, pytest.mark.slow]


def words_for(data: Path, name: str) -> tuple[str, ...]:
    """A run on the deep network."""
    own = ("--device", "cpu", "--workers", "0", "--plots", "False", "--batch", "8", "--imgsz", "64")
    return ("--weights", "deep.pt", "--data", str(data), *own, "--name", name)


def numbers(file: Path) -> list[int]:
    """The rows' numbers of bottlenecks."""
    rows = yaml.safe_load(file.read_text())
    return [row[1] for row in (*rows["backbone"], *rows["head"]) if row[2] == "C2f"]


def test_fewer_bottlenecks_then_fewer_channels(workshop: Workshop, stock: Path, tiny_set: Path, tmp_path: Path) -> None:
    workshop.small("deep.pt", rows=DEEP)
    limits = ("--steps", "2", "--target-macs", "0.5", "--round-to", "1", "--min-channels", "1", "--repair", "16")
    said = workshop.python(
        "prune.py", *words_for(tiny_set, "run"), *limits, "--remove-blocks", "3", "--epochs", "1", "--no-export"
    )
    folder = workshop.root / "runs/detect/run"
    report = workshop.report("runs/detect/run")
    gone = sum(entry["blocks"] - len(entry["keep"]) for entry in report["blocks"])
    assert gone == 3 and report["shallow"] == "step0_shallow.pt" and "3 bottlenecks removed" in said
    assert report["steps"][-1]["macs"] == pytest.approx(0.5 * report["dense"]["macs"], rel=0.03), "of all blocks"
    for page in ("report.md", "report.html"):
        assert "3 bottlenecks removed: model." in (folder / page).read_text(), page
    built = [4, 2]  # upstream's, by this depth; the fine-tuned network has what the rows say
    scaled = [max(round(0.67 * n), 1) if n > 1 else n for n in numbers(folder / "pruned.yaml")]
    assert sum(built) - sum(scaled) == 3 and sum(a != b for a, b in zip(built, scaled, strict=True)) == len(
        report["blocks"]
    )

    away = tmp_path / "away"
    away.mkdir()
    shutil.copy(folder / "pruned.pt", away)
    used = in_stock(stock, workshop.env, away, USE, "pruned.pt", str(tiny_set))
    assert used.returncode == 0, used.stderr[-3000:]
    answer = json.loads(used.stdout.rpartition("SAID")[2].splitlines()[0])
    assert answer["params"] == report["steps"][-1]["params"] and answer["home"].startswith(str(stock))

    plan = yaml.safe_load((folder / "step1_plan.yaml").read_text())
    assert plan["blocks"] == report["blocks"] and "blocks" not in yaml.safe_load(
        (folder / "step2_plan.yaml").read_text()
    )
    (workshop.root / "alone.yaml").write_text(yaml.safe_dump({**plan, "groups": []}))
    again = workshop.python(
        "prune.py", *words_for(tiny_set, "alone"), "--plan", "alone.yaml", "--epochs", "0", "--repair", "0"
    )
    alone = workshop.report("runs/detect/alone")
    assert alone["final"]["onnx_max_error"] < 1e-4 and "removed 0 channels" in again
    assert numbers(workshop.root / "runs/detect/alone/pruned.yaml") == numbers(folder / "pruned.yaml")
    assert alone["steps"][0]["params"] == json.loads(
        workshop.python("-c", COUNT, "runs/detect/run/step0_shallow.pt").splitlines()[-1]
    )


COUNT = """
import sys
from ultralytics import YOLO
print(sum(p.numel() for p in YOLO(sys.argv[1]).model.parameters()))
"""


def test_networks_with_single_bottlenecks_are_told(workshop: Workshop, tiny_set: Path) -> None:
    workshop.network("yolo11n.yaml", "deep.pt")
    said = workshop.python("prune.py", *words_for(tiny_set, "none"), "--remove-blocks", "2", code=2)
    assert "none of the 9 blocks has more than one bottleneck" in said and "Traceback" not in said
    assert not (workshop.root / "runs/detect/none").exists()
