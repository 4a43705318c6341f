# SPDX-License-Identifier: AGPL-3.0-or-later
"""sensitivity.py, whatever the upstream: what each layer's channels are worth, by pruning it alone and validating.

One network per unit (channels that go together) and ratio, none of them trained. The table is written whole after
each, so an interrupted measurement goes on; `--sensitivity FILE` makes plans from it.
(Li et al., arXiv:1608.08710, section 3.2.)
"""

from __future__ import annotations

import argparse
import itertools
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .apply import apply_plan
from .choose import Limits, Unit, make_units
from .errors import PruneError
from .failures import reason_of
from .family import Family, low_accuracy
from .files import check_place, write_json, write_whole
from .graph import PruningGraph
from .options import Parser, Settings, normalise
from .plan import Plan, PlanEntry
from .prune_step import open_model, scores_of
from .recalibrate import recalibrate
from .run import digest_of
from .scores import CRITERIA
from .scratch import temporary_folder
from .surgery import merge_blocks

if TYPE_CHECKING:
    from .command import Upstream

SCHEMA = 1
RATIOS = (0.25, 0.5, 0.75)


@dataclass(frozen=True)
class Asked:
    """What is measured: by which criterion channels go, how many, and whether BatchNorm is measured anew each time."""

    importance: str = "lamp"
    ratios: tuple[float, ...] = RATIOS
    recalibrate: bool = False
    seed: int = 0


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
        description=description, allow_abbrev=False, formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="upstream's --data, --imgsz (--img-size), --batch and --device may follow",
    )
    add = parser.add_argument
    add("--weights", "--model", dest="weights", required=True, help="trained checkpoint to look at")
    add("--out", type=Path, help="the table (default: sensitivity.json beside the checkpoint)")
    add("--importance", choices=CRITERIA, default="lamp", help="criterion by which channels go")
    add("--ratios", type=float, nargs="+", default=list(RATIOS), help="fractions to remove from one unit at a time")
    add("--recalibrate", action="store_true", help="measure BatchNorm statistics anew each time")
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


def measure(family: Family, weights: Path, asked: Asked, out: Path) -> dict[str, Any]:
    """Fill the table at `out` with what it lacks.

    Returns:
        {schema, digest, asked, dense: mAP50-95, units: {name: {channels, layers, map50_95: {ratio: value}}}}.
    """
    units = _units(family, weights, asked)
    record = _begun(family, weights, asked, out, units)
    for number, unit in enumerate(units, 1):
        row = record["units"][unit.names[0]]
        for ratio in asked.ratios:
            keep = max(1, int(unit.channels * (1 - ratio)))
            if str(ratio) in row["map50_95"] or keep == unit.channels:
                continue
            row["map50_95"][str(ratio)] = _accuracy_without(family, weights, asked, dict.fromkeys(unit.names, keep))
            write_json(out, record)
            found = f"{ratio:.0%} removed, mAP50-95 {row['map50_95'][str(ratio)]:.4f}"
            print(f"{unit.names[0]} ({number} of {len(units)}): {found}")
    return record


def _units(family: Family, weights: Path, asked: Asked) -> list[Unit]:
    model, graph = open_model(family, weights, Settings())
    scores = scores_of(family, model, graph, asked.importance, asked.seed, weights)
    return make_units(graph.groups, scores, Limits(1), {})


def _begun(family: Family, weights: Path, asked: Asked, out: Path, units: Sequence[Unit]) -> dict[str, Any]:
    """The table so far, or a new one with the dense network's accuracy.

    Raises:
        PruneError: the file holds another network's table, or one that was asked for otherwise.
    """
    given = family.arguments()  # upstreams name the image size differently
    arguments = {key: str(given.get(key)) for key in ("data", "imgsz", "img_size", "split", "single_cls")}
    key = {"schema": SCHEMA, "digest": digest_of(weights), "importance": asked.importance,
           "recalibrate": asked.recalibrate, "seed": asked.seed, **arguments}
    if out.is_file():
        record = read_table(out)
        found = {name: record.get(name) for name in key}
        if found != key:
            wrong = next(name for name in key if found[name] != key[name])
            text = f"{out} is another measurement ({wrong} {found[wrong]}, now {key[wrong]}): name another --out."
            raise PruneError(text)
        return record
    rows = {unit.names[0]: {"channels": unit.channels, "names": list(unit.names), "map50_95": {}} for unit in units}
    dense = family.evaluate(weights)
    if warning := low_accuracy(dense):
        print(warning)
    record = {**key, "weights": str(weights), "dense": dense.map50_95, "units": rows}
    write_json(out, record)
    return record


def _accuracy_without(family: Family, weights: Path, asked: Asked, keep: Mapping[str, int]) -> float:
    """mAP50-95 of the network with these groups narrowed, not trained."""
    model, graph = open_model(family, weights, Settings())
    scores = scores_of(family, model, graph, asked.importance, asked.seed, weights)
    apply_plan(graph, _plan(graph, asked.importance, keep), scores)
    merge_blocks(model, family.rules)
    if asked.recalibrate:
        recalibrate(model, lambda: family.losses(model))
    with temporary_folder() as folder:
        pruned = Path(folder) / "one.pt"
        family.save(model, weights, pruned)
        return family.evaluate(pruned).map50_95


def _plan(graph: PruningGraph, criterion: str, keep: Mapping[str, int]) -> Plan:
    entries = tuple(PlanEntry(g.name, g.channels, keep.get(g.name, g.channels), g.layers, g.tie) for g in graph.groups)
    return Plan(criterion, "local", entries, graph.cost(), graph.cost(keep), graph.example_shape, dict(graph.frozen))


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
        raise PruneError(f"{path}: not a table of sensitivity.py ({reason_of(error)}). Make it anew.") from error
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


def with_worth(units: Sequence[Unit], record: Mapping[str, Any]) -> list[Unit]:
    """Units whose curves are measured: `curve[k - 1]` is the mAP50-95 that is lost without the k-th channel.

    Between the measured ratios straight lines; losses never fall with more channels gone. A slope of 1e-6 in all orders
    channels whose loss was not measurable: they go first, from the widest share down.

    Raises:
        PruneError: the table is of another network, or was interrupted.
    """
    return [replace(unit, curve=_curve(unit, record)) for unit in units]


def _curve(unit: Unit, record: Mapping[str, Any]) -> tuple[float, ...]:
    row = record["units"].get(unit.names[0])
    if row is None or not row["map50_95"]:
        raise PruneError(f"The sensitivity table says nothing of {unit.names[0]}: of another network, or not whole?")
    points, worst = [(0.0, 0.0)], 0.0
    for ratio, value in sorted((float(ratio), value) for ratio, value in row["map50_95"].items()):
        worst = max(worst, record["dense"] - value)
        points.append((ratio, worst))
    points.append((1.0, max(worst, record["dense"])))  # without any channel nothing is left
    gone = [1 - (k - 1) / unit.first for k in range(1, unit.channels + 1)]
    return tuple(_between(points, min(1.0, max(0.0, share))) + 1e-6 * share for share in gone)


def _between(points: Sequence[tuple[float, float]], x: float) -> float:
    for (left, low), (right, high) in itertools.pairwise(points):
        if x <= right:
            return low + (high - low) * (x - left) / (right - left)
    return points[-1][1]


def table(record: Mapping[str, Any]) -> str:
    """mAP50-95 lost by unit and ratio, the most sensitive first."""
    ratios = sorted({ratio for row in record["units"].values() for ratio in row["map50_95"]}, key=float)
    wide = max(len(name) for name in record["units"])
    lost = {name: [record["dense"] - row["map50_95"].get(ratio, record["dense"]) for ratio in ratios]
            for name, row in record["units"].items()}
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
