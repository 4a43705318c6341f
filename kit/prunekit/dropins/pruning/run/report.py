# SPDX-License-Identifier: AGPL-3.0-or-later
"""What a person reads after a run: results.csv, report.md and its pictures, all made from the record alone."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from ..failures import reason_of
from ..files import write_text
from ..planning.depth import blocks_line
from . import charts
from .page import write_page
from .record import State

TEXT = "report.md"
COLUMNS = (
    "step",
    "params",
    "macs",
    "pruned_map50",
    "pruned_map50_95",
    "map50",
    "map50_95",
    "seconds",
    "kept",
    "checkpoint",
)


def write_report(state: State, chart: str) -> None:
    """Write results.csv, report.md, the step chart (at `chart`) and the width chart.

    A `chart` with a folder in it is relative to the run; a bare file name lies in the current folder, where the
    published v11 script puts it.
    """
    write_text(state.folder / "results.csv", _table_csv(state))
    steps = state.folder / chart if "/" in chart else Path(chart)
    widths = state.folder / "plots" / "widths.png"
    pictures = [f"![{picture.stem}]({_link(picture, state.folder)})" for picture in _draw(state, steps, widths)]
    write_text(state.folder / TEXT, _markdown(state, pictures))
    if pictures:
        _write_page(state)


def rewrite_text(state: State) -> None:
    """Write report.md again after its record has changed, with the pictures that it has."""
    text = state.folder / TEXT
    old = text.read_text(encoding="utf-8").splitlines() if text.is_file() else []
    write_text(text, _markdown(state, [line for line in old if line.startswith("![")]))


def _write_page(state: State) -> None:
    """Write report.html; what a library cannot draw costs no run its result. A full disk does: the record needs it."""
    try:
        write_page(state)
    except OSError:
        raise
    except Exception as error:  # noqa: BLE001 - drawing and templating fail in their libraries' own ways
        print(f"warning: report.html is missing ({reason_of(error)})")


def _rows(state: State) -> Iterable[dict[str, Any]]:
    """One row for the dense network (step 0), one per step."""
    return [{"step": 0, "kept": True, **state.dense}, *state.steps]


def _table_csv(state: State) -> str:
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, COLUMNS, extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    writer.writerows(_rows(state))
    return buffer.getvalue()


def _markdown(state: State, pictures: list[str]) -> str:
    loose, strict = state.measures()
    lines = [
        f"# Pruning report: {Path(state.weights).name}",
        "",
        f"Status: {state.status}. Family: {state.family}. Image size: {state.image} px. Accuracy: validation set.",
        "",
        f"| step | params | MACs | MACs ratio | {loose} pruned | {loose} | {strict} | kept |",
        "|---|---|---|---|---|---|---|---|",
        *(_row(row, state.dense["macs"]) for row in _rows(state)),
        "",
        "MACs ratio is dense / pruned: arithmetic, not time. Step 0 is the dense network.",
        "",
        *_block_lines(state),
        *_gain_lines(state),
        *_repair_lines(state),
        *_latency_lines(state),
        *_final_lines(state),
        f"Settings: `{state.settings.as_flags()}`",
        "",
        *pictures,
    ]
    return "\n".join(lines) + "\n"


def _row(row: dict[str, Any], dense_macs: float) -> str:
    pruned = f"{row['pruned_map50']:.4f}" if "pruned_map50" in row else ""
    return (
        f"| {row['step']} | {row['params']:,} | {row['macs']:,.0f} | {dense_macs / row['macs']:.2f} | {pruned} "
        f"| {row['map50']:.4f} | {row['map50_95']:.4f} | {'yes' if row['kept'] else 'no'} |"
    )


def _block_lines(state: State) -> list[str]:
    """Which bottlenecks went before the first step, and what their repair did."""
    if not state.blocks:
        return []
    done = state.shallow_repair
    mended = f" Repaired: outputs {done['after']:.4f} from dense, {done['before']:.4f} before." if done else ""
    return [f"Before the first step, {blocks_line(state.entries())}.{mended}", ""]


def _gain_lines(state: State) -> list[str]:
    """What the loss terms weighed in each step's fine-tuning; a step that differs was trained for something else."""
    texts = [", ".join(f"{key} {value:.6g}" for key, value in step.get("gains", {}).items()) for step in state.steps]
    if not any(texts):
        return []
    if len(set(texts)) == 1:
        return [f"Loss weights in every step: {texts[0]}.", ""]
    return ["Loss weights: " + "; ".join(f"step {n}: {text}" for n, text in enumerate(texts, 1)) + ".", ""]


def _repair_lines(state: State) -> list[str]:
    """The last repair: how near the outputs came to the dense network's, and each layer's fit before and after."""
    done = next((step["repair"] for step in reversed(state.steps) if step.get("repair")), None)
    if not done:
        return []
    fits = {name: fit for name, fit in done["layers"].items() if "left" not in fit}
    return [
        f"Repair on {done['images']} images: {len(fits)} of {len(done['layers'])} layers solved, BatchNorm "
        f"{done['batchnorm']}. Squared difference from the network before pruning, relative to its variance; outputs "
        f"(held-out images): {done['before']:.4f} before, {done['after']:.4f} after.",
        "",
        "| layer | before | after |",
        "|---|---|---|",
        *(f"| {name} | {fit['before']:.4f} | {fit['after']:.4f} |" for name, fit in fits.items()),
        "",
    ]


def _latency_lines(state: State) -> list[str]:
    """What --target-latency reached, before fine-tuning (which changes no width)."""
    found = state.latency
    if not found:
        return []
    form = " as INT8" if found.get("int8") else ""
    return [
        f"Latency: {found['share']:.3f} of the dense time ({found['low']:.3f} to {found['high']:.3f}), target "
        f"{found['target']}: measured in {found['runtime']}{form}, {found['image']} px, {found['threads']} threads. "
        f"That came to {found['macs']:.1%} of the MACs in multiples of {found['round_to']} channels.",
        "",
    ]


def _final_lines(state: State) -> list[str]:
    if not state.final:
        return ["No pruned network: no step stayed within the accuracy limit.", ""]
    error = state.final.get("onnx_max_error")
    checked = "not checked" if error is None else f"differs from torch by {error:.1e} of the largest output"
    onnx = f", `{state.final['onnx']}` ({checked})" if "onnx" in state.final else ""
    if "onnx_failed" in state.final:
        onnx = f". ONNX export failed: {state.final['onnx_failed']}"
    return [f"Files: `{state.final['checkpoint']}`, `{state.final['yaml']}`{onnx}.", "", *_int8_lines(state)]


def _int8_lines(state: State) -> list[str]:
    """The INT8 file that quantify.py made of the pruned network."""
    made, (loose, strict) = state.final.get("int8"), state.measures()
    if not made:
        return []
    limit = "" if made["status"] == "done" else " MORE THAN ALLOWED"
    where = " in OpenVINO" if made.get("runtime") == "openvino" else ""
    return [
        f"INT8 ({made['method']}): `{made['file']}`, {made['size_ratio']:.3f} of the float file; {loose} "
        f"{made['map50']:.4f}, {strict} {made['map50_95']:.4f} (lost {made['drop']:.4f}{limit}); "
        f"{made['speed']:.2f} times as fast{where} as the float ONNX, measured.",
        "",
    ]


def _link(picture: Path, folder: Path) -> str:
    resolved = picture.resolve()
    inside = resolved.is_relative_to(folder.resolve())
    return str(resolved.relative_to(folder.resolve())) if inside else str(resolved)


def _draw(state: State, steps: Path, widths: Path) -> list[Path]:
    """Draw both pictures; without matplotlib say so and go on."""
    rows, last = list(_rows(state)), state.last_kept()
    title = f"{Path(state.weights).name}: accuracy and MACs per step"
    try:
        charts.save(charts.figure_of((8, 5), charts.steps(rows, state.measures()[1], title)), steps)
    except ImportError:
        print("warning: matplotlib is not installed, so the report has no pictures (pip install matplotlib)")
        return []
    if last is None:
        return [steps]
    both = (state.dense["widths"], last["widths"])
    charts.save(charts.figure_of(charts.widths_size(*both), charts.widths(*both)), widths)
    return [steps, widths]
