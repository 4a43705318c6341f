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

from ..checkpoint.reading import door
from ..errors import PruneError
from ..family.contract import Family
from ..planning.plan import make_plan
from ..planning.scores import score_groups
from ..planning.slimming import CRITERION
from ..run.step import open_model
from ..settings import Settings
from ..training.bn_sparsity import BnReport, bn_layers, bn_report
from .options import Parser

DEFAULTS: Mapping[str, Any] = {"sparsity": 1e-2, "sparsity_beta": 1e-2, "optimizer": "SGD"}
ABOUT = """\
Prints one row per layer (mean |gamma| and |beta|, the threshold that keeps this fraction of the layer's own channels,
and how many of its channels a global threshold would keep), what prune_one_shot.py --importance bn_scale --scope global
--keep 0.5 keeps with that threshold (coupled layers, floor and rounding keep more), draws a histogram, and ends with a
verdict: prune, or train longer."""
SMALL = 1e-2  # |gamma| under which a channel counts as driven to zero in the histogram


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


def done_line(last: Path) -> str:
    """What to type when sparsity training has ended, and with which of its two checkpoints."""
    return (
        "Sparsity training is done. Go on with last.pt: best.pt is the most accurate epoch, and so the least sparse.\n"
        f"Are the scales small enough?  python inspect_bn.py --weights {last}"
    )


def inspect(
    description: str, argv: list[str], find_weights: Callable[[str], Path], family: Callable[[bool], Family]
) -> BnReport:
    """inspect_bn.py: table, histogram, thresholds, what pruning with them keeps, and a verdict for one checkpoint.

    Args:
        description: the script's.
        argv: the command line.
        find_weights: the file behind --weights.
        family: an adapter by --trust, at a small image size: only couplings are looked for.
    """
    parser = Parser(description=f"{description}\n{ABOUT}", allow_abbrev=True)
    add = parser.add_argument
    add("--weights", "--model", dest="weights", required=True, help="checkpoint to look at")
    add("--keep", type=float, default=0.5, help="fraction of channels that would stay (default 0.5)")
    add("--png", type=Path, help="where the histogram goes (default: bn.png beside the checkpoint)")
    add("--round-to", type=int, default=16, metavar="N", help="as for prune_one_shot.py (default 16)")
    add("--min-channels", type=int, default=8, metavar="N", help="as for prune_one_shot.py (default 8)")
    add("--json", action="store_true", help="print the figures as JSON instead of a table")
    add("--trust", action="store_true", help="load a checkpoint that runs code of its own when loaded")
    options = parser.parse_args(argv)
    with door(trust=options.trust):
        return _inspected(options, find_weights(options.weights), family(options.trust))


def _inspected(options: argparse.Namespace, weights: Path, family: Family) -> BnReport:
    family.check(weights)
    model = family.load(weights)
    report = bn_report(model, options.keep)
    pruning = _pruned(family, weights, options)
    pruning["notes"] += last_instead(weights, report.verdict)
    png = options.png or weights.parent / "bn.png"
    try:
        draw(model, report, png)
    except OSError as error:
        reason = error.strerror or error
        raise PruneError(f"--png {png}: cannot write it ({reason}). Name a file in another folder.") from error
    if options.json:
        print(json.dumps({**asdict(report), "png": str(png), "pruning": pruning}, indent=2))
    else:
        print(table(report), *pruning["notes"], f"Histogram: {png}", sep="\n")
        if report.verdict == "prune" and pruning["kept"]:
            more = [f" {flag} {value}" for flag, value, usual in pruning["limits"] if value != usual]
            print(
                f"Prune with it: python prune_one_shot.py --weights {weights} --importance {CRITERION} "
                f"--scope global --keep {options.keep:g}{''.join(more)}"
            )
    return report


def last_instead(weights: Path, verdict: str) -> list[str]:
    """What to look at in the place of a best.pt that is not sparse enough: the run's last.pt, if it is there."""
    last = weights.with_name("last.pt")
    if verdict == "prune" or weights.name != "best.pt" or not last.is_file():
        return []
    return [
        "best.pt is the most accurate epoch, and so the least sparse. Of a sparsity training look at last.pt: "
        f"python inspect_bn.py --weights {last}"
    ]


def _pruned(family: Family, weights: Path, options: argparse.Namespace) -> dict[str, Any]:
    """What prune_one_shot.py would make of this threshold: channels kept of those that can be pruned, and notes."""
    limits = [("--round-to", options.round_to, 16), ("--min-channels", options.min_channels, 8)]
    found: dict[str, Any] = {"kept": None, "of": None, "limits": limits}
    try:
        asked = Settings(round_to=options.round_to, min_channels=options.min_channels).checked()
        _, graph = open_model(family, weights, asked)
        plan = make_plan(
            graph,
            score_groups(graph, CRITERION),
            scope="global",
            ratio=round(1 - options.keep, 9),
            round_to=asked.round_to,
            floor=asked.min_channels,
            criterion=CRITERION,
        )
    except PruneError as error:
        return {**found, "notes": [f"pruning with it is not possible: {error}"]}
    of = sum(entry.channels for entry in plan.entries)
    kept = f"pruning with it keeps {of - plan.removed} of {of} channels in {len(plan.entries)} groups"
    return {**found, "kept": of - plan.removed, "of": of, "notes": [kept, *plan.notes]}


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
        small = float((values < SMALL).float().mean())
        title = f"mean {float(values.mean()):.4g}, under {SMALL:g}: {small:.1%}"
        axes.set(xlabel=f"|{letter}|", ylabel="channels", title=title)
        if key == "weight":
            axes.axvline(report.threshold, color="tab:red", label=f"keep {report.keep:g}: {report.threshold:.4g}")
            axes.legend()
    target.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(target, dpi=120, format="png")
