# SPDX-License-Identifier: AGPL-3.0-or-later
"""sensitivity.py, whatever the upstream: what each layer's channels are worth, by pruning it alone and validating.

One network per unit (channels that go together) and ratio, none of them trained. The table is written whole after
each, so an interrupted measurement goes on; `--sensitivity FILE` makes plans from it.
(Li et al., arXiv:1608.08710, section 3.2.)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import PruneError
from ..family.contract import Family, low_accuracy
from ..files import digest_of, write_json
from ..network.graph import PruningGraph
from ..network.surgery import merge_blocks
from ..planning.apply import apply_plan
from ..planning.plan import Plan, PlanEntry
from ..planning.select import Limits, Unit, make_units
from ..planning.sensitivity_table import SCHEMA, read_table
from ..scratch import temporary_folder
from ..settings import Settings
from ..training.recalibrate import recalibrate
from .step import open_model, scores_of

if TYPE_CHECKING:
    pass

RATIOS = (0.25, 0.5, 0.75)


@dataclass(frozen=True)
class Asked:
    """What is measured: by which criterion channels go, how many, and whether BatchNorm is measured again each time."""

    importance: str = "lamp"
    ratios: tuple[float, ...] = RATIOS
    recalibrate: bool = False
    seed: int = 0


def measure(family: Family, weights: Path, asked: Asked, out: Path) -> dict[str, Any]:
    """Fill the table at `out` with what it lacks. A unit of one channel has nothing to remove and no row.

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
    return [unit for unit in make_units(graph.groups, scores, Limits(1), {}) if unit.channels > 1]


def _begun(family: Family, weights: Path, asked: Asked, out: Path, units: Sequence[Unit]) -> dict[str, Any]:
    """The table so far, or a new one with the dense network's accuracy.

    Raises:
        PruneError: the file holds another network's table, or one that was asked for otherwise.
    """
    given = family.arguments()  # upstreams name the image size differently
    arguments = {key: str(given.get(key)) for key in ("data", "imgsz", "img_size", "split", "single_cls")}
    key = {
        "schema": SCHEMA,
        "digest": digest_of(weights),
        "importance": asked.importance,
        "recalibrate": asked.recalibrate,
        "seed": asked.seed,
        **arguments,
    }
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
