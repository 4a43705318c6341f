# SPDX-License-Identifier: AGPL-3.0-or-later
"""Runs inside a fork, with its adapter: measure a checkpoint, or prune one with Torch-Pruning's own pruner.

    python infork.py measure OUT.json UPSTREAM WEIGHTS WORDS...
    python infork.py stock   OUT.pt   UPSTREAM WEIGHTS FRACTION WORDS...
    python infork.py latency OUT.json UPSTREAM WEIGHTS NAME=PATH,... WORDS...
    python infork.py seeded  SEED CLIP SCRIPT WORDS...

UPSTREAM is module:name of the fork's `pruning.family.contract.Upstream`, or of its class; WORDS are upstream's train
arguments.
"""

from __future__ import annotations

import importlib
import json
import os
import runpy
import sys
from copy import deepcopy
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
import torch_pruning as tp
from torch.optim.optimizer import register_optimizer_step_pre_hook


def engine(name: str) -> ModuleType:
    """A module of the fork's engine, wherever the family keeps it."""
    for package in ("ultralytics.pruning", "pruning"):
        if importlib.util.find_spec(package.split(".")[0]) is None:
            continue
        try:
            return importlib.import_module(f"{package}.{name}")
        except ModuleNotFoundError:
            continue
    raise SystemExit("no pruning engine here: run this inside a fork")


def opened(upstream: str, weights: str, words: list[str]) -> Any:
    """The network, checked, with its adapter (`pruning.family.contract.Opened`)."""
    module, _, name = upstream.partition(":")
    made = getattr(importlib.import_module(module), name)
    made = made() if isinstance(made, type) else made
    return made.open(weights, words, engine("settings").Settings(), trust=False)


def measure(out: Path, found: Any) -> None:
    """MACs, parameters and accuracy, as the fork's own reports count them."""
    model = found.family.load(found.weights)
    cost = engine("network.counts").count(model, found.family.example(model))
    metrics = found.family.evaluate(found.weights)
    figures = {
        "params": int(cost.params),
        "macs": float(cost.macs),
        "map50": metrics.map50,
        "map50_95": metrics.map50_95,
    }
    scratch = out.with_suffix(".part")
    scratch.write_text(json.dumps(figures) + "\n", encoding="utf-8")
    os.replace(scratch, out)


def stock(out: Path, found: Any, fraction: float) -> None:
    """Prune to `fraction` of the MACs with `tp.pruner.BasePruner` as it comes; only the ratio is searched for.

    What it cannot do by itself is done for it, as its own YOLOv8 example does: blocks are split, the head's outputs and
    attention are ignored. Ratios are tried on copies, 1/256 apart.
    """
    dense = found.family.load(found.weights)
    example = found.family.example(dense)
    count = engine("network.counts").count
    wanted = fraction * count(dense, example).macs
    low, high = 0, 256
    while high - low > 1:
        middle = (low + high) // 2
        macs = count(stock_pruned(found.family, deepcopy(dense), example, middle / 256), example).macs
        low, high = (middle, high) if macs > wanted else (low, middle)
    pruned = stock_pruned(found.family, dense, example, high / 256)
    found.family.save(pruned, found.weights, out)
    print(f"ratio {high / 256}: {count(pruned, example)}")


def stock_pruned(family: Any, model: Any, example: torch.Tensor, ratio: float, steps: int = 1) -> Any:
    """The model, pruned by `tp.pruner.BasePruner` as it comes; `family` has the rules and the ignored layers."""
    surgery = engine("network.surgery")
    surgery.split_blocks(model, family.rules)
    kept = family.ignored(model)
    with family.tracing(model):
        pruner = tp.pruner.BasePruner(
            model,
            example,
            importance=tp.importance.GroupMagnitudeImportance(),
            pruning_ratio=ratio,
            iterative_steps=steps,
            ignored_layers=[module for name, module in model.named_modules() if name in kept],
            in_channel_groups={},
            out_channel_groups={},
            num_heads={},
        )
        for _ in range(steps):
            pruner.step()
    surgery.merge_blocks(model, family.rules)
    return model


def latency(out: Path, found: Any, networks: dict[str, str]) -> None:
    """Time networks in turns, in ONNX Runtime on one thread; the first is the reference."""
    timer = engine("scripts.latency")
    pairs = {name: (found.family, Path(path)) for name, path in networks.items()}
    figures = timer.measure(pairs, ["onnxruntime"], timer.Plenty(threads=1, rounds=101, limit=120.0))
    out.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")


def seeded(seed: int, norm: float, script: str, words: list[str]) -> None:
    """Run one of a YOLOv7 fork's scripts with another seed of training than the one that upstream has built in.

    With a `norm`, gradients are clipped to it, as YOLOv5's and ultralytics' trainers do by themselves (0: as upstream).
    """
    if norm:
        register_optimizer_step_pre_hook(partial(clip, norm))
    general = importlib.import_module("utils.general")
    usual = general.init_seeds
    general.init_seeds = lambda given=0: usual(given + 1000 * seed)
    sys.argv = [script, *words]
    runpy.run_path(script, run_name="__main__")


def clip(norm: float, optimizer: torch.optim.Optimizer, _args: Any, _options: Any) -> None:
    """Before an optimizer's step: all gradients together no longer than `norm`."""
    given = [weight for group in optimizer.param_groups for weight in group["params"] if weight.grad is not None]
    torch.nn.utils.clip_grad_norm_(given, norm)


def main(words: list[str]) -> None:
    """See the module's text."""
    if words[0] == "seeded":
        return seeded(int(words[1]), float(words[2]), words[3], words[4:])
    action, out, upstream, weights, *rest = words
    extra = [rest.pop(0)] if action in ("stock", "latency") else []
    found = opened(upstream, weights, rest)
    if action == "measure":
        measure(Path(out), found)
    elif action == "stock":
        stock(Path(out), found, float(extra[0]))
    else:
        latency(Path(out), found, dict(pair.split("=", 1) for pair in extra[0].split(",")))
    return None


if __name__ == "__main__":
    torch.set_num_threads(1)
    main(sys.argv[1:])
