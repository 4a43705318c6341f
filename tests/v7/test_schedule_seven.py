# SPDX-License-Identifier: AGPL-3.0-or-later
"""`--schedule scaled` in the YOLOv7 fork: what upstream's training is given in the end."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from home_seven import HERE, Home

pytestmark = [pytest.mark.upstream, pytest.mark.slow]


def test_scaled_schedule7(home: Home, tiny7: Path) -> None:
    """A fifth of the MACs go: two fifths of the learning rate; the warm-up keeps its tenth."""
    home.python(HERE / "make_seven.py", "training/yolov7-tiny", "best.pt", "10")
    words = "prune_one_shot.py --weights best.pt --target-macs 0.8 --schedule scaled --no-export --epochs 1"
    quick = "--batch-size 8 --workers 0 --device cpu --noautoanchor --img-size 64 64"
    home.python(*words.split(), *quick.split(), "--data", tiny7)
    step, run = home.report("runs/prune/exp")["steps"][0], home.root / "runs/prune/exp/step1_finetune"
    rate = 2 * (1 - step["macs"] / home.report("runs/prune/exp")["dense"]["macs"])
    hyp = yaml.safe_load((run / "hyp.yaml").read_text())
    assert 0.38 < rate < 0.42 and hyp["lr0"] == pytest.approx(0.01 * rate) and hyp["warmup_iters"] == 0.1
    assert yaml.safe_load((run / "opt.yaml").read_text())["epochs"] == 1
