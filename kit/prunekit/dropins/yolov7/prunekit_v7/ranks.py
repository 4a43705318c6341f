# SPDX-License-Identifier: AGPL-3.0-or-later
"""Processes of one training under `torch.distributed.run`, on GPUs or on the CPU (patch 7)."""

from __future__ import annotations

import os
from typing import Any

import torch
import torch.distributed as dist


def first_rank() -> bool:
    """Whether this process is the one that talks and writes: the only one, or rank 0."""
    return int(os.environ.get("RANK", "-1")) in (-1, 0)


def join_ranks(device: torch.device, local_rank: int) -> torch.device:
    """Join the other processes; returns this one's device. Gloo on a CPU, nccl on GPUs.

    Raises:
        RuntimeError: fewer GPUs than processes.
    """
    if device.type != "cpu":
        if torch.cuda.device_count() <= local_rank:
            raise RuntimeError(f"process {local_rank} has no GPU of its own: {torch.cuda.device_count()} are here")
        torch.cuda.set_device(local_rank)
        device = torch.device("cuda", local_rank)
    if not dist.is_initialized():  # it is, from the second training of prune.py on
        dist.init_process_group(backend="gloo" if device.type == "cpu" else "nccl", init_method="env://")
    return device


def ddp_place(device: torch.device) -> dict[str, Any]:
    """The device arguments of DistributedDataParallel: none on a CPU."""
    return {} if device.type == "cpu" else {"device_ids": [device.index], "output_device": device.index}
