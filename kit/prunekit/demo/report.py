# SPDX-License-Identifier: AGPL-3.0-or-later
"""The demo's comparison as data, and as a table for the terminal."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

from prunekit.demo.recipe import Recipe

SCHEMA = 1
# What the demo promises: the dense network has learned, and pruning costs little against equal training.
LEARNED, CLOSE = 0.8, 0.05
COLUMNS = ("network", "epochs", "parameters", "MACs", "mAP50", "mAP50-95", "ms/image")


def compare(folder: Path, measured: dict[str, Any], target: str, recipe: Recipe) -> dict[str, Any]:
    """Gather a demo's figures from what its steps left in `folder` (schema: docs/demo.md).

    Args:
        folder: the demo's folder, with dense/, pruned/ and extra/ whole.
        measured: what infork/measure.py wrote.
        target: for example v8.
        recipe: the demo's sizes.
    """
    run = json.loads((folder / "pruned" / "report.json").read_text(encoding="utf-8"))
    last = run["steps"][-1]
    epochs = {
        "dense": recipe.epochs,
        "extra": recipe.epochs + recipe.extra,
        "pruned": recipe.epochs + recipe.extra,
    }
    tables = {"dense": "dense", "extra": "extra", "pruned": "pruned/step1_finetune"}
    return {
        "schema": SCHEMA,
        "target": target,
        "recipe": recipe.as_dict(),
        "machine": measured["machine"],
        "networks": {name: {"epochs": epochs[name], **figures} for name, figures in measured["models"].items()},
        "before_finetuning": {
            "map50": last["pruned_map50"],
            "map50_95": last["pruned_map50_95"],
        },
        "curves": {name: curve(folder / place / "results.csv") for name, place in tables.items()},
        "widths": {name: [wide, last["widths"][name]] for name, wide in run["dense"]["widths"].items()},
        "steps": {name: json.loads((folder / name / "step.json").read_text(encoding="utf-8")) for name in tables},
        "pictures": measured["pictures"],
    }


def curve(table: Path) -> list[float]:
    """mAP50 after each epoch, from upstream's results.csv."""
    with table.open(encoding="utf-8", newline="") as file:
        return [float(row["metrics/mAP50(B)"]) for row in csv.DictReader(file, skipinitialspace=True)]


def rows(comparison: dict[str, Any]) -> list[tuple[str, ...]]:
    """The table's cells, in the order of COLUMNS."""
    found, before = comparison["networks"], comparison["before_finetuning"]
    untrained = {**found["pruned"], **before, "epochs": found["dense"]["epochs"]}
    order = {"dense": found["dense"], "dense, trained on": found["extra"], "pruned, not yet fine-tuned": untrained,
             "pruned, fine-tuned": found["pruned"]}  # fmt: skip
    return [(name, *_cells(figures)) for name, figures in order.items()]


def _cells(figures: dict[str, Any]) -> tuple[str, ...]:
    """One network's figures as text."""
    return (
        str(figures["epochs"]), f"{figures['params']:,}", f"{figures['macs'] / 1e6:.1f} M",
        f"{figures['map50']:.3f}", f"{figures['map50_95']:.3f}", f"{figures['ms_per_image']:.2f}",
    )  # fmt: skip


def verdict(comparison: dict[str, Any]) -> str:
    """What the figures say, in two sentences; says so as well where they say nothing."""
    dense, extra, pruned = (comparison["networks"][name] for name in ("dense", "extra", "pruned"))
    change = pruned["map50"] - extra["map50"]
    told = (
        f"With {pruned['macs'] / dense['macs']:.1%} of the MACs and {pruned['params'] / dense['params']:.1%} of the "
        f"parameters, the pruned network reaches mAP50 {pruned['map50']:.3f}; the dense one, given the same extra "
        f"epochs, {extra['map50']:.3f} ({change:+.3f} for pruning). "
    )
    if comparison["recipe"]["quick"]:
        return told + "This was --quick, which trains too little to learn: the figures only show that every step works."
    if dense["map50"] < LEARNED or change < -CLOSE:
        promised = f"dense above {LEARNED}, pruned within {CLOSE}"
        return told + f"That is worse than this demo should be ({promised}): please report it."
    return told + "One small set and one seed: it shows the way, not what to expect of your data."


def circumstances(comparison: dict[str, Any]) -> str:
    """How the figures came about."""
    machine, size = comparison["machine"], comparison["recipe"]
    where = f"{machine['cpus']} CPU cores, {machine['gpu'] or 'no GPU'}, "
    where += f"Python {machine['python']}, torch {machine['torch']}"
    return (
        f"{size['train']} training and {size['val']} validation scenes of {size['imgsz']} px, seed {size['seed']}; "
        f"{where}; {seconds(comparison):.0f} s in all. MACs are arithmetic for one image; ms/image was measured on one "
        "CPU thread. Each network is the best epoch's by validation."
    )


def seconds(comparison: dict[str, Any]) -> float:
    """Time of the steps that train and measure, interrupted attempts left out."""
    return sum(step["seconds"] for step in comparison["steps"].values())
