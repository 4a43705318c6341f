# SPDX-License-Identifier: AGPL-3.0-or-later
"""`--schedule scaled` in the YOLOv5 fork: what upstream's training is given in the end."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import yaml
from home_five import Home

pytestmark = [pytest.mark.upstream, pytest.mark.slow]


def test_scaled_schedule5(home: Home, nets5: Path, tiny5: dict[str, Path]) -> None:
    """A fifth of the MACs go: two fifths of the learning rate, a tenth of the epochs as warm-up."""
    shutil.copy(nets5 / "dense.pt", home.root / "best.pt")
    words = "prune_one_shot.py --weights best.pt --target-macs 0.8 --schedule scaled --no-export --epochs 1 --name run"
    quick = "--batch-size 8 --workers 0 --device cpu --noplots --img 64"
    home.python(*words.split(), *quick.split(), "--data", tiny5["detect"])
    report, run = home.report("runs/prune/run"), home.root / "runs/prune/run/step1_finetune"
    rate = 2 * (1 - report["steps"][0]["macs"] / report["dense"]["macs"])
    hyp = yaml.safe_load((run / "hyp.yaml").read_text())
    assert 0.38 < rate < 0.42 and hyp["lr0"] == pytest.approx(0.01 * rate)
    assert hyp["warmup_epochs"] == pytest.approx(0.1)
    used = yaml.safe_load((run / "opt.yaml").read_text())
    assert used["epochs"] == 1 and (run / "scaled_hyp.yaml").is_file()
