# SPDX-License-Identifier: AGPL-3.0-or-later
"""Pruning under torch.distributed.run: rank 0 prunes and measures, and every rank trains.

An upstream's training script knows how to be one rank of many; pruning is the work of one. So rank 0 leads, and tells
the others through the launcher's own store (no process group, no timeout of one) with which options to train; each of
them builds the network from the checkpoint named there.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from functools import cache
from itertools import count
from typing import Any

import torch.distributed as dist

from ..errors import PruneError

PATIENCE = timedelta(days=30)  # rank 0 validates and prunes between two trainings, for as long as that takes
_numbers = count()  # of the trainings told or heard in this process


def world() -> int:
    """How many processes the launcher started; 1 without a launcher."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def leads() -> bool:
    """Is this the process that prunes: the only one, or rank 0?"""
    return int(os.environ.get("RANK", "-1")) <= 0


@contextmanager
def leading() -> Iterator[None]:
    """Around all that rank 0 does: at its end the others go home. After a failure the launcher stops them."""
    try:
        yield
    except SystemExit:  # --help
        tell(None)
        raise
    tell(None)


def tell(options: Mapping[str, Any] | None) -> None:
    """Have every other rank train with `options` (plain values); None sends them home. Alone: nothing."""
    if world() > 1:
        _store().set(f"prunekit/{next(_numbers)}", json.dumps(options))


def follow(train: Callable[[dict[str, Any]], Any]) -> None:
    """On any rank but 0: train with whatever rank 0 tells, until it sends home."""
    while True:
        key = f"prunekit/{next(_numbers)}"
        _store().wait([key], PATIENCE)
        options = json.loads(_store().get(key))
        if options is None:
            return
        train(options)


def check_batch(batch: int) -> None:
    """Refuse a batch that cannot be shared among the ranks.

    Raises:
        PruneError: naming a size that can.
    """
    ranks = world()
    if ranks > 1 and (batch < 1 or batch % ranks):
        near = max(batch // ranks, 1) * ranks
        raise PruneError(f"--batch-size {batch}: {ranks} processes share a batch evenly; give --batch-size {near}.")


@cache
def _store() -> Any:
    """The launcher's key-value store; the same keys are seen by every rank."""
    return next(iter(dist.rendezvous("env://", timeout=PATIENCE)))[0]
