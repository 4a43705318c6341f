# SPDX-License-Identifier: AGPL-3.0-or-later
"""From cells to what a person reads: means with confidence intervals, differences by seed, verdicts, Pareto plots."""

from __future__ import annotations

import json
import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from scipy import stats

from .cells import Bench
from .variants import Variant

NEAR = 0.01  # of mAP50: the default's distance to dense that the project allows itself


def interval(values: Sequence[float]) -> tuple[float, float | None]:
    """Mean, and half the width of its 95% confidence interval by Student's t (None for a single value)."""
    mean = statistics.fmean(values)
    if len(values) < 2:
        return mean, None
    return mean, float(stats.t.ppf(0.975, len(values) - 1)) * statistics.stdev(values) / math.sqrt(len(values))


def gathered(
    bench: Bench, every: Mapping[str, Variant], earlier: Sequence[Path] = ()
) -> dict[str, dict[int, dict[str, Any]]]:
    """{variant: {seed: figures}} of all finished cells, here or in the `report.json` of earlier comparisons."""
    found: dict[str, dict[int, dict[str, Any]]] = {}
    for path in earlier:
        report = json.loads(path.read_text(encoding="utf-8"))
        if (report["target"], report["sizes"]) != (bench.name, asdict(bench.sizes)):
            raise SystemExit(
                f"--also {path}: of {report['target']}, {report['sizes']}: another comparison than this one"
            )
        for name, by_seed in report["cells"].items():
            if name in every:
                found.setdefault(name, {}).update({int(seed): figures for seed, figures in by_seed.items()})
    for path in sorted(bench.folder.glob("cells/s*/*/cell.json")):
        seed, name = int(path.parent.parent.name[1:]), path.parent.name
        if name in every:
            found.setdefault(name, {})[seed] = json.loads(path.read_text(encoding="utf-8"))
    return {name: found[name] for name in every if name in found}


def summary(
    cells: Mapping[str, Mapping[int, Mapping[str, Any]]], seeds: Sequence[int], every: Mapping[str, Variant]
) -> dict[str, Any]:
    """Per variant: cost, accuracy with its interval, seeds that lack, differences by seed.

    Those are to `dense-more` (`minus_dense`) and to the variant that it is held against (`less`, `less_95`).
    """
    rows = {}
    for name, by_seed in cells.items():
        row: dict[str, Any] = {"seeds": sorted(by_seed), "missing": sorted(set(seeds) - set(by_seed))}
        for key in ("macs", "params"):
            row[key] = statistics.fmean(figures[key] for figures in by_seed.values())
        for key in ("map50", "map50_95", "zero_map50", "zero_map50_95", "test_map50", "test_map50_95"):
            values = [figures[key] for figures in by_seed.values() if key in figures]
            if values:
                row[key], row[f"{key}_ci"] = interval(values)
        row["minus_dense"], row["minus_dense_ci"] = _difference(cells, name, "dense-more")
        row["against"] = every[name].against
        for key, kind in (("less", "map50"), ("less_95", "map50_95"), ("less_test_95", "test_map50_95")):
            row[key], row[f"{key}_ci"] = _difference(cells, name, row["against"], kind)
        rows[name] = row
    return rows


def _difference(
    cells: Mapping[str, Mapping[int, Mapping[str, Any]]], name: str, other: str, key: str = "map50"
) -> tuple[float | None, float | None]:
    """Mean difference by seed, with its interval: what a seed gives both goes out."""
    both = set(cells.get(name, {})) & set(cells.get(other, {}))
    common = sorted(seed for seed in both if key in cells[name][seed] and key in cells[other][seed])
    if not common:
        return None, None
    return interval([cells[name][seed][key] - cells[other][seed][key] for seed in common])


def verdicts(cells: Mapping[str, Mapping[int, Mapping[str, Any]]]) -> list[str]:
    """The questions that the comparison was made for, each with its figure, or with what is missing."""
    questions = (
        ("default", "dense-more", f"within {NEAR} of dense with the same epochs", lambda mean, _: mean >= -NEAR),
        ("default", "random-local", "above random by more than the interval", lambda mean, ci: mean > ci),
        ("default", "stock-tp", "above Torch-Pruning's stock pruner", lambda mean, _: mean > 0),
        ("lamp-local", "scratch", "above the same architecture from scratch", lambda mean, _: mean > 0),
        (
            "large-pruned",
            "dense-more",
            "the pruned larger network is at or above the small one",
            lambda mean, _: mean >= 0,
        ),
        (
            "large-pruned-time",
            "dense-more",
            "the larger network at the small one's measured time is above it by more than the interval",
            lambda mean, ci: mean > ci,
        ),
        (
            "default",
            "random-time",
            "above random channels at its own measured time by more than the interval",
            lambda mean, ci: mean > ci,
        ),
        (
            "quarter",
            "quarter-random",
            "at a quarter of the MACs above random by more than the interval",
            lambda mean, ci: mean > ci,
        ),
        (
            "quarter",
            "quarter-stock",
            "at a quarter of the MACs above Torch-Pruning's stock pruner",
            lambda mean, _: mean > 0,
        ),
    )
    lines = []
    key, measure = ("test_map50_95", " (test mAP50-95)") if _tested(cells) else ("map50", "")
    for name, other, text, holds in questions:
        mean, ci = _difference(cells, name, other, key)
        if mean is None:
            lines.append(f"not measured: {text} ({name}, {other})")
            continue
        held = holds(mean, ci if ci is not None else math.inf)
        word = "yes" if held else "open" if ci is None and mean > 0 else "NO"
        doubt = ", the interval holds 0" if ci is not None and abs(mean) <= ci else ""
        spread = f" ± {ci:.4f}{doubt}" if ci is not None else " (one seed)"
        lines.append(f"{word}: {text}: {name} - {other} = {mean:+.4f}{spread}{measure}")
    return lines


def _tested(cells: Mapping[str, Mapping[int, Mapping[str, Any]]]) -> bool:
    """True where the cells were measured on a test split."""
    return any("test_map50_95" in figures for by_seed in cells.values() for figures in by_seed.values())


def markdown(bench: Bench, rows: Mapping[str, Any], every: Mapping[str, Variant], said: Sequence[str]) -> str:
    """The report: what was run, the table, the verdicts."""
    sizes = bench.sizes
    digits = f"Scenes of digits, {sizes.train} to train on, {sizes.val} to validate"
    tested = any("test_map50_95" in row for row in rows.values())
    start = (
        f"from {Path(bench.target.small).name}"
        if bench.target and bench.target.small.endswith(".pt")
        else "from scratch"
    )
    partial = sorted(name for name in rows if rows[name]["missing"])
    unmade = sorted(set(every) - set(rows))
    lines = [
        f"# {bench.name}: half the MACs, every way",
        "",
        f"{digits if sizes.digits else bench.data.name}, {sizes.imgsz} px; {sizes.epochs} epochs {start}, "
        f"{sizes.extra} after pruning. Mean over seeds ± half the 95% interval (Student's t).",
        "",
        f"Command: `{bench.again}`",
        "",
        "| variant | seeds | MACs (M) | parameters | mAP50 untrained | mAP50 | mAP50-95 | mAP50 - dense-more "
        + ("| test mAP50 | test mAP50-95 " if tested else "")
        + "| held against | by mAP50 | by mAP50-95 "
        + ("| by test mAP50-95 " if tested else "")
        + "| what |",
        "|---" * (15 if tested else 12) + "|",
        *(_row(name, row, every[name].about, tested) for name, row in rows.items()),
        "",
        *(f"- {line}" for line in said),
    ]
    if partial:
        lines += ["", f"PARTIAL: not all seeds are made for {', '.join(partial)}."]
    if unmade:
        lines += ["", f"Not made: {', '.join(unmade)}."]
    return "\n".join(lines) + "\n"


def _row(name: str, row: Mapping[str, Any], about: str, tested: bool) -> str:
    cells = [
        name,
        str(len(row["seeds"])),
        f"{row['macs'] / 1e6:.1f}",
        f"{row['params']:,.0f}",
        *(_spread(row, key) for key in ("zero_map50", "map50", "map50_95")),
        _spread(row, "minus_dense", "+"),
        *(_spread(row, key) for key in ("test_map50", "test_map50_95") if tested),
        row["against"],
        _spread(row, "less", "+"),
        _spread(row, "less_95", "+"),
        *([_spread(row, "less_test_95", "+")] if tested else []),
        about,
    ]
    return "| " + " | ".join(cells) + " |"


def _spread(row: Mapping[str, Any], key: str, sign: str = "") -> str:
    if row.get(key) is None:
        return ""
    ci = row.get(f"{key}_ci")
    return f"{row[key]:{sign}.4f}" + (f" ± {ci:.4f}" if ci is not None else "")


def draw(rows: Mapping[str, Any], latency: Mapping[str, float], target: Path) -> None:
    """mAP50 against MACs, and, where it was measured, against time (both as fractions of the dense network's)."""
    from matplotlib.figure import Figure

    dense = rows.get("dense", next(iter(rows.values())))["macs"]
    panels = [("MACs / dense", {name: row["macs"] / dense for name, row in rows.items()})]
    if latency:
        panels.append(("measured time / dense (ONNX Runtime, CPU)", dict(latency)))
    columns = 1 + len(rows) // 25
    figure = Figure(figsize=(6.5 * len(panels) + 2.2 * columns, 6), layout="constrained")
    axes = figure.subplots(1, len(panels), sharey=True, squeeze=False)[0]
    for axis, (label, places) in zip(axes, panels, strict=True):
        _scatter(axis, places, rows, label)
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside right upper", fontsize=7, ncols=columns)
    figure.savefig(target, dpi=120)


def _scatter(axis: Any, places: Mapping[str, float], rows: Mapping[str, Any], label: str) -> None:
    """Markers; intervals and the Pareto front from three seeds on (fewer make no mean that could lead).

    The lowest tenth does not set the scale: what falls below it is named in the legend.
    """
    least = sorted(row["map50"] for row in rows.values())[len(rows) // 10] - 0.01
    for number, name in enumerate(rows):
        if name in places:
            row = rows[name]
            spread = row["map50_ci"] if len(row["seeds"]) > 2 else None
            label_of = name if row["map50"] >= least else f"{name}, below: {row['map50']:.3f}"
            style = {"fmt": "os^Dv"[number // 10 % 5], "color": f"C{number % 10}", "capsize": 2, "alpha": 0.8}
            axis.errorbar(places[name], row["map50"], yerr=spread, label=label_of, elinewidth=0.6, **style)
    settled = [name for name in places if len(rows[name]["seeds"]) > 2] or list(places)
    front = front_of({name: (places[name], rows[name]["map50"]) for name in settled})
    axis.step(*zip(*front, strict=True), where="post", color="black", lw=0.8, ls="--", label="Pareto front")
    ticks = [2.0**power for power in range(-4, 4) if min(places.values()) / 2 < 2.0**power < max(places.values()) * 2]
    axis.set(xlabel=label, ylabel="mAP50", ylim=(max(0, least), 1.0), xscale="log")
    axis.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    axis.minorticks_off()
    axis.grid(alpha=0.3)


def front_of(points: Mapping[str, tuple[float, float]]) -> list[tuple[float, float]]:
    """Those (cost, accuracy) that nothing cheaper reaches, by cost."""
    front: list[tuple[float, float]] = []
    for cost, accuracy in sorted(points.values(), key=lambda point: (point[0], -point[1])):
        if not front or accuracy > front[-1][1]:
            front.append((cost, accuracy))
    return front
