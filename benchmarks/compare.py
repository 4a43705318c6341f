# SPDX-License-Identifier: AGPL-3.0-or-later
"""What is left of a network's accuracy at half its MACs, by every way there is to prune it, and by the controls.

    prunekit setup v8 forks/v8
    python benchmarks/compare.py v8 forks/v8 --tier full --seeds 0 1 2 --out compared/v8

Trains on scenes of handwritten digits (as `prunekit demo` does), or with upstream's settings on `--data` of your own:

    python benchmarks/compare.py v8 forks/v8 --data bccd.yaml --weights yolov8n.pt --imgsz 240 --batch 16 --epochs 20 \
        --extra 20 --set optimizer=AdamW lr0=0.001 nbs=16 --only default random-local stock-tp --out compared/bccd

`--weights` is what the dense network starts from, `--large-weights` the next larger one. Where the data set names a
`test` split, every cell is measured on it, too: choose by `val`, report `test`.
Equal MACs, equal epochs after pruning, the same data.
Interrupt it at any time: the same command goes on with the next cell. `--only default random-local` makes some of the
variants and what they start from; the report always shows what there is, and says what is missing. With `--also
results/compare-bccd.json` it shows the cells of an earlier comparison, too, which was made with the same settings.
"""

from __future__ import annotations

import argparse
import json
import shlex
import sys
from collections.abc import Iterable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import yaml
from comparing.cells import Bench, timed
from comparing.sweep import by_ray, one_by_one
from comparing.tables import draw, gathered, markdown, summary, verdicts
from comparing.targets import TARGETS, Sizes
from comparing.variants import ordered, variants
from prunekit.demo.digits import build

SIZES = {
    "imgsz": "pixels per side",
    "batch": "images a batch",
    "epochs": "epochs from scratch",
    "extra": "epochs after pruning",
}
DATA_SEED = 0  # one data set for all; a seed is that of a training


def main() -> int:
    """Parse, make what is missing, report."""
    options = parse()
    bench = prepare(options)
    every = variants()
    chosen = [every[name] for name in ordered(options.only or list(every), every)]
    failed = 0
    if options.workers > 1 and not options.report_only:
        failed = by_ray(bench, options.seeds, chosen, options.workers, options.cpus)
    elif not options.report_only:
        failed = one_by_one(bench, options.seeds, chosen)
    report(bench, options)
    return 1 if failed else 0


def report(bench: Bench, options: argparse.Namespace) -> None:
    """Write report.md, report.json and pareto.png from the cells that there are."""
    every = variants()
    cells = gathered(bench, every, options.also)
    if not cells:
        return
    rows, said = summary(cells, options.seeds, every), verdicts(cells)
    latency, machine = {}, None
    if options.latency_imgsz and "dense" in cells:
        seed = min(cells["dense"])
        measured = timed(bench, seed, [name for name in cells if seed in cells[name]], options.latency_imgsz)
        machine = {key: measured[key] for key in ("machine", "image", "threads")}
        speeds = measured["speeds"]["onnxruntime"]
        for name in (name for name in rows if name in speeds):
            rows[name]["speed"], latency[name] = speeds[name], 1 / speeds[name]["ratio"]
    text = markdown(bench, rows, every, said)
    (bench.folder / "report.md").write_text(text, encoding="utf-8")
    whole = {
        "target": bench.name,
        "sizes": asdict(bench.sizes),
        "command": bench.again,
        "timed": machine,
        "variants": rows,
        "verdicts": said,
        "cells": cells,
    }
    (bench.folder / "report.json").write_text(json.dumps(whole, indent=1) + "\n", encoding="utf-8")
    draw(rows, latency, bench.folder / "pareto.png")
    print(text)


def parse() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("target", choices=TARGETS)
    parser.add_argument("fork", type=Path, help="a fork that `prunekit setup TARGET` made")
    parser.add_argument("--out", type=Path, help="folder of cells and report (default compared/TARGET)")
    parser.add_argument("--tier", choices=("quick", "full"), default="full", help="quick shows that it works, no more")
    parser.add_argument("--data", type=Path, metavar="YAML", help="a detection data set instead of the digits")
    for name, text in SIZES.items():
        parser.add_argument(f"--{name}", type=int, help=f"{text} (default: the tier's)")
    parser.add_argument("--weights", type=Path, metavar="FILE", help="checkpoint that the small network starts from")
    parser.add_argument("--large-weights", type=Path, metavar="FILE", help="checkpoint that the larger one starts from")
    parser.add_argument(
        "--set", nargs="+", default=[], metavar="KEY=VALUE", help="upstream's train settings, for --data"
    )
    parser.add_argument("--device", default="cpu", help="where upstream trains and validates (default cpu)")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--only", nargs="+", metavar="VARIANT", choices=[*variants()], help="these variants")
    parser.add_argument("--workers", type=int, default=1, help="cells at a time, by Ray Tune if more than one")
    parser.add_argument("--cpus", type=float, default=1.0, help="cores that Ray keeps for each cell")
    parser.add_argument(
        "--latency-imgsz",
        type=int,
        default=320,
        metavar="PX",
        help="time the networks in ONNX Runtime at this size for the report (default 320; 0: do not)",
    )
    parser.add_argument(
        "--also", type=Path, nargs="+", default=[], metavar="JSON", help="report.json of the same comparison elsewhere"
    )
    parser.add_argument("--report-only", action="store_true", help="make nothing, report what there is")
    return parser.parse_args()


def prepare(options: argparse.Namespace) -> Bench:
    """The folder, claimed for one target and tier, and the data.

    Raises:
        SystemExit: the folder belongs to another comparison, or there is no such data set.
    """
    if options.data and not options.data.is_file():
        raise SystemExit(f"--data {options.data}: no such file. Name the YAML of a detection data set.")
    for option in ("weights", "large_weights"):
        given = getattr(options, option)
        if given and not given.is_file():
            raise SystemExit(
                f"--{option.replace('_', '-')} {given}: no such file. Name a checkpoint of {options.target}."
            )
    if options.set and not options.data:
        raise SystemExit("--set is for --data: the digits have settings of their own.")
    folder = (options.out or Path("compared") / options.target).resolve()
    folder.mkdir(parents=True, exist_ok=True)
    sizes = sizes_of(options)
    given = {"small": options.weights, "large": options.large_weights}  # fields of Target
    starts = {key: str(path.resolve()) for key, path in given.items() if path}
    settings = settings_of(options.set)
    mine = {"target": options.target, "data": str(options.data or "digits"), **asdict(sizes), **starts, **settings}
    stamp = folder / "comparison.json"
    if stamp.is_file() and json.loads(stamp.read_text(encoding="utf-8")) != mine:
        raise SystemExit(f"{folder} holds another comparison ({stamp.read_text().strip()}): name another --out")
    stamp.write_text(json.dumps(mine) + "\n", encoding="utf-8")
    if options.data:
        data = options.data.resolve()
    else:
        data = build(folder / "data", train=sizes.train, val=sizes.val, imgsz=sizes.imgsz, seed=DATA_SEED)
    more = {
        "target": replace(TARGETS[options.target], **starts),
        "settings": settings,
        "test": test_split(data, folder),
    }
    return Bench(folder, options.fork.resolve(), options.target, sizes, data, shown(sys.argv), options.device, **more)


def settings_of(words: Iterable[str]) -> dict[str, Any]:
    """KEY=VALUE words as upstream's settings.

    Raises:
        SystemExit: a word without a `=`.
    """
    parts = [word.partition("=") for word in words]
    for key, equals, _ in parts:
        if not equals:
            raise SystemExit(f"--set {key}: write KEY=VALUE, as upstream does.")
    return {key: yaml.safe_load(value) for key, _, value in parts}


def test_split(data: Path, folder: Path) -> Path | None:
    """The data set with its `test` split in the place of `val`, as a YAML in `folder`; None where it has none."""
    named = yaml.safe_load(data.read_text(encoding="utf-8"))
    if not named.get("test"):
        return None
    path = folder / "test.yaml"
    root = (data.parent / (named.get("path") or ".")).resolve()
    path.write_text(yaml.safe_dump({**named, "path": str(root), "val": named["test"]}), encoding="utf-8")
    return path


def sizes_of(options: argparse.Namespace) -> Sizes:
    """The tier's sizes, with what the command line says instead."""
    told = {name: getattr(options, name) for name in SIZES if getattr(options, name) is not None}
    return replace(TARGETS[options.target].tiers[options.tier], digits=options.data is None, **told)


def shown(argv: Iterable[str]) -> str:
    """The command that makes the cells, as it is typed again."""
    words = [word for word in list(argv)[1:] if word != "--report-only"]
    return shlex.join(["python", "benchmarks/compare.py", *words])


if __name__ == "__main__":
    sys.exit(main())
