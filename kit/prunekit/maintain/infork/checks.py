# SPDX-License-Identifier: AGPL-3.0-or-later
"""What the programs that look at a walk's outcome share; it lies beside them, so that they find it inside any fork."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import yaml

LAST = "tuned/weights/last.pt"


def last_size(runs: Path, size: Callable[[Path], int]) -> None:
    """Penalty in the record, less than half after pruning, the same after fine-tuning, a kill and a resume."""
    options = yaml.safe_load((runs / "sparse/opt.yaml").read_text())
    need([options["sparsity"], options["sparsity_beta"]], [0.01, 0.01], "penalty in opt.yaml")
    dense, pruned, last = (size(runs / name) for name in ("sparse/weights/last.pt", "pruned/pruned.pt", LAST))
    need(pruned < 0.5 * dense, True, f"pruning to less than half of {dense} parameters ({pruned})")
    need(last, pruned, "parameters after fine-tuning, a kill and a resume")


def need(found: object, wanted: object, what: str) -> None:
    """End the program unless what was found is what was wanted."""
    if found != wanted:
        sys.exit(f"{what}: {found}, not {wanted}")
