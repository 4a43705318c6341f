# SPDX-License-Identifier: AGPL-3.0-or-later
"""How long does pruning itself take, beside Torch-Pruning's own pruner on the same network with the same settings?

    prunekit setup v8 forks/v8
    python benchmarks/pruning_speed.py forks/v8 --networks yolov8n yolov8x --steps 1 50
    python benchmarks/pruning_speed.py forks/v5 --networks yolov5n yolov3-tiny --steps 1    # v7 likewise

Ours: split blocks, trace, groups, scores, plan, apply, merge. Theirs: the same split blocks (it cannot follow a chunk
either), `tp.pruner.BasePruner` as it comes, merge. Local ratio 0.5, group magnitude, one image of 64 px; in turns, in
one process; a network of its own for each call, whose making is not timed. With several steps the graph is built once,
by both. Beside them the proof that a run begins with, in seconds and as a multiple of pruning. Memory: the peak of a
process that prunes over that of one that makes the network and takes a training step.
"""

from __future__ import annotations

import argparse
import gc
import importlib
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from comparing.infork import stock_pruned
from support import seam

RATIO, IMAGE = 0.5, 64
Part = Callable[[str], Any]  # a module of the engine in the fork, by its name


def ours(here: SimpleNamespace, part: Part, model: Any, steps: int) -> int:
    """The engine; returns the parameters left."""
    surgery, example = part("network.surgery"), torch.zeros(1, 3, IMAGE, IMAGE)
    surgery.split_blocks(model, here.rules)
    kept = here.ignored(model)
    with here.tracing(model):
        graph = part("network.graph").PruningGraph.build(model, example, ignored=kept, rules=here.rules)
    first = {group.name: group.channels for group in graph.groups}
    make_plan = part("planning.plan").make_plan
    for step in range(1, steps + 1):
        scores = part("planning.scores").score_groups(graph, "group_norm")
        ratio = 1 - (1 - RATIO) ** (step / steps)
        try:
            plan = make_plan(graph, scores, ratio=ratio, floor=1, first=first, criterion="group_norm")
        except Exception as error:  # a step that rounding leaves empty
            if "removes 0" not in str(error):
                raise
            continue
        part("planning.apply").apply_plan(graph, plan, scores)
        if step < steps:
            graph = graph.renewed()
    surgery.merge_blocks(model, here.rules)
    return sum(p.numel() for p in model.parameters())


def theirs(here: SimpleNamespace, _part: Part, model: Any, steps: int) -> int:
    """Torch-Pruning's own pruner; returns the parameters left."""
    stock_pruned(here, model, torch.zeros(1, 3, IMAGE, IMAGE), RATIO, steps)
    return sum(p.numel() for p in model.parameters())


def proof(here: SimpleNamespace, part: Part, model: Any, _steps: int) -> int:
    """The proof before a run; returns what it compared."""
    part("network.surgery").split_blocks(model, here.rules)
    how = {"tracing": here.tracing, "ignored": here.ignored(model), "rules": here.rules}
    return int(part("planning.proof").prove(model, torch.zeros(1, 3, IMAGE, IMAGE), **how).tensors)


def trace_only(here: SimpleNamespace, part: Part, model: Any, _steps: int) -> int:
    """What the network needs by itself: made, and run once with gradients."""
    output = model.train()(torch.zeros(2, 3, IMAGE, IMAGE))
    sum(tensor.sum() for tensor in part("planning.compare")._floats(output) if tensor.requires_grad).backward()
    return 0


Pruner = Callable[[SimpleNamespace, Part, Any, int], int]
PRUNERS: dict[str, Pruner] = {"ours": ours, "theirs": theirs, "proof": proof, "network": trace_only}


def fresh(here: SimpleNamespace, name: str) -> Any:
    """An untrained network, the same each time."""
    torch.manual_seed(0)
    if here.kind == "v8":
        from ultralytics.nn.tasks import DetectionModel

        return DetectionModel(f"{name}.yaml", ch=3, nc=80, verbose=False).eval()
    return here.build(next(file for file in reversed(here.files) if file.stem == name)).eval()


def engine(here: SimpleNamespace) -> Part:
    """The engine in the fork."""
    return lambda name: importlib.import_module(f"{here.engine}.{name}")


def turns(here: SimpleNamespace, name: str, steps: int, rounds: int) -> dict[str, Any]:
    """Seconds of each, by turns; the ratios are medians of the rounds' own."""
    taken: dict[str, list[float]] = {"ours": [], "theirs": [], "proof": []}
    left: dict[str, int] = {}
    for number in range(rounds + 1):
        for which in ("ours", "theirs", "proof") if number % 2 else ("theirs", "ours", "proof"):
            model = fresh(here, name)
            gc.collect()
            started = time.process_time()
            left[which] = PRUNERS[which](here, engine(here), model, steps)
            if number:  # the first round warms up
                taken[which].append(time.process_time() - started)
    ratios = [a / b for a, b in zip(taken["ours"], taken["theirs"], strict=True)]
    middle = {which: statistics.median(seconds) for which, seconds in taken.items()}
    ratio = statistics.median(ratios)
    proved = statistics.median(a / b for a, b in zip(taken["proof"], taken["ours"], strict=True))
    found = {"ratio": ratio, "ratios": ratios, "proof_ratio": proved, "left": left}
    return {"network": name, "steps": steps, **middle, **found}


def peak(which: str, name: str) -> int:
    """Peak memory of a process that does one thing to one network of the fork in the working directory, in KiB."""
    words = [sys.executable, str(Path(__file__).resolve()), os.getcwd(), "--peak", which, "--networks", name]
    return int(subprocess.run(words, check=True, capture_output=True, text=True).stdout.split()[-1])


def main() -> None:
    """Parse, measure, print rows as they come."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("fork", type=Path, help="a fork that `prunekit setup v8` made")
    parser.add_argument("--networks", nargs="+", default=[f"yolov8{size}" for size in "nsmlx"])
    parser.add_argument("--steps", type=int, nargs="+", default=[1, 50])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", type=Path, help="write the figures, too")
    parser.add_argument("--peak", choices=PRUNERS, help=argparse.SUPPRESS)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        os.environ.update(YOLO_CONFIG_DIR=scratch, YOLO_AUTOINSTALL="false", YOLO_OFFLINE="true", YOLO_VERBOSE="false")
        target = options.json.resolve() if options.json else None
        here = seam(options.fork.resolve())  # the fork's folder is the working directory from here on
        if options.peak:
            PRUNERS[options.peak](here, engine(here), fresh(here, options.networks[0]), 1)
            return print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
        rows = measured(here, options)
    if target:
        text = json.dumps({"torch": torch.__version__, "rows": rows}, indent=1)
        target.write_text(text + "\n", encoding="utf-8")


def measured(here: SimpleNamespace, options: argparse.Namespace) -> list[dict[str, Any]]:
    """All rows, printed as Markdown as they come; seconds are CPU time."""
    heads = "network | steps | ours, s | torch-pruning, s | ours / theirs | proof, s | proof / ours"
    print(f"| {heads} | peak memory / network's own |\n" + "|---" * 8 + "|")
    rows = []
    for name in options.networks:
        memory = peak("ours", name) / peak("network", name)
        for steps in options.steps:
            row = {**turns(here, name, steps, options.rounds), "memory": memory}
            rows.append(row)
            figures = [row[key] for key in ("ours", "theirs", "ratio", "proof", "proof_ratio", "memory")]
            print(f"| {name} | {steps} | {' | '.join(f'{figure:.2f}' for figure in figures)} |", flush=True)
    return rows


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
