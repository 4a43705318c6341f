# SPDX-License-Identifier: AGPL-3.0-or-later
"""Releases from before torch 2.6 load checkpoints with torch's defaults, which refuse whole networks by now."""

from __future__ import annotations

import os
from typing import Any

import torch
from ultralytics.pruning.checkpoint import reading as checkpoint
from ultralytics.utils import patches


def load_by_list() -> bool:
    """Let calls of `torch.load` that say nothing of `weights_only` read files by the list of classes; True if it was
    needed. Newer releases bring a `torch_load` of their own and are left alone, and so is a second call."""
    plain = torch.load
    if hasattr(patches, "torch_load") or getattr(plain, "by_list", False):
        return False

    def load(f: Any, map_location: Any = None, *args: Any, **how: Any) -> Any:
        if args or "weights_only" in how or not isinstance(f, (str, os.PathLike)):
            return plain(f, map_location, *args, **how)
        from .rules import RULES

        return checkpoint.read(os.fspath(f), rules=RULES, map_location=map_location, **how)

    load.by_list = True  # type: ignore[attr-defined]
    torch.load = load
    return True
