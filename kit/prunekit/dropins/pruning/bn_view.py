# SPDX-License-Identifier: AGPL-3.0-or-later
"""What sparsity training needs on a command line, whatever the upstream: its defaults, its checks, inspect_bn.py."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import nn

from .bn import BnReport, bn_layers, bn_report
from .errors import PruneError

DEFAULTS: Mapping[str, Any] = {"sparsity": 1e-2, "sparsity_beta": 1e-2, "optimizer": "SGD"}
SILENT = 1e-2  # |gamma| under which a channel is shown as silent


def check_strengths(given: Mapping[str, Any]) -> None:
    """Refuse a penalty outside 0 to 1 (an absent one is fine).

    Raises:
        PruneError: naming the flag.
    """
    for key in ("sparsity", "sparsity_beta"):
        value = given.get(key, 0)
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value <= 1:
            raise PruneError(f"--{key.replace('_', '-')} {value}: must be a number between 0 and 1.")


def with_defaults(given: Mapping[str, Any], plain: str) -> tuple[dict[str, Any], str]:
    """Fill in the penalty and the optimizer of sparsity training, and say which were not given.

    Args:
        given: what the user typed, by destination.
        plain: the command that trains without a penalty.

    Returns:
        The three values, and a line for the console.

    Raises:
        PruneError: both strengths are 0.
    """
    values = {key: given.get(key, default) for key, default in DEFAULTS.items()}
    if not (values["sparsity"] or values["sparsity_beta"]):
        raise PruneError(f"sparsity and sparsity_beta are both 0: that is plain training, use: {plain}")
    said = [f"{key} {value}{'' if key in given else ' (default)'}" for key, value in values.items()]
    return values, f"Sparsity training: {', '.join(said)}"


def done_line(best: Path) -> str:
    """What to type when sparsity training has ended."""
    return f"Sparsity training is done. Are the scales small enough?  python inspect_bn.py --weights {best}"


def inspect(
    description: str, argv: list[str], open_network: Callable[[str, bool], tuple[Path, nn.Module]]
) -> BnReport:
    """inspect_bn.py: table, histogram, thresholds and verdict for one checkpoint.

    Args:
        description: the script's.
        argv: the command line.
        open_network: (--weights, --trust) to the checkpoint's path and its checked, loaded network.
    """
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--weights", "--model", dest="weights", required=True, help="checkpoint to look at")
    add("--keep", type=float, default=0.5, help="fraction of channels that would stay (default 0.5)")
    add("--png", type=Path, help="where the histogram goes (default: bn.png beside the checkpoint)")
    add("--json", action="store_true", help="print the figures as JSON instead of a table")
    add("--trust", action="store_true", help="load a checkpoint that runs code of its own when loaded")
    options = parser.parse_args(argv)
    weights, model = open_network(options.weights, options.trust)
    report = bn_report(model, options.keep)
    png = options.png or weights.parent / "bn.png"
    try:
        draw(model, report, png)
    except OSError as error:
        reason = error.strerror or error
        raise PruneError(f"--png {png}: cannot write it ({reason}). Name a file in another folder.") from error
    print(json.dumps({**asdict(report), "png": str(png)}, indent=2) if options.json else table(report))
    if not options.json:
        print(f"Histogram: {png}")
    return report


def table(report: BnReport) -> str:
    """The report as plain text, one row a norm."""
    wide = max(len(layer.name) for layer in report.layers)
    rows = [f"{'layer':<{wide}}    ch  |g| mean      min      max  |b| mean  own thr.  kept"]
    for x in report.layers:
        numbers = f"{x.gamma_mean:9.4f} {x.gamma_min:8.4f} {x.gamma_max:8.4f} {x.beta_mean:9.4f} {x.threshold:9.4f}"
        rows.append(f"{x.name:<{wide}} {x.channels:5d} {numbers} {x.kept:5d}{'  empty' if not x.kept else ''}")
    empty = sum(not layer.kept for layer in report.layers)
    rows += [
        f"{report.channels} channels; keeping {report.keep:g} of them: global threshold |gamma| {report.threshold:.4g}",
        f"{empty} layers would lose every channel under it" if empty else "no layer would lose every channel under it",
        f"verdict: {report.verdict}: {report.reason}",
    ]
    return "\n".join(rows)


def draw(model: nn.Module, report: BnReport, target: Path) -> None:
    """Histograms of |gamma| and |beta| over all channels, with the global threshold, as PNG."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 4), layout="constrained")
    FigureCanvasAgg(figure)
    for axes, key, letter in zip(figure.subplots(1, 2), ("weight", "bias"), "γβ", strict=True):
        values = torch.cat([getattr(m, key).detach().float().abs().cpu() for m in bn_layers(model).values()])
        axes.hist(values.numpy(), bins=100)
        silent = float((values < SILENT).float().mean())
        title = f"mean {float(values.mean()):.4g}, under {SILENT:g}: {silent:.1%}"
        axes.set(xlabel=f"|{letter}|", ylabel="channels", title=title)
        if key == "weight":
            axes.axvline(report.threshold, color="tab:red", label=f"keep {report.keep:g}: {report.threshold:.4g}")
            axes.legend()
    target.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(target, dpi=120, format="png")
