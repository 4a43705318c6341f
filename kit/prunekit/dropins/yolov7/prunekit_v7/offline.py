# SPDX-License-Identifier: AGPL-3.0-or-later
"""What upstream takes from the network or from optional packages, only where somebody asks for it (patch 6)."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

SIZES = ("yolov7", "yolov7x", "yolov7-w6", "yolov7-e6", "yolov7-d6", "yolov7-e6e")
PUBLISHED = frozenset({"yolov7-tiny.pt", *(f"{size}{kind}.pt" for size in SIZES for kind in ("", "_training"))})


def published(file: Path) -> bool:
    """Whether a checkpoint that is not here is worth asking the network for.

    Raises:
        FileNotFoundError: it is none that upstream has published.
    """
    if file.name in PUBLISHED:
        return True
    raise FileNotFoundError(f"{file}: no such file, and no network that upstream has published (yolov7.pt, ...)")


def want_wandb() -> None:
    """ImportError, as if wandb were not installed, unless WANDB_MODE asks for it."""
    mode = os.environ.get("WANDB_MODE", "")
    if mode not in ("online", "offline"):
        raise ImportError("wandb is used where WANDB_MODE is online or offline")


def summary_writer(folder: str) -> Any:
    """Tensorboard's writer, or None where it is not installed."""
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        return None
    return SummaryWriter(folder)
