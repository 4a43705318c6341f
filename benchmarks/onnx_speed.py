# SPDX-License-Identifier: AGPL-3.0-or-later
"""Is a pruned network faster in ONNX Runtime on the CPU, and by how much of what its MACs promise?

    prunekit setup v8 forks/v8
    python benchmarks/onnx_speed.py v8 forks/v8 best.pt --imgsz 320 --json speed.json

Prunes a checkpoint, untrained, to half the MACs and by ratios from 0.1 to 0.7, in multiples of each `--round-to`,
exports each through the fork's adapter, and times all of them in turns with the dense network, on one thread. A fork of
ultralytics decodes boxes in a form of its own: files of upstream's form take turns, too, dense and at half the MACs.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
from comparing.infork import engine, opened
from comparing.targets import TARGETS

RATIOS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7)


def main() -> None:
    """Parse, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("target", choices=TARGETS)
    parser.add_argument("fork", type=Path)
    parser.add_argument("weights", type=Path)
    parser.add_argument("--imgsz", type=int, default=320)
    parser.add_argument("--round-to", type=int, nargs="+", default=[8, 16])
    parser.add_argument("--importance", default="lamp")
    parser.add_argument("--rounds", type=int, default=101)
    parser.add_argument("--limit", type=float, default=300.0, help="seconds after which fewer rounds will do")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    weights, out = options.weights.resolve(), options.json and options.json.resolve()
    sys.path.insert(0, str(options.fork.resolve()))
    with tempfile.TemporaryDirectory() as scratch:
        os.environ.update(YOLO_CONFIG_DIR=scratch, YOLO_AUTOINSTALL="false", YOLO_OFFLINE="true", YOLO_VERBOSE="false")
        os.chdir(options.fork)
        size = "--img-size" if TARGETS[options.target].style == "yolov7" else "--imgsz"
        found = opened(TARGETS[options.target].upstream, str(weights), [size, str(options.imgsz)])
        rows = measured(found, options, Path(scratch))
    print(table(rows))
    if out:
        machine = engine("scripts.latency").machine()
        seen = {"target": options.target, "image": options.imgsz, "machine": machine, "rows": rows}
        out.write_text(json.dumps(seen, indent=1) + "\n", encoding="utf-8")


def measured(found: Any, options: argparse.Namespace, folder: Path) -> list[dict[str, Any]]:
    """One row for each plan: what was asked, MACs ratio, measured speed-up with its interval, share of the promise.

    Speed-ups are to the fork's file of the dense network; shares are of a file and a dense one of the same form.
    """
    family, weights = found.family, found.weights
    image = torch.rand(family.example(family.load(weights)).shape)
    call = engine("runtime.runtimes").onnx_call
    family.export(weights, folder / "dense.onnx")
    calls: dict[str, Callable[[], object]] = {"dense": call(folder / "dense.onnx", image, threads=1)}
    rows: dict[str, dict[str, Any]] = {}
    for number, asked in enumerate(plans(options)):
        name = " ".join(f"{key} {value}" for key, value in asked.items() if value is not None)
        file = folder / f"{number}.onnx"
        try:
            ratio = pruned(family, weights, {**asked, "importance": options.importance}, file)
            rows[name] = {**asked, "macs_ratio": ratio}
        except engine("errors").PruneError as error:
            print(f"{name}: {error}")
            continue
        calls[name] = call(file, image, threads=1)
    for name, (file, row) in upstreams(found, options, folder).items():
        calls[name], rows[name] = call(file, image, threads=1), row
    timed = engine("runtime.timing").interleaved(calls, rounds=options.rounds, limit=options.limit)
    for name, speed in timed.items():
        if name in rows:
            alike = timed["u-dense"].ratio if "decoding" in rows[name] else 1.0
            rows[name] |= {**speed.as_dict(), "share": speed.ratio / alike / rows[name]["macs_ratio"]}
    return list(rows.values())


def upstreams(found: Any, options: argparse.Namespace, folder: Path) -> dict[str, tuple[Path, dict[str, Any]]]:
    """Files as a plain ultralytics exports them: the dense network, and half of its MACs; none of other forks."""
    if TARGETS[options.target].style != "ultralytics":
        return {}
    asked = {"target_macs": 0.5, "prune_ratio": None, "round_to": options.round_to[-1]}
    dense, half = folder / "upstreams-dense.onnx", folder / "upstreams-half.onnx"
    hooks = importlib.import_module("ultralytics.prunekit.hooks")
    try:
        with patch.object(hooks, "fast_boxes", lambda _: None):
            found.family.export(found.weights, dense)
            ratio = pruned(found.family, found.weights, {**asked, "importance": options.importance}, half)
    except engine("errors").PruneError as error:
        print(f"half the MACs, upstream's decoding: {error}")
        return {}
    none = {"target_macs": 1.0, "prune_ratio": None, "round_to": None, "decoding": "upstream", "macs_ratio": 1.0}
    return {"u-dense": (dense, none), "u-half": (half, {**asked, "decoding": "upstream", "macs_ratio": ratio})}


def plans(options: argparse.Namespace) -> list[dict[str, Any]]:
    """Half the MACs, then each ratio, in each rounding."""
    asked = [{"target_macs": 0.5, "prune_ratio": None}, *({"target_macs": None, "prune_ratio": r} for r in RATIOS)]
    return [{**one, "round_to": n} for n in options.round_to for one in asked]


def pruned(family: Any, weights: Path, asked: dict[str, Any], target: Path) -> float:
    """Prune by these settings, export to `target`; returns dense / pruned MACs."""
    step, settings = engine("run.step"), engine("settings").Settings(**asked)
    model, graph = step.open_model(family, weights, settings)
    plan, scores = step.plan_step(family, model, graph, settings, step.dense_of(family, weights), 1)
    engine("planning.apply").apply_plan(graph, plan, scores)
    engine("network.surgery").merge_blocks(model, family.rules)
    checkpoint = target.with_suffix(".pt")
    family.save(model, weights, checkpoint)
    family.export(checkpoint, target)
    return plan.dense.macs / plan.pruned.macs


def table(rows: list[dict[str, Any]]) -> str:
    """The rows as Markdown."""
    lines = [
        "| asked | multiples of | MACs ratio | measured speed-up | 95% interval | share of the MACs ratio |",
        "|---" * 6 + "|",
    ]
    for row in rows:
        asked = f"{row['target_macs']} of the MACs" if row["target_macs"] else f"ratio {row['prune_ratio']}"
        asked += ", upstream's decoding" if "decoding" in row else ""
        interval = f"{row['low']:.2f} to {row['high']:.2f}"
        lines.append(
            f"| {asked} | {row['round_to'] or '-'} | {row['macs_ratio']:.2f} | {row['ratio']:.2f} "
            f"| {interval} | {row['share']:.2f} |"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
