# SPDX-License-Identifier: AGPL-3.0-or-later
"""Does a checkpoint's network have what every later step takes from it: its description, strides, names?"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import nn

from ..errors import PruneError

MANY = 8  # strides that a network may have
HINT = "Give the checkpoint that training wrote (weights/best.pt)."


def check_content(content: Any, weights: Path) -> None:
    """Refuse a file that holds something else than training writes: a dictionary with a network in it.

    Raises:
        PruneError: naming the file and what it holds.
    """
    if not isinstance(content, dict):
        raise PruneError(f"{weights}: holds {_kind(content)}, not what training writes. {HINT}")
    model = content.get("ema") or content.get("model")
    if not isinstance(model, nn.Module):
        raise PruneError(f"{weights}: holds {_kind(model)} where a network is expected. {HINT}")


def check_form(model: Any, weights: Path) -> None:
    """Refuse a network that lacks them: saved bare (`torch.save(model)`), cut down, or changed by another tool.

    Raises:
        PruneError: naming the file and what is missing.
    """
    if not isinstance(model, nn.Module):
        raise PruneError(f"{weights}: holds {_kind(model)} where a network is expected. {HINT}")
    structure = getattr(model, "yaml", None)
    if not isinstance(structure, dict) or not isinstance(getattr(model, "model", None), nn.Sequential):
        raise PruneError(f"{weights}: a {type(model).__name__} without the description (yaml) of a detector. {HINT}")
    classes = structure.get("nc")
    if isinstance(classes, bool) or not isinstance(classes, int) or classes < 1:
        raise PruneError(f"{weights}: its description (yaml) says nc: {classes!r}, not a number of classes. {HINT}")
    if wrong := [key for key in ("backbone", "head") if not isinstance(structure.get(key), (list, tuple))]:
        raise PruneError(f"{weights}: its description (yaml) has no list '{wrong[0]}'. {HINT}")
    stride = getattr(model, "stride", None)
    if not isinstance(stride, torch.Tensor) or not stride.numel() or not bool((stride > 0).all()):
        raise PruneError(f"{weights}: its strides are {_kind(stride)}, so it was never built whole. {HINT}")
    if not isinstance(getattr(model, "names", ()), (list, tuple, dict)):
        raise PruneError(f"{weights}: the names of its classes are {_kind(model.names)}, not a list. {HINT}")


def _kind(value: object) -> str:
    if value is None:
        return "nothing"
    if isinstance(value, torch.Tensor) and value.numel() <= MANY:
        return f"{value.tolist()}"
    name = type(value).__name__
    return f"{'an' if name[0].lower() in 'aeiou' else 'a'} {name}"
