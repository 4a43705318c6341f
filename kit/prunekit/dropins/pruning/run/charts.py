# SPDX-License-Identifier: AGPL-3.0-or-later
"""The pictures of a report, drawn with matplotlib: accuracy over steps, MACs and time, and the width of each layer."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from ..files import write_whole

Axis = Any
COLORS = {"dense": "lightgray", "pruned": "tab:blue", "before": "tab:purple", "macs": "tab:orange"}


def figure_of(size: tuple[float, float], draw: Callable[[Axis], None]) -> Any:
    """A figure with one axis. No pyplot: it would touch the trainer's backend.

    Raises:
        ImportError: matplotlib is not installed.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=size, layout="constrained")
    draw(figure.subplots())
    return figure


def save(figure: Any, path: Path) -> None:
    """Write a figure as a file, whole."""
    write_whole(path, lambda scratch: figure.savefig(scratch, dpi=120))


def svg(figure: Any) -> str:
    """A figure as an `<svg>` element whose words are text: they can be searched, read aloud and enlarged."""
    from matplotlib import rc_context

    buffer = io.StringIO()
    with rc_context({"svg.fonttype": "none", "svg.hashsalt": "prunekit"}):
        figure.savefig(buffer, format="svg", metadata={"Date": None})
    text = buffer.getvalue()
    return text[text.index("<svg") :]


def steps(rows: Sequence[dict[str, Any]], strict: str, title: str) -> Callable[[Axis], None]:
    """Accuracy when pruned, accuracy after fine-tuning, and MACs per step. `rows`: dense (step 0), then each step."""

    def draw(axis: Axis) -> None:
        number = [row["step"] for row in rows]
        axis.plot(number, [row["map50_95"] for row in rows], "o-", color="tab:blue", label=f"fine-tuned {strict}")
        pruned = [row.get("pruned_map50_95", row["map50_95"]) for row in rows]
        axis.plot(number, pruned, "s--", color=COLORS["before"], label=f"pruned {strict}")
        axis.set(xlabel="pruning step (0 = dense)", xticks=number)
        axis.set_ylabel(f"{strict}, lines", color="tab:blue")
        axis.set_ylim(0, _top(rows))
        right = axis.twinx()
        macs = [row["macs"] / 1e9 for row in rows]
        right.bar(number, macs, width=0.4, color=COLORS["macs"], alpha=0.3, label="MACs (bars, right)")
        right.set_ylabel("MACs (G), bars", color=COLORS["macs"])
        right.tick_params(axis="y", labelcolor=COLORS["macs"])
        axis.tick_params(axis="y", labelcolor="tab:blue")
        axis.set_zorder(right.get_zorder() + 1)
        axis.patch.set_visible(False)
        (lines, names), (bars, more) = axis.get_legend_handles_labels(), right.get_legend_handles_labels()
        axis.legend([*lines, *bars], [*names, *more], loc="lower left")
        axis.set_title(title)

    return draw


def against(
    rows: Sequence[dict[str, Any]], shares: Sequence[tuple[float, float, float]], strict: str, label: str
) -> Callable[[Axis], None]:
    """Accuracy over a share of the dense network's cost. `shares`: (value, low, high) of each row; dense is 1."""

    def draw(axis: Axis) -> None:
        places = [share for share, _, _ in shares]
        spread = [[max(0.0, s - low) for s, low, _ in shares], [max(0.0, high - s) for s, _, high in shares]]
        after = [row["map50_95"] for row in rows]
        axis.errorbar(places, after, xerr=spread, fmt="o-", color="tab:blue", capsize=3, label=f"fine-tuned {strict}")
        known = [(place, row) for place, row in zip(places, rows, strict=True) if "pruned_map50_95" in row]
        before = [row["pruned_map50_95"] for _, row in known]
        axis.plot(
            [place for place, _ in known], before, "s", color=COLORS["before"], label=f"before fine-tuning {strict}"
        )
        for place, row in zip(places, rows, strict=True):
            name = f"step {row['step']}" if row["step"] else "dense"
            axis.annotate(name, (place, row["map50_95"]), textcoords="offset points", xytext=(4, 6), fontsize=9)
        axis.set(xlabel=label, ylabel=strict, xlim=(0, 1.12 * max(1.0, *places)), ylim=(0, _top(rows)))
        axis.grid(alpha=0.3)
        axis.legend(loc="lower right")

    return draw


def widths(dense: dict[str, int], pruned: dict[str, int]) -> Callable[[Axis], None]:
    """Output channels of each layer by name, from the top down, pruned in front of dense."""
    names = [name for name in dense if name in pruned]

    def draw(axis: Axis) -> None:
        place = range(len(names))
        axis.barh(place, [dense[name] for name in names], color=COLORS["dense"], label="dense")
        axis.barh(place, [pruned[name] for name in names], color=COLORS["pruned"], height=0.6, label="pruned")
        axis.set_yticks(place, names, fontsize=9)
        axis.set(xlabel="output channels", ylim=(len(names) - 0.4, -0.6))
        axis.legend(loc="lower right")

    return draw


def widths_size(dense: dict[str, int], pruned: dict[str, int]) -> tuple[float, float]:
    """Inches for `widths`: a line for each layer."""
    return 5.5, 1.2 + 0.18 * sum(name in pruned for name in dense)


def _top(rows: Sequence[dict[str, Any]]) -> float:
    return 1.1 * max(*(row["map50_95"] for row in rows), 0.01)
