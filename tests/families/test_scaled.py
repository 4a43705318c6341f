# SPDX-License-Identifier: AGPL-3.0-or-later
"""`--schedule scaled` in forks of YOLOv5 and YOLOv7: what upstream's training is given in the end."""

from __future__ import annotations

import pytest
import yaml
from forkhome import Home
from kinds import SCRIPTED, Family, each

pytestmark = [pytest.mark.upstream]
LINE = "prune_one_shot.py --weights best.pt --target-macs 0.8 --schedule scaled --no-export --data tiny.yaml --name run"
WARMUP = {"v5": "warmup_epochs", "v7": "warmup_iters"}  # the second as a share of the run


@each(SCRIPTED)
def test_scaled_schedule(family: Family, home: Home) -> None:
    """A fifth of the MACs go: two fifths of the learning rate, a tenth of the one epoch as warm-up."""
    home.python(*LINE.split(), *family.quick.split())
    report, run = home.report("runs/prune/run"), home.root / "runs/prune/run/step1_finetune"
    rate = 2 * (1 - report["steps"][0]["macs"] / report["dense"]["macs"])
    hyp = yaml.safe_load((run / "hyp.yaml").read_text())
    assert 0.38 < rate < 0.42 and hyp["lr0"] == pytest.approx(0.01 * rate)
    assert hyp[WARMUP[family.name]] == pytest.approx(0.1)
    assert yaml.safe_load((run / "opt.yaml").read_text())["epochs"] == 1
    assert family.name != "v5" or (run / "scaled_hyp.yaml").is_file()
