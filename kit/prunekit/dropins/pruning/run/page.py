# SPDX-License-Identifier: AGPL-3.0-or-later
"""report.html: a run as one page that needs no other file and no network. Made from the record and the run's folder."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import PruneError
from ..files import write_text
from ..planning.depth import blocks_line
from ..planning.plan_file import read_plan
from . import charts
from .record import State

PAGE = "report.html"
EXAMPLES = "plots/examples.png"
_TEMPLATE = Path(__file__).with_name("page.html")


@dataclass(frozen=True)
class Chart:
    """A chart of the page; `svg` is markup."""

    title: str
    svg: Any
    caption: str


def write_page(state: State) -> Path:
    """Write report.html of a run, whole.

    Raises:
        ImportError: jinja2 (which torch brings) or matplotlib is not installed.
    """
    from jinja2 import Environment

    template = Environment(autoescape=True, trim_blocks=True).from_string(_TEMPLATE.read_text(encoding="utf-8"))
    last, picture = state.last_kept(), state.folder / EXAMPLES
    text = template.render(
        title=f"Pruning report: {Path(state.weights).name}",
        verdict=_verdict(state),
        table=_table(state),
        notes=_notes(state),
        charts=list(_charts(state)),
        examples=base64.b64encode(picture.read_bytes()).decode() if last and picture.is_file() else "",
        frozen=_frozen(state),
        no_frozen="Nothing: every layer could be pruned."
        if last
        else "No network was kept, so there is no plan of it.",
        settings=state.settings.as_flags(),
    )
    path = state.folder / PAGE
    write_text(path, text)
    return path


def _verdict(state: State) -> str:
    """One sentence: how much smaller, how much faster, what it cost."""
    last, dense = state.last_kept(), state.dense
    if last is None:
        return f"No step stayed within --max-map-drop {state.settings.max_map_drop}: there is no pruned network."
    strict = state.measures()[1]
    faster = ""
    if speed := state.timing.get("steps", {}).get(str(last["step"])):
        faster = f", {speed['ratio']:.2f} times as fast ({state.timing['runtime']} on the CPU, measured)"
    return (
        f"{last['macs'] / dense['macs']:.0%} of the MACs and {last['params'] / dense['params']:.0%} of the parameters"
        f"{faster}; {strict} {dense['map50_95']:.3f} before, {last['map50_95']:.3f} after."
    )


def _table(state: State) -> list[tuple[str, ...]]:
    """What changed, from the dense network to the last step that was kept."""
    last, dense, (loose, strict) = state.last_kept(), state.dense, state.measures()
    if last is None:
        return [(strict, f"{dense['map50_95']:.4f}", "", "")]
    rows = [
        ("parameters", f"{dense['params']:,}", f"{last['params']:,}", f"{last['params'] / dense['params'] - 1:+.1%}"),
        ("MACs", f"{dense['macs']:,.0f}", f"{last['macs']:,.0f}", f"{last['macs'] / dense['macs'] - 1:+.1%}"),
    ]
    for name, key in ((loose, "map50"), (strict, "map50_95")):
        rows.append((name, f"{dense[key]:.4f}", f"{last[key]:.4f}", f"{last[key] - dense[key]:+.4f}"))
        if (before := last.get(f"pruned_{key}")) is not None:  # a record needs it as little as report.md does
            rows.append((f"{name}, not fine-tuned", "", f"{before:.4f}", f"{before - dense[key]:+.4f}"))
    times = state.timing.get("steps", {})
    if (speed := times.get(str(last["step"]))) and (own := times.get("0")):
        own_ms, ms = (f"{row['seconds'] * 1e3:.3g} ms" for row in (own, speed))
        rows.append(("time per image", own_ms, ms, f"{1 / speed['ratio'] - 1:+.1%}"))
    return [tuple(row) for row in rows]


def _notes(state: State) -> Iterator[str]:
    """What the figures refer to."""
    yield (
        f"Accuracy: validation set, {state.image} px. MACs: multiply-accumulates of one image: arithmetic, not time. "
        f"Status: {state.status}."
    )
    if state.blocks:
        yield f"Before the first step, {blocks_line(state.entries())}."
    if state.timing:
        yield (
            f"Time: {state.timing['runtime']}, CPU, {state.timing['threads']} threads, one image of "
            f"{state.timing['image']} px, all networks in turns in one process. Another machine has other ratios."
        )


def _charts(state: State) -> Iterator[Chart]:
    """Accuracy against MACs and against time, then the widths."""
    from markupsafe import Markup

    rows = [{"step": 0, "kept": True, **state.dense}, *state.steps]
    if not state.steps:
        return
    strict, size = state.measures()[1], (5.5, 3.7)
    exact = [(row["macs"] / state.dense["macs"],) * 3 for row in rows]
    draw = charts.against(rows, exact, strict, "MACs, as a share of the dense network's")
    caption = "Each point is a network: the dense one, and each step's. Further left is smaller."
    yield Chart("Accuracy against MACs", Markup(charts.svg(charts.figure_of(size, draw))), caption)
    timed = [row for row in rows if str(row["step"]) in state.timing.get("steps", {})]
    if len(timed) > 1:
        speeds = [state.timing["steps"][str(row["step"])] for row in timed]
        shares = [(1 / speed["ratio"], 1 / speed["high"], 1 / speed["low"]) for speed in speeds]
        draw = charts.against(timed, shares, strict, "measured time, as a share of the dense network's")
        caption = "Measured on this machine; bars are 95% intervals of the median. Further left is faster."
        yield Chart("Accuracy against measured time", Markup(charts.svg(charts.figure_of(size, draw))), caption)
    if last := state.last_kept():
        both = (state.dense["widths"], last["widths"])
        figure = charts.figure_of(charts.widths_size(*both), charts.widths(*both))
        caption = "Output channels of every convolution, in network order."
        yield Chart("Width of each layer", Markup(charts.svg(figure)), caption)


def _frozen(state: State) -> list[tuple[str, str]]:
    """(layer, reason) of what the last kept step left as it was."""
    last = state.last_kept()
    if last is None or not last.get("plan"):
        return []
    try:
        plan = read_plan(state.path(last["plan"]))
    except (PruneError, OSError):  # the plan file was edited or moved since: the page does without
        return []
    short = [(note, "see --min-channels and --round-to") for note in plan.notes if "kept dense" in note]
    return [*plan.frozen.items(), *short]
