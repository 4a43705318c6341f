# SPDX-License-Identifier: AGPL-3.0-or-later
"""What upstream calls differently, or does not have yet, in some releases that the series fits (from 8.2.0)."""

from __future__ import annotations

from typing import Any

from torch import nn
from ultralytics import utils
from ultralytics.nn.modules import block

try:
    from ultralytics.nn.tasks import load_checkpoint
except ImportError:  # before 8.3.19x
    from ultralytics.nn.tasks import attempt_load_one_weight as load_checkpoint  # type: ignore[attr-defined, no-redef]
try:
    from ultralytics.utils.torch_utils import unwrap_model
except ImportError:
    from ultralytics.utils.torch_utils import de_parallel as unwrap_model  # type: ignore[attr-defined, no-redef]


def _block(name: str) -> Any:
    """The class of a block, or one in its place that no network holds, where this release does not have it yet."""
    return getattr(block, name, None) or type(name, (nn.Module,), {})


C2PSA, C2fPSA, C3k2, PSABlock = _block("C2PSA"), _block("C2fPSA"), _block("C3k2"), _block("PSABlock")  # 8.3.0
PSA, Attention, C2fCIB = _block("PSA"), _block("Attention"), _block("C2fCIB")  # 8.2.2x
A2C2f, AAttn = _block("A2C2f"), _block("AAttn")  # 8.3.7x
RealNVP = _block("RealNVP")  # 8.4


def load_yaml(path: str) -> Any:
    """The content of a YAML file, as this upstream reads it."""
    yaml: Any = getattr(utils, "YAML", None)
    function: Any = getattr(utils, "yaml_load", None)  # before 8.3.1xx
    return yaml.load(path) if yaml else function(path)


def forget_loss(model: nn.Module) -> None:
    """Take off the loss that upstream keeps on a network. None in its place would do from 8.3.x on, and fail before."""
    vars(model).pop("criterion", None)


__all__ = [
    "C2PSA",
    "PSA",
    "A2C2f",
    "AAttn",
    "Attention",
    "C2fCIB",
    "C2fPSA",
    "C3k2",
    "PSABlock",
    "RealNVP",
    "forget_loss",
    "load_checkpoint",
    "load_yaml",
    "unwrap_model",
]
