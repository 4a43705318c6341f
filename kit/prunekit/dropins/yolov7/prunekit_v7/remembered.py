# SPDX-License-Identifier: AGPL-3.0-or-later
"""Which data set and image size a checkpoint was made with: YOLOv7 does not note it in the file, only beside it."""

from __future__ import annotations

import filecmp
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pruning.run.record import REPORT

from .data import read_yaml

RUNS = Path("runs")


def remembered(weights: Path) -> dict[str, Any]:
    """Data set and image size of the training or pruning run that wrote `weights`.

    Taken from the record beside the file; for a copy (`cp runs/train/exp/weights/best.pt .`) from the record beside the
    same bytes below runs/, which is said.

    Returns:
        {data, img_size, single_cls} as far as they are known; data is "" where it is not here, and `gone` names it.
    """
    if (kept := _noted(weights.resolve().parent)) is not None:
        return kept
    for twin in _twins(weights):
        if kept := _noted(twin.resolve().parent):
            print(f"{weights} is {twin}: data set and image size as that run had them, unless given")
            return kept
    return {"data": ""}


def _noted(place: Path) -> dict[str, Any] | None:
    """What a run's record has, None where there is no record beside the checkpoint."""
    opt, report = place.parent / "opt.yaml", place / REPORT
    if place.name == "weights" and opt.is_file():
        noted = read_yaml("opt.yaml", str(opt))
    elif report.is_file():
        noted = read_yaml(REPORT, str(report)).get("arguments") or {}  # JSON is YAML
    else:
        return None
    kept = {key: noted[key] for key in ("data", "img_size", "single_cls") if noted.get(key)}
    if not Path(str(kept.get("data", ""))).is_file():
        kept["gone"], kept["data"] = str(kept.get("data", "")), ""
    return kept


def _twins(weights: Path) -> Iterator[Path]:
    """Checkpoints below runs/ with the same bytes, the newest first."""
    size = weights.stat().st_size
    alike = [path for path in RUNS.rglob("*.pt") if path.stat().st_size == size]
    for path in sorted(alike, key=lambda path: -path.stat().st_mtime):
        if filecmp.cmp(path, weights, shallow=False):
            yield path
