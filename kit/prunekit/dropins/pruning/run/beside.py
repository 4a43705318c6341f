# SPDX-License-Identifier: AGPL-3.0-or-later
"""The networks of a finished run beside each other, for its page: how fast each is, and what each finds in images."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable
from typing import Any

import torch

from ..failures import reason_of
from ..family.contract import Family
from ..runtime.runtimes import torch_call
from ..runtime.timing import interleaved
from .examples import draw_examples
from .page import EXAMPLES
from .record import State

WARMUP, ROUNDS, LIMIT = 2, 25, 5.0  # rounds, and seconds after which fewer will do
SLOW = 0.2  # seconds of one forward; beyond, only the dense network and the result are timed
MOST = 2e8  # parameters in memory at once; beyond, only the dense network and the result are timed
Say = Callable[[str], None]


def look(state: State, family: Family, say: Say) -> None:
    """Time the run's networks and draw what they find. What fails here is said: the run itself is done."""
    last = state.last_kept()
    if last is None:
        return
    state.path(EXAMPLES).unlink(missing_ok=True)  # of an earlier run in this folder
    try:
        state.timing = _timed(state, family)
        draw_examples(
            family, state.path(state.dense["checkpoint"]), state.path(last["checkpoint"]), state.path(EXAMPLES)
        )
    except Exception as error:  # noqa: BLE001 - upstream's loaders and predictors fail in many ways
        say(f"warning: the report's measured times or example images are missing ({reason_of(error)})")


def _timed(state: State, family: Family) -> dict[str, Any]:
    """{runtime, image, threads, steps: {step: Speed}}, step 0 the dense network; torch on the CPU, in turns."""
    last = state.last_kept()
    rows: list[dict[str, Any]] = [{"step": 0, **state.dense}, *state.steps]
    ends = [row for row in rows if row["step"] == 0 or row is last]
    if sum(row["params"] for row in rows) > MOST:
        rows = ends
    shape = family.example(family.load(state.path(state.dense["checkpoint"]))).shape
    image = torch.rand(shape, generator=torch.Generator().manual_seed(0))
    dense = torch_call(family.load(state.path(state.dense["checkpoint"])), image)
    rows = ends if _seconds(dense) > SLOW else rows
    pruned = {str(row["step"]): torch_call(family.load(state.path(row["checkpoint"])), image) for row in rows[1:]}
    speeds = interleaved({"0": dense, **pruned}, warmup=WARMUP, rounds=ROUNDS, limit=LIMIT)
    del dense, pruned
    gc.collect()
    return {
        "runtime": "torch",
        "image": shape[-1],
        "threads": torch.get_num_threads(),
        "steps": {name: speed.as_dict() for name, speed in speeds.items()},
    }


def _seconds(call: Callable[[], object]) -> float:
    """Seconds of a second call; the first one sets kernels up."""
    call()
    started = time.perf_counter()
    call()
    return time.perf_counter() - started
