# SPDX-License-Identifier: AGPL-3.0-or-later
"""What an adapter takes as it is where its upstream is like the others: functions, never a base class.

Those with `self` are members of `pruning.family.contract.Family`: an adapter writes `tracing = defaults.tracing` in its
class body. The rest are the parts that its own members are made of.
"""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from ..checkpoint.network_form import HINT
from ..errors import PruneError
from ..failures import reason_of
from ..network.modes import modes_kept
from ..network.width_block import yaml_text
from ..scratch import temporary_folder
from .contract import Network
from .data_check import check_readable, rehearse

GAINS = ("box", "obj", "cls")  # of the three losses of an anchor-based detector
STALE = ("best_fitness", "ema", "updates", "optimizer")  # what a checkpoint carries of a training's progress


@contextmanager
def tracing(self: Any, model: nn.Module) -> Iterator[None]:
    """See `Family.tracing`: training mode, in which a head gives its convolutions' outputs, of every branch it has."""
    with modes_kept(model):
        model.train()
        yield


def dropped(self: Any, model: nn.Module) -> Sequence[str]:
    """See `Family.dropped`: none that is counted."""
    return ()


def stacks(self: Any, model: nn.Module) -> Mapping[str, str]:
    """See `Family.stacks`: none."""
    return {}


def gains(self: Any, weights: Path) -> Mapping[str, float]:
    """See `Family.gains`: the training script leaves its hyperparameters, scaled to the task, on the network."""
    hyp = getattr(self.load(weights), "hyp", None) or {}
    return {key: float(hyp[key]) for key in GAINS if key in hyp}


@contextmanager
def opening(weights: Path, otherwise: Callable[[], Any] = lambda: None) -> Iterator[None]:
    """Within it, whatever upstream makes of a file that it cannot load is one line.

    Args:
        weights: the file.
        otherwise: looks at the file by other means, and may say better what is wrong with it.

    Raises:
        PruneError: naming the file.
    """
    try:
        yield
    except PruneError:
        raise
    except Exception as error:
        otherwise()
        raise PruneError(f"{weights}: upstream cannot load it ({reason_of(error)}).") from error


@contextmanager
def quiet(logger: logging.Logger) -> Iterator[None]:
    """Upstream's log from warnings up."""
    level = logger.level
    logger.setLevel(logging.WARNING)
    try:
        yield
    finally:
        logger.setLevel(level)


def refuse_fused(fused: bool, source: object) -> None:
    """PruneError for a network that has lost its BatchNorms; `source` names it."""
    if fused:
        raise PruneError(
            f"{source}: a fused network (batch normalisation folded away) cannot be trained again, so pruning it makes "
            f"no sense. {HINT}"
        )


def require_classes(own: int, classes: int, weights: Path, data: object, single: str, train: str) -> None:
    """PruneError where the network has another number of classes than its data set.

    Args:
        own: of the network.
        classes: of the data set.
        weights, data: their files.
        single: the option under which all classes count as one.
        train: the command that trains the network on this data.
    """
    if own != classes:
        hint = f"Give the data set it was trained on, or train it on this one first: {train}"
        if own == 1:
            hint += f". If all classes count as one, add {single}."
        raise PruneError(
            f"{weights} has {own} class{'' if own == 1 else 'es'}, {data} {classes}: accuracy could not be compared. "
            + hint
        )


def look_at_data(losses: Callable[[], Iterator[Tensor]], images: Callable[[], Any], epochs: int, data: str) -> None:
    """A training batch through the loss before hours of work; where nothing will be trained, images alone.

    Raises:
        PruneError: what is wrong with the data.
    """
    if epochs != 0:
        rehearse(losses(), data)
    else:
        check_readable(images(), data)


def fresh(checkpoint: Mapping[str, Any], model: Network, stale: Sequence[str] = STALE) -> dict[str, Any]:
    """A checkpoint of `model` with the metadata of another one, from which a training begins again."""
    return {**checkpoint, **dict.fromkeys(stale), "epoch": -1, "model": model.requires_grad_(False)}


def write_structure(structure: Mapping[str, Any], target: Path, how: str) -> None:
    """Write a closed structure as YAML; `how` says what a fork builds it with."""
    head = f"# Architecture of a pruned network; a prunekit fork builds it: {how}\n"
    target.write_text(head + yaml_text(structure), encoding="utf-8")


def trained(folder: Path, sparsity: float) -> Path:
    """The checkpoint that a training into `folder` is for: its best, under a penalty its last (`Family.finetune`)."""
    best, last = (folder / "weights" / name for name in ("best.pt", "last.pt"))
    return best if best.exists() and not sparsity else last


def export_copy(weights: Path, target: Path, export: Callable[[Path], Any], hint: str = "its log is above") -> None:
    """Export by way of a scratch copy: upstreams write their files beside the checkpoint, and under its name.

    Args:
        weights: the checkpoint.
        target: the ONNX file to write.
        export: upstream's, of a checkpoint; SystemExit says nothing, for a file says more.
        hint: what to look at where no file was written.

    Raises:
        PruneError: upstream wrote none.
    """
    with temporary_folder() as folder:
        copy = Path(folder) / "export.pt"
        shutil.copyfile(weights, copy)
        export(copy)
        made = copy.with_suffix(".onnx")
        if not made.is_file():  # upstreams report a failure and go on
            raise PruneError(f"{weights}: upstream's ONNX export wrote no file ({hint}).")
        shutil.copyfile(made, target)
