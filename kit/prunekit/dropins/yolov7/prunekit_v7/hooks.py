# SPDX-License-Identifier: AGPL-3.0-or-later
"""The functions that the patches call. Each patch inserts a line or two; what they do is here, and tested here."""

from __future__ import annotations

import logging
import sys
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from pruning.checkpoint.reading import read
from pruning.errors import PruneError
from pruning.family import hooks as shared
from pruning.family.contract import Network
from pruning.family.hooks import keep_norms, sparsity_arguments
from pruning.network.width_block import BLOCK
from torch import nn

from . import structure
from .first import checked, prune_first, pruning_arguments
from .offline import published, summary_writer, want_wandb
from .ranks import ddp_place, first_rank, join_ranks

__all__ = [  # with the functions below, all that the patches call
    "checked",
    "ddp_place",
    "join_ranks",
    "keep_norms",
    "prune_first",
    "pruning_arguments",
    "published",
    "sparsity_arguments",
    "summary_writer",
    "want_wandb",
]
LOGGER = logging.getLogger("prunekit_v7")
_TRAINS = (
    "amp_on",
    "bn_l1",
    "sparsity_arguments",
    "say_if_dense",
    "summary_writer",
    "ddp_place",
    "join_ranks",
    "warmup",
    "prune_first",
    "pruning_arguments",
    "checked",
)
# Which hooks stand in which file; `pruning.family.hooked` looks before a run.
HOOKED: dict[str, tuple[str, ...]] = {
    "train.py": _TRAINS,
    "train_aux.py": _TRAINS,
    "models/yolo.py": ("keep_norms", "open_structure", "keep_structure", "divisor", "row_widths", "fit_row"),
    "utils/google_utils.py": ("published",),
    "utils/wandb_logging/wandb_utils.py": ("want_wandb",),
    "export.py": ("exported",),
    "utils/datasets.py": ("label_cache",),
}


def _say(text: str, level: int = logging.INFO) -> None:
    """One line, of the first rank only."""
    if first_rank():
        LOGGER.log(level, f"prunekit: {text}")


def amp_on(device: torch.device) -> bool:
    """Patch 2, in both train scripts: train in full precision, and say so where it changes something."""
    if device.type != "cpu":
        _say(shared.AMP_OFF)
    return False


bn_l1 = shared.penalty(_say)  # patch 3, once per optimizer step


def open_structure(d: dict[str, Any]) -> dict[str, Any]:
    """Patch 4, at the start of `parse_model`: take the guard off its YAML, refuse one that runs code."""
    return shared.opened(structure.open_structure(d), "models.yolo", evaluated=True)


def keep_structure(layers: Sequence[nn.Module], d: dict[str, Any]) -> None:
    """Patch 4, before `parse_model` returns: give the layers the pruned widths."""
    log = logging.getLogger("models.yolo")
    shared.say_kept(layers, structure.fit_layers(layers, d), lambda text: log.info(f"prunekit: {text}"))


def say_if_dense(saved: Network, built: Network, cfg: str) -> None:
    """Patch 4, after weights are loaded: a pruned network that --cfg replaces by another is announced."""
    if cfg and BLOCK in saved.yaml:
        was, now = (sum(p.numel() for p in model.parameters()) for model in (saved, built))
        if was != now:
            _say(
                f"--cfg {cfg} builds another network than the pruned one in --weights ({was:,} -> {now:,} parameters). "
                "To train the pruned one, leave --cfg out or give its pruned.yaml",
                logging.WARNING,
            )


def divisor(d: Mapping[str, Any]) -> int:
    """Patch 5, in `parse_model`: what a row's width is rounded up to a multiple of."""
    return 1 if d.get(structure.EXACT) else 8


def row_widths(args: list[Any]) -> dict[str, Any]:
    """Patch 5, before a row's module is built: take its explicit inner widths off the arguments."""
    return structure.row_widths(args)


def fit_row(block: Network, widths: dict[str, Any]) -> None:
    """Patch 5, after a row's module was built: give it those widths."""
    structure.fit_row(block, widths)


def warmup(hyp: Mapping[str, Any], iterations: int, usual: int) -> int:
    """Patch 8: iterations of warm-up: `warmup_iters` of the hyperparameters, else upstream's 1000 or more.

    Args:
        hyp: the hyperparameters; `warmup_iters` is a share of the run if below 1, else a number.
        iterations: of the whole run.
        usual: what upstream would take.
    """
    asked = hyp.get("warmup_iters")
    if asked is None:
        return usual
    return max(round(asked * iterations if asked < 1 else asked), 1)


def exported(weights: str, started: float) -> int:
    """Patch 9, at the end of export.py: its exit code, 1 if no ONNX file was written.

    Args:
        weights: as given to export.py, which names its files after them.
        started: seconds since the epoch; an older file is of another export.
    """
    stem = Path(weights.replace(".pt", ""))
    made = [f"{stem}{end}" for end in (".onnx", ".torchscript.pt", ".torchscript.ptl", ".mlmodel")]
    made = [name for name in made if Path(name).is_file() and Path(name).stat().st_mtime >= started - 1]
    if f"{stem}.onnx" in made:
        return 0
    print(
        f"error: no ONNX file was written (the reason is above); written: {', '.join(made) or 'nothing'}",
        file=sys.stderr,
    )
    return 1


def label_cache(path: Path) -> bool:
    """Patch 11, where labels are read: is there a label cache that torch wrote? Another YOLO's has the same name."""
    if not (path.is_file() and zipfile.is_zipfile(path)):
        return False
    try:
        read(path)
    except PruneError as error:
        _say(f"{path}: not read, the labels are scanned again ({error})", logging.WARNING)
        return False
    return True
