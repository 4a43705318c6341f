# SPDX-License-Identifier: AGPL-3.0-or-later
"""The slimming workflow as a user types it in a fork: sparsity training, inspection, pruning by it, fine-tuning."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

PRUNE = "prune_one_shot.py --importance bn_scale --scope global --keep 0.5 --round-to 1 --min-channels 1 --no-export"
THRESHOLD = re.compile(r"one threshold \|gamma\| (\S+): (\d+) of (\d+) BatchNorm channels are under it, (\d+) go")


def walk(python: Callable[..., str], train: list[str], last: str, tune: list[str], run: Path) -> None:
    """Four commands; each says what to type next, and pruning keeps what the inspection has promised.

    Args:
        python: runs `python words...` in the fork and gives its output.
        train: words of train_sparse.py.
        last: the checkpoint that it must end with, relative to the fork.
        tune: words of prune_one_shot.py beside the weights and those of slimming.
        run: where its run goes, with --project and --name in `tune`.
    """
    said = python("train_sparse.py", *train)
    assert "Go on with last.pt" in said
    assert Path(re.search(r"inspect_bn.py --weights (\S+)", said).group(1)).parts[-2:] == Path(last).parts[-2:]
    inspect = ("inspect_bn.py", "--weights", last, "--keep", "0.5", "--round-to", "1", "--min-channels", "1")
    report = json.JSONDecoder().raw_decode((said := python(*inspect, "--json"))[said.index("{\n") :])[0]
    promised = THRESHOLD.search(" ".join(report["pruning"]["notes"])).groups()
    assert float(promised[0]) == float(f"{report['threshold']:.4g}")
    kept = THRESHOLD.search(python(*PRUNE.split(), "--weights", last, *tune)).groups()
    assert kept == promised and 0 < int(kept[3]) <= int(kept[1]) <= int(kept[2]) / 2 + 1
    done = json.loads((run / "report.json").read_text())
    assert done["status"] == "done" and done["steps"][0]["params"] < done["dense"]["params"]
