# SPDX-License-Identifier: AGPL-3.0-or-later
"""The exported files of one deployment beside each other: size, accuracy, and time measured in turns on one image."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..runtime.exported import file_of
from ..runtime.runtimes import FROM_ONNX
from ..runtime.timing import Plenty, timed_calls
from .latency_target import CLOSE

PLENTY = Plenty(rounds=101, limit=60.0)
DENSE, PRUNED, INT8 = "dense", "pruned", " + INT8"
REFERENCE = "dense, ONNX Runtime"  # an extra row where the files are for another runtime
DONE, LOSSY, BEYOND = "done", "less accurate", "unreachable"
Row = dict[str, Any]


@dataclass(frozen=True)
class Rung:
    """An exported file that has been validated itself.

    Attributes:
        name: "dense", "pruned", each also " + INT8".
        file: an ONNX file, or the folder of an OpenVINO network.
        size: bytes.
        map50, map50_95: accuracies of the file, 0 to 1.
        runtime: that it is timed in.
    """

    name: str
    file: Path
    size: int
    map50: float
    map50_95: float
    runtime: str


def rows_of(rungs: Sequence[Rung], shape: Sequence[int], threads: int, limit: float, folder: Path) -> list[Row]:
    """Time all rungs in turns; the first is the reference of accuracy and time.

    Args:
        rungs: the first is the dense float file.
        shape: of the image, (1, channels, height, width).
        threads: of one forward.
        limit: mAP50-95 that a rung may lose.
        folder: the one that files are named in.

    Returns:
        A row of deploy.json's ladder for each.
    """
    image = torch.rand(tuple(shape), generator=torch.Generator().manual_seed(0))
    calls = {rung.name: _call(rung, image, threads) for rung in rungs}
    speeds = timed_calls(calls, Plenty(threads, PLENTY.rounds, PLENTY.limit))
    return [{**_row(rung, rungs[0], limit, folder), **speeds[rung.name].as_dict()} for rung in rungs]


def _call(rung: Rung, image: Tensor, threads: int) -> Any:
    return FROM_ONNX[rung.runtime](file_of(rung.file), image, threads=threads)


def _row(rung: Rung, dense: Rung, limit: float, folder: Path) -> Row:
    drop = dense.map50_95 - rung.map50_95
    return {
        "name": rung.name,
        "runtime": rung.runtime,
        "file": rung.file.relative_to(folder).as_posix(),
        "bytes": rung.size,
        "map50": rung.map50,
        "map50_95": rung.map50_95,
        "drop": drop,
        "within": rung is dense or (math.isfinite(drop) and drop <= limit),
    }


def chosen(rows: Sequence[Row], target: float | None) -> tuple[Row, str]:
    """The fastest file that is accurate enough, and what became of what was asked.

    Args:
        rows: of `rows_of`.
        target: share of the dense time to end at; None: anything faster than dense will do.

    Returns:
        The row, and "done", "less accurate" (what is fast enough has lost too much) or "unreachable" (nothing is).
    """
    own = [row for row in rows if row["name"] != REFERENCE]
    accurate = [row for row in own if row["within"]]
    fast = [row for row in own if meets(row, target)]
    good = [row for row in fast if row["within"]]
    best = max(good or accurate, key=lambda row: float(row["ratio"]))
    if good or (target is None and not fast):
        return best, DONE
    return best, LOSSY if fast else BEYOND


def meets(row: Row, target: float | None) -> bool:
    """A file takes the target's share of the dense time or less, with the tolerance of the search for it."""
    if target is None:
        return bool(row["low"] > 1)
    return bool(1 / row["ratio"] <= target * (1 + 2 * CLOSE))


def table(rows: Sequence[Row], measures: Sequence[str]) -> str:
    """The rows as a table that reads as text and as Markdown."""
    head = ["", "MB", *measures, "lost", "ms", "times as fast", "95% interval"]
    cells = [[*_cells(row), f"{row['low']:.2f} to {row['high']:.2f}"] for row in rows]
    widths = [max(len(line[at]) for line in (head, *cells)) for at in range(len(head))]

    def line(values: Sequence[str]) -> str:
        first, *rest = (
            value.ljust(wide) if at == 0 else value.rjust(wide)
            for at, (value, wide) in enumerate(zip(values, widths, strict=True))
        )
        return f"| {' | '.join([first, *rest])} |"

    rule = "|" + "|".join("-" * (wide + 1) + (":" if at else "-") for at, wide in enumerate(widths)) + "|"
    return "\n".join([line(head), rule, *map(line, cells)])


def _cells(row: Row) -> list[str]:
    return [
        row["name"],
        f"{row['bytes'] / 1e6:.2f}",
        f"{row['map50']:.4f}",
        f"{row['map50_95']:.4f}",
        f"{row['drop']:.4f}" + ("" if row["within"] else " (too much)"),
        f"{row['seconds'] * 1e3:.3g}",
        f"{row['ratio']:.2f}",
    ]
