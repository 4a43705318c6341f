# SPDX-License-Identifier: AGPL-3.0-or-later
"""Which cells are made when: one after the other in this process, or several at a time by Ray Tune, over machines too.

Cells go in waves, for some begin with what others have made. Ray Tune is the engine that ultralytics' own tuner uses,
and an optional extra (pip install -e '.[sweep]'). On several machines the folder must be one that all of them see.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from typing import Any

from prunekit.errors import PrunekitError

from .cells import Bench, make_cell
from .variants import Variant

Cell = tuple[int, Variant]


def waves(seeds: Sequence[int], variants: Sequence[Variant]) -> Iterator[list[Cell]]:
    """Cells in an order in which each finds its start; those of one wave do not need each other."""
    level: dict[str, int] = {}
    for variant in variants:  # ordered: a start comes before what begins with it
        level[variant.name] = level[variant.start] + 1 if variant.start else 0
    for number in range(max(level.values(), default=-1) + 1):
        yield [(seed, variant) for seed in seeds for variant in variants if level[variant.name] == number]


def one_by_one(bench: Bench, seeds: Sequence[int], variants: Sequence[Variant]) -> int:
    """Make all cells in this process, seed after seed; returns how many failed."""
    return sum(not _made(bench, seed, variant) for seed in seeds for variant in variants)


def by_ray(bench: Bench, seeds: Sequence[int], variants: Sequence[Variant], workers: int, cpus: float) -> int:
    """Make the cells of each wave with at most `workers` at a time, each on `cpus` cores; returns how many failed."""
    try:
        import ray
        from ray import tune
    except ImportError as error:
        raise SystemExit(f"--workers {workers} needs Ray Tune ({error}): pip install -e '.[sweep]'") from error
    ray.init(
        ignore_reinit_error=True,
        include_dashboard=False,
        log_to_driver=False,
        runtime_env={"env_vars": {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}},
    )

    def trial(config: dict[str, Any]) -> dict[str, Any]:
        seed, variant = config["cell"]
        return {"made": float(_made(bench, seed, variant))}

    failed = 0
    for cells in waves(seeds, variants):
        missing = [(seed, variant) for seed, variant in cells if bench.figures(seed, variant.name) is None]
        if missing:
            tune.Tuner(
                tune.with_resources(trial, {"cpu": cpus}),
                param_space={"cell": tune.grid_search(missing)},
                tune_config=tune.TuneConfig(max_concurrent_trials=workers),
                run_config=tune.RunConfig(storage_path=str(bench.folder / "ray"), verbose=0),
            ).fit()
        failed += sum(bench.figures(seed, variant.name) is None for seed, variant in missing)
    ray.shutdown()
    return failed


def _made(bench: Bench, seed: int, variant: Variant) -> bool:
    """Make a cell and say so; a failure is one line, and the next cell's turn."""
    try:
        figures = make_cell(bench, seed, variant)
    except (PrunekitError, OSError) as error:
        print(f"{bench.name} seed {seed} {variant.name}: {error}", file=sys.stderr, flush=True)
        return False
    print(f"{bench.name} seed {seed} {variant.name:<20} mAP50 {figures['map50']:.4f}", flush=True)
    return True
