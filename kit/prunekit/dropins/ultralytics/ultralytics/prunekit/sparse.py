# SPDX-License-Identifier: AGPL-3.0-or-later
"""The command lines of train_sparse.py and inspect_bn.py."""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from ultralytics import YOLO
from ultralytics.cfg import TASK2DATA
from ultralytics.data.utils import check_cls_dataset, check_det_dataset
from ultralytics.pruning.bn import BnReport, bn_layers, bn_report
from ultralytics.pruning.errors import PruneError

from .adapter import Ultralytics, find_weights
from .arguments import help_text, split_arguments

DEFAULTS: Mapping[str, Any] = {"sparsity": 1e-2, "sparsity_beta": 1e-2, "optimizer": "SGD"}
SILENT = 1e-2  # |gamma| under which a channel is shown as silent


def train(description: str, argv: list[str]) -> Path:
    """train_sparse.py: upstream's training with the BN-L1 penalty on; returns the best checkpoint.

    Raises:
        PruneError: what the user can mend, before training starts.
    """
    if "-h" in argv or "--help" in argv:
        print(description, help_text(), sep="\n")
        raise SystemExit(0)
    overrides = split_arguments(argv)
    check_values(overrides)
    model = _resumed(overrides) if overrides.get("resume") else _fresh(overrides)
    model.train(**overrides)
    best = Path(model.trainer.best if model.trainer.best.exists() else model.trainer.last)
    print(f"Sparsity training is done. Are the scales small enough?  python inspect_bn.py --weights {best}")
    return best


def _fresh(overrides: dict[str, Any]) -> YOLO:
    """A new run: fill in the defaults, say them, and check network and data."""
    given = overrides.pop("model", None)
    if not given:
        raise PruneError("no network given: --weights best.pt (or --model yolov8n.yaml to start from scratch)")
    said = [f"{key} {overrides[key]}" if key in overrides else f"{key} {DEFAULTS[key]} (default)" for key in DEFAULTS]
    for key, value in DEFAULTS.items():
        overrides.setdefault(key, value)
    if not (overrides["sparsity"] or overrides["sparsity_beta"]):
        raise PruneError("sparsity and sparsity_beta are both 0: that is plain training, use: yolo train ...")
    model = _open(str(given))
    overrides.setdefault("data", TASK2DATA[model.task])
    _check_data(overrides["data"], model.task)
    print(f"Sparsity training: {', '.join(said)}; data {overrides['data']}")
    return model


def _resumed(overrides: dict[str, Any]) -> YOLO:
    """A broken run: everything but the place comes from its checkpoint, the penalty too."""
    named = isinstance(overrides["resume"], str)
    place, flag = (overrides["resume"], "--resume") if named else (overrides.get("model"), "--weights")
    if not place:
        raise PruneError("which run? --resume runs/detect/train/weights/last.pt")
    if not Path(place).is_file():
        raise PruneError(f"{flag} {place}: no such file. Give the run's checkpoint: runs/detect/train/weights/last.pt")
    model = _open(str(place))
    if model.ckpt.get("optimizer") is None or model.ckpt.get("epoch", -1) < 0:
        raise PruneError(f"{place}: this run is finished, or its training state is gone: there is nothing to resume")
    remembered = model.ckpt["train_args"]
    if not (remembered.get("sparsity") or remembered.get("sparsity_beta")):
        raise PruneError(f"{place} was trained without a penalty: yolo train resume=True model={place}")
    overrides.pop("model", None)
    overrides["resume"] = True
    print(f"Sparsity training goes on: sparsity {remembered['sparsity']}, sparsity_beta {remembered['sparsity_beta']}")
    return model


def _open(name: str) -> YOLO:
    """The network to train: a checkpoint, or upstream's YAML for a start from scratch."""
    try:
        if name.endswith((".yaml", ".yml")):
            return YOLO(name)
        return YOLO(find_weights(name))
    except PruneError:
        raise
    except Exception as error:
        raise PruneError(f"{name}: upstream cannot open it ({str(error).splitlines()[0][:200]})") from error


def _check_data(data: str, task: str) -> None:
    try:
        check_cls_dataset(data) if task == "classify" else check_det_dataset(data)
    except (Exception, SystemExit) as error:
        first = next(iter(str(error).strip().splitlines()), type(error).__name__)
        raise PruneError(f"--data {data}: {first} Give an existing data set with --data.") from error


def check_values(overrides: dict[str, Any]) -> None:
    """Refuse what would end in a traceback once training has begun."""
    for key in ("sparsity", "sparsity_beta"):
        value = overrides.get(key, 0)
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value <= 1:
            raise PruneError(f"--{key.replace('_', '-')} {value}: must be a number between 0 and 1.")
    family = Ultralytics(overrides)
    family.check_values()
    family.check_device()


def inspect(description: str, argv: list[str]) -> BnReport:
    """inspect_bn.py: table, histogram, thresholds and verdict for one checkpoint."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--weights", "--model", dest="weights", required=True, help="checkpoint to look at")
    add("--keep", type=float, default=0.5, help="fraction of channels that would stay (default 0.5)")
    add("--png", type=Path, help="where the histogram goes (default: bn.png beside the checkpoint)")
    add("--json", action="store_true", help="print the figures as JSON instead of a table")
    add("--trust", action="store_true", help="load a checkpoint that runs code of its own when loaded")
    options = parser.parse_args(argv)
    weights, family = find_weights(options.weights), Ultralytics({}, trust=options.trust)
    family.check(weights)
    model = family.load(weights)
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


def draw(model: torch.nn.Module, report: BnReport, target: Path) -> None:
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
