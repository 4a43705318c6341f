# SPDX-License-Identifier: AGPL-3.0-or-later
"""The table that sensitivity.py writes, read back: what each channel of a unit is worth, for plans made from it."""

from __future__ import annotations

import itertools
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from ..errors import PruneError
from ..failures import reason_of
from .select import Unit

SCHEMA = 1


def read_table(path: Path) -> dict[str, Any]:
    """A table that `measure` wrote.

    Raises:
        PruneError: no such file, or not such a table.
    """
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        if record["schema"] != SCHEMA or not record["units"]:
            raise ValueError(f"schema {record['schema']}")
        _check_table(record)
    except FileNotFoundError:
        raise PruneError(f"{path}: no such file. Make it: python sensitivity.py --weights best.pt") from None
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError, OSError) as error:
        raise PruneError(f"{path}: not a table of sensitivity.py ({reason_of(error)}). Make it again.") from error
    return record


def _check_table(record: Mapping[str, Any]) -> None:
    """ValueError, naming it, for an accuracy that is none."""
    values = {"dense": record["dense"]}
    for name, row in record["units"].items():
        values.update({f"{name}, {float(ratio):.0%}": value for ratio, value in row["map50_95"].items()})
        if not all(0 < float(ratio) < 1 for ratio in row["map50_95"]) or type(row["channels"]) is not int:
            raise ValueError(f"{name}: a ratio outside 0 to 1, or no number of channels")
    for where, value in values.items():
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value <= 1:
            raise ValueError(f"{where}: {value!r} is no accuracy")


def require_whole(record: Mapping[str, Any], digest: str) -> None:
    """Refuse a table of other weights, or one in which a unit lacks a ratio that others have.

    Args:
        digest: SHA-256 of the checkpoint that is to be pruned.

    Raises:
        PruneError: before any work, saying how to get the table.
    """
    if record.get("digest", digest) != digest:
        raise PruneError(
            f"The sensitivity table was measured on another checkpoint ({record.get('weights', 'not named')}), or that "
            "file has changed since. Measure this one: python sensitivity.py --weights"
        )
    rows = {name: set(row["map50_95"]) for name, row in record["units"].items() if row["channels"] > 1}
    ratios = sorted({ratio for row in rows.values() for ratio in row}, key=float)
    lacking = ((name, ratio) for name, row in rows.items() for ratio in ratios if ratio not in row)
    for name, ratio in lacking:
        raise PruneError(
            f"The sensitivity table is incomplete: {name} lacks {float(ratio):.0%}. Go on with the same command that "
            "was interrupted (sensitivity.py), with the same --out."
        )


def with_worth(units: Sequence[Unit], record: Mapping[str, Any], first: Mapping[str, int]) -> list[Unit]:
    """Units whose curves are measured: `curve[k - 1]` is the mAP50-95 that is lost without the k-th channel.

    Between the measured ratios straight lines; losses never fall with more channels gone. A slope of 1e-6 in all orders
    channels whose loss was not measurable: they go first, from the widest share down.

    Args:
        first: {layer: channels} of the network that was measured, which an iterative run began with.

    Raises:
        PruneError: the table is of another network, or was interrupted.
    """
    return [replace(unit, curve=_curve(unit, record, first.get(unit.names[0], unit.first))) for unit in units]


def _curve(unit: Unit, record: Mapping[str, Any], first: int) -> tuple[float, ...]:
    name = unit.names[0]
    row = record["units"].get(name, {"channels": first, "map50_95": {}})
    if first > 1 and not row["map50_95"]:  # a single channel always stays: there is nothing to measure
        raise PruneError(f"The sensitivity table says nothing of {name}: of another network, or incomplete?")
    if row["channels"] != first:
        raise PruneError(f"The sensitivity table is of another network: {name} has {row['channels']}, here {first}.")
    points, worst = [(0.0, 0.0)], 0.0
    for ratio, value in sorted((float(ratio), value) for ratio, value in row["map50_95"].items()):
        worst = max(worst, record["dense"] - value)
        points.append((ratio, worst))
    points.append((1.0, max(worst, record["dense"])))  # without any channel nothing is left
    gone = [1 - (k - 1) / first for k in range(1, unit.channels + 1)]
    return tuple(_between(points, min(1.0, max(0.0, share))) + 1e-6 * share for share in gone)


def _between(points: Sequence[tuple[float, float]], x: float) -> float:
    for (left, low), (right, high) in itertools.pairwise(points):
        if x <= right:
            return low + (high - low) * (x - left) / (right - left)
    return points[-1][1]
