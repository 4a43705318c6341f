# SPDX-License-Identifier: AGPL-3.0-or-later
"""The command line of sensitivity.py, whatever the upstream: parse, check, measure what is missing, draw."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..errors import PruneError
from ..family.contract import Upstream
from ..files import check_place, write_whole
from ..run.sensitivity import RATIOS, Asked, measure
from ..settings import CRITERIA, Settings
from .options import Parser, normalise


def sensitivity(description: str, argv: list[str], upstream: Upstream) -> dict[str, Any]:
    """sensitivity.py: measure what is missing, print the table, draw the heat map.

    Args:
        description: the script's.
        argv: the command line; words that are not its own are upstream's train arguments (`--data`, `--imgsz`).
        upstream: the fork's.

    Raises:
        PruneError: no such network or data, or the file belongs to another measurement.
    """
    parser = Parser(
        description=description,
        epilog="upstream's --data, --imgsz (--img-size), --batch and --device may follow",
    )
    add = parser.add_argument
    add("--weights", "--model", dest="weights", required=True, help="trained checkpoint to look at")
    add("--out", type=Path, help="the table (default: sensitivity.json beside the checkpoint)")
    add("--importance", choices=CRITERIA, default="lamp", help="criterion by which channels go")
    add("--ratios", type=float, nargs="+", default=list(RATIOS), help="fractions to remove from one unit at a time")
    add("--recalibrate", action="store_true", help="recalibrate the BatchNorm statistics each time")
    add("--trust", action="store_true", help="load a checkpoint that runs code of its own when loaded")
    options, words = parser.parse_known_args(normalise(argv, parser))
    if not all(0 < ratio < 1 for ratio in options.ratios):
        raise PruneError(f"--ratios {options.ratios}: each must lie between 0 and 1.")
    asked = Asked(options.importance, tuple(sorted(set(options.ratios))), options.recalibrate)
    opened = upstream.open(options.weights, words, Settings(), trust=options.trust)
    opened.family.check_data(opened.weights)
    out = options.out or opened.weights.parent / "sensitivity.json"
    if out.suffix == ".png":
        raise PruneError(f"--out {out}: the table is JSON, with a picture beside it. --out {out.with_suffix('.json')}")
    check_place("--out", out, "sensitivity.json")
    try:
        record = measure(opened.family, opened.weights, asked, out)
    except KeyboardInterrupt:
        raise KeyboardInterrupt(f"what was measured is in {out}, and the same command goes on from there") from None
    print(table(record))
    picture = heat_map(record, out.with_suffix(".png"))
    print(f"Table: {out}. Prune by it: --sensitivity {out}" + (f"\nHeat map: {picture}" if picture else ""))
    return record


def table(record: Mapping[str, Any]) -> str:
    """mAP50-95 lost by unit and ratio, the most sensitive first."""
    ratios = sorted({ratio for row in record["units"].values() for ratio in row["map50_95"]}, key=float)
    wide = max(len(name) for name in record["units"])
    lost = {
        name: [record["dense"] - row["map50_95"].get(ratio, record["dense"]) for ratio in ratios]
        for name, row in record["units"].items()
    }
    rows = [f"{'unit':<{wide}}  channels  " + "  ".join(f"{float(ratio):>6.0%}" for ratio in ratios)]
    for name in sorted(lost, key=lambda name: -sum(lost[name])):
        losses = "  ".join(f"{value:6.3f}" for value in lost[name])
        rows.append(f"{name:<{wide}}  {record['units'][name]['channels']:>8}  {losses}")
    rows.append(f"mAP50-95 lost with this fraction of the unit removed, untrained; dense {record['dense']:.4f}")
    return "\n".join(rows)


def heat_map(record: Mapping[str, Any], target: Path) -> Path | None:
    """Draw the table in the network's order; None without matplotlib."""
    try:
        from matplotlib.figure import Figure
    except ImportError:
        print("warning: matplotlib is not installed, so there is no heat map (pip install matplotlib)")
        return None
    ratios = sorted({ratio for row in record["units"].values() for ratio in row["map50_95"]}, key=float)
    names = list(record["units"])
    cells = [[record["dense"] - record["units"][n]["map50_95"].get(r, record["dense"]) for n in names] for r in ratios]
    figure = Figure(figsize=(max(6, 0.22 * len(names)), 3.6), layout="constrained")
    axis: Any = figure.subplots()
    image = axis.imshow(cells, aspect="auto", cmap="magma_r", vmin=0)
    axis.set_xticks(range(len(names)), names, rotation=90, fontsize=6)
    axis.set_yticks(range(len(ratios)), [f"{float(ratio):.0%}" for ratio in ratios])
    figure.colorbar(image, label="mAP50-95 lost")
    write_whole(target, lambda scratch: figure.savefig(scratch, dpi=140))
    return target
