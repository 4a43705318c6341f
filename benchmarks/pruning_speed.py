# SPDX-License-Identifier: AGPL-3.0-or-later
"""How long does pruning itself take, beside Torch-Pruning's own pruner on the same network with the same settings?

    prunekit setup v8 forks/v8
    python benchmarks/pruning_speed.py forks/v8 --networks yolov8n yolov8x --steps 1 50

Ours: split blocks, trace, groups, scores, plan, apply, merge. Theirs: the same split blocks (it cannot follow a chunk
either), `tp.pruner.BasePruner` as it comes, merge. Local ratio 0.5, group magnitude, one image of 64 px; in turns, in
one process; a network of its own for each call, whose making is not timed. With several steps the graph is built once,
by both. Beside them the proof that a run begins with. Memory: the peak of a process that prunes over that of one that
makes the network and takes a training step.
"""

from __future__ import annotations

import argparse
import gc
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
from typing import Any

import torch

RATIO, IMAGE = 0.5, 64


def ours(model: Any, steps: int) -> int:
    """The engine; returns the parameters left."""
    from ultralytics.prunekit.blocks import RULES, ignored_layers, trace_forward
    from ultralytics.pruning.network.graph import PruningGraph
    from ultralytics.pruning.network.surgery import merge_blocks, split_blocks
    from ultralytics.pruning.planning.apply import apply_plan
    from ultralytics.pruning.planning.plan import make_plan
    from ultralytics.pruning.planning.scores import score_groups

    split_blocks(model, RULES)
    kept = ignored_layers(model)
    graph = PruningGraph.build(model, torch.zeros(1, 3, IMAGE, IMAGE), forward=trace_forward, ignored=kept, rules=RULES)
    first = {group.name: group.channels for group in graph.groups}
    for step in range(1, steps + 1):
        scores = score_groups(graph, "group_norm")
        ratio = 1 - (1 - RATIO) ** (step / steps)
        try:
            plan = make_plan(graph, scores, ratio=ratio, floor=1, first=first, criterion="group_norm")
        except Exception as error:  # a step that rounding leaves empty
            if "removes 0" not in str(error):
                raise
            continue
        apply_plan(graph, plan, scores)
        if step < steps:
            graph = graph.renewed()
    merge_blocks(model, RULES)
    return sum(p.numel() for p in model.parameters())


def theirs(model: Any, steps: int) -> int:
    """Torch-Pruning's own pruner; returns the parameters left."""
    import torch_pruning as tp
    from ultralytics.prunekit.blocks import RULES, ignored_layers, tracing
    from ultralytics.pruning.network.surgery import merge_blocks, split_blocks

    split_blocks(model, RULES)
    kept = ignored_layers(model)
    with tracing(model):
        pruner = tp.pruner.BasePruner(
            model,
            torch.zeros(1, 3, IMAGE, IMAGE),
            importance=tp.importance.GroupMagnitudeImportance(),
            pruning_ratio=RATIO,
            iterative_steps=steps,
            in_channel_groups={},
            out_channel_groups={},
            num_heads={},
            ignored_layers=[module for name, module in model.named_modules() if name in kept],
        )
        for _ in range(steps):
            pruner.step()
    merge_blocks(model, RULES)
    return sum(p.numel() for p in model.parameters())


def proof(model: Any, _steps: int) -> int:
    """The proof before a run; returns what it compared."""
    from ultralytics.prunekit.blocks import RULES, ignored_layers, tracing
    from ultralytics.pruning.network.surgery import split_blocks
    from ultralytics.pruning.planning.proof import prove

    split_blocks(model, RULES)
    example = torch.zeros(1, 3, IMAGE, IMAGE)
    return int(prove(model, example, tracing=tracing, ignored=ignored_layers(model), rules=RULES).tensors)


def trace_only(model: Any, _steps: int) -> int:
    """What the network needs by itself: made, and run once with gradients."""
    output = model.train()(torch.zeros(2, 3, IMAGE, IMAGE))
    sum(t.sum() for t in output.values() if isinstance(t, torch.Tensor)).backward()
    return 0


PRUNERS: dict[str, Callable[[Any, int], int]] = {"ours": ours, "theirs": theirs, "proof": proof, "network": trace_only}


def fresh(name: str) -> Any:
    """An untrained network, the same each time."""
    from ultralytics.nn.tasks import DetectionModel

    torch.manual_seed(0)
    return DetectionModel(f"{name}.yaml", ch=3, nc=80, verbose=False).eval()


def turns(name: str, steps: int, rounds: int) -> dict[str, Any]:
    """Seconds of either, by turns; the ratio is the median of the rounds' own."""
    taken: dict[str, list[float]] = {"ours": [], "theirs": [], "proof": []}
    left: dict[str, int] = {}
    for number in range(rounds + 1):
        for which in ("ours", "theirs", "proof") if number % 2 else ("theirs", "ours", "proof"):
            model = fresh(name)
            gc.collect()
            started = time.process_time()
            left[which] = PRUNERS[which](model, steps)
            if number:  # the first round warms up
                taken[which].append(time.process_time() - started)
    ratios = [a / b for a, b in zip(taken["ours"], taken["theirs"], strict=True)]
    middle = {which: statistics.median(seconds) for which, seconds in taken.items()}
    ratio = statistics.median(ratios)
    return {"network": name, "steps": steps, **middle, "ratio": ratio, "ratios": ratios, "left": left}


def peak(which: str, name: str) -> int:
    """Peak memory of a process that does one thing to one network, in KiB."""
    words = [sys.executable, __file__, sys.argv[1], "--peak", which, "--networks", name]
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
        sys.path.insert(0, str(options.fork.resolve()))
        if options.peak:
            PRUNERS[options.peak](fresh(options.networks[0]), 1)
            return print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
        rows = measured(options)
    if options.json:
        text = json.dumps({"torch": torch.__version__, "rows": rows}, indent=1)
        options.json.write_text(text + "\n", encoding="utf-8")


def measured(options: argparse.Namespace) -> list[dict[str, Any]]:
    """All rows, printed as Markdown as they come; seconds are CPU time."""
    print("| network | steps | ours, s | torch-pruning, s | ours / theirs | proof, s | peak memory / network's own |")
    print("|---" * 7 + "|")
    rows = []
    for name in options.networks:
        memory = peak("ours", name) / peak("network", name)
        for steps in options.steps:
            row = {**turns(name, steps, options.rounds), "memory": memory}
            rows.append(row)
            seconds = f"{row['ours']:.2f} | {row['theirs']:.2f} | {row['ratio']:.2f} | {row['proof']:.2f}"
            print(f"| {name} | {steps} | {seconds} | {memory:.2f} |", flush=True)
    return rows


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
