# SPDX-License-Identifier: AGPL-3.0-or-later
"""What brings accuracy back, in whole runs: --recalibrate, --distill, and the estimate of --plan-only."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml
from workshop import Workshop

pytestmark = [pytest.mark.upstream, pytest.mark.slow]
QUICK = "--imgsz 64 --batch 8 --epochs 1 --device cpu --workers 0 --plots False".split()


def test_recalibrated_and_taught(workshop: Workshop, tiny_set: Path) -> None:
    workshop.network("yolov8n.yaml", "best.pt")
    words = ("prune_one_shot.py", "--weights", "best.pt", "--data", str(tiny_set), "--target-macs", "0.5")
    output = workshop.python(*words, *QUICK, "--recalibrate", "--distill", "0.5", "--no-export", "--name", "taught")
    assert "BatchNorm statistics recalibrated on 2 training batches" in output
    assert float(output.partition("MACs ratio=")[2].split()[0]) == pytest.approx(2, rel=0.01)
    settings = workshop.report("runs/detect/taught")["settings"]
    assert settings["recalibrate"] is True and settings["distill"] == 0.5
    previewed = workshop.python(*words, *QUICK, "--plan-only", "--name", "preview")
    assert "estimate    mAP50 0." in previewed and "fine-tuning, repaired on 16 training images" in previewed
    untrained = workshop.python(*words, *QUICK, "epochs=0", "--plan-only", "--name", "untrained")
    assert "No training follows: fpgm and reconstruction error are both tried" in untrained
    taken = yaml.safe_load((workshop.root / "runs/detect/untrained/plan.yaml").read_text())
    far = [
        float(word) for word in untrained.partition("dense network's by ")[2].partition(" of their")[0].split(" and ")
    ]
    assert (taken["criterion"], taken["scope"]) == (
        ("reconstruction", "global") if far[1] < far[0] else ("fpgm", "local")
    )
    words = ("prune.py", *words[1:])
    run = workshop.python(*words, *QUICK, "epochs=0", "--no-export", "--name", "ended")
    assert "No training follows: one step instead of 5" in run and run.count("Repaired ") == 1
    done = yaml.safe_load((workshop.root / "runs/detect/ended/step1_plan.yaml").read_text())
    assert done["groups"] == taken["groups"] and len(workshop.report("runs/detect/ended")["steps"]) == 1
    repaired = workshop.report("runs/detect/ended")["steps"][0]["repair"]["after"]
    assert f"{repaired:.2g}" == f"{min(far):.2g}", "what the run saved is what was tried"
    assert "smallest    " in previewed and "layers: output" in previewed
    assert not (workshop.root / "best.yaml").exists() and (workshop.root / "runs/detect/preview/plan.yaml").is_file()


SHOWN = """
import json, sys
import json
from pathlib import Path
import torch
from ultralytics.cfg import get_cfg
from ultralytics.data.build import build_yolo_dataset
from ultralytics.data.utils import check_det_dataset
from ultralytics.prunekit.main import Upstream
from ultralytics.pruning.run.framed import framed_images
from ultralytics.pruning.settings import Settings

words = ["data=" + sys.argv[1], "imgsz=64", "workers=0", "device=cpu"]
family = Upstream().open("best.pt", words, Settings(), trust=False, run="prune").family
model = family.load(Path("best.pt"))
ours = framed_images(family, Path("best.pt"), model, 128)
data = check_det_dataset(sys.argv[1])
args = get_cfg(overrides={"data": sys.argv[1], "imgsz": 64, "task": "detect"})
shown = build_yolo_dataset(args, data["train"], batch=1, data=data, mode="val", rect=True, stride=32)
theirs = [item["img"].float()[None] / 255 for item in shown]
same = [any(torch.equal(image, other) for other in theirs) for image in ours]
print("SHOWN" + json.dumps([len(ours), len(theirs), sum(same), list(ours[0].shape)]))
"""


def test_a_repair_sees_what_the_validator_shows(workshop: Workshop, tiny_set: Path) -> None:
    """Bit for bit, in the grey frame that upstream puts around square images: 64 px become 96."""
    workshop.network("yolov8n.yaml", "best.pt")
    said = workshop.python("-c", SHOWN, str(tiny_set))
    assert json.loads(said.rpartition("SHOWN")[2].splitlines()[0]) == [16, 16, 16, [1, 3, 96, 96]]
