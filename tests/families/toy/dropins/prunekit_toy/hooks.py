# SPDX-License-Identifier: AGPL-3.0-or-later
"""The functions that the patches of toydet call."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pruning.family import hooks as shared
from pruning.family.hooks import sparsity_arguments
from torch import nn

from . import structure

__all__ = ["sparsity_arguments"]
HOOKED: dict[str, tuple[str, ...]] = {
    "train.py": ("sparsity_arguments", "bn_l1"),
    "net/model.py": ("open_structure", "keep_structure"),
}


bn_l1 = shared.penalty(lambda text, *_: print(text))  # patch 2, between clipping and the step


def open_structure(d: dict[str, Any]) -> dict[str, Any]:
    """Patch 3, at the start of `parse_model`."""
    return shared.opened(structure.open_structure(d), "net.model", evaluated=True)


def keep_structure(layers: Sequence[nn.Module], d: dict[str, Any]) -> None:
    """Patch 3, before `parse_model` returns."""
    shared.say_kept(layers, structure.fit_layers(layers, d), print)
