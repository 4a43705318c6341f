# SPDX-License-Identifier: AGPL-3.0-or-later
"""The slimming workflow as a user types it in a fork: sparsity training, inspection, pruning by it, fine-tuning."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from forkhome import Home
from kinds import Family, each
from runfiles import THRESHOLD

pytestmark = [pytest.mark.upstream]
PRUNE = "prune_one_shot.py --importance bn_scale --scope global --keep 0.5 --round-to 1 --min-channels 1 --no-export"


@each()
def test_slimming_from_sparsity_training_to_fine_tuning(family: Family, home: Home) -> None:
    """Four commands; each says what to type next, and pruning keeps what the inspection has promised."""
    small = ["--data", "tiny.yaml", *family.quick.split(), "--project", home.root / "runs"]
    last = "runs/sparse/weights/last.pt"
    said = home.python("train_sparse.py", "--weights", "best.pt", *small, "--name", "sparse")
    assert "Go on with last.pt" in said
    assert Path(re.search(r"inspect_bn.py --weights (\S+)", said).group(1)).parts[-2:] == Path(last).parts[-2:]
    inspect = ("inspect_bn.py", "--weights", last, "--keep", "0.5", "--round-to", "1", "--min-channels", "1")
    report = json.JSONDecoder().raw_decode((said := home.python(*inspect, "--json"))[said.index("{\n") :])[0]
    promised = THRESHOLD.search(" ".join(report["pruning"]["notes"])).groups()
    assert float(promised[0]) == float(f"{report['threshold']:.4g}")
    kept = THRESHOLD.search(home.python(*PRUNE.split(), "--weights", last, *small, "--name", "slim")).groups()
    assert kept == promised and 0 < int(kept[3]) <= int(kept[1]) <= int(kept[2]) / 2 + 1
    done = json.loads((home.root / "runs/slim/report.json").read_text())
    assert done["status"] == "done" and done["steps"][0]["params"] < done["dense"]["params"]
