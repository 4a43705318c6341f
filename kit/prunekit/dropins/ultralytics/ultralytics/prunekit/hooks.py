# SPDX-License-Identifier: AGPL-3.0-or-later
"""The functions that the patches call. Each patch inserts a line or two; what they do is here, and tested here."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import nn
from ultralytics.pruning.checkpoint import reading as checkpoint
from ultralytics.pruning.checkpoint.allowed import Rules
from ultralytics.pruning.family import hooks as shared
from ultralytics.pruning.family.hooks import keep_norms
from ultralytics.pruning.training.bn_sparsity import Reach, add_l1, gamma_strength, reach_report
from ultralytics.utils import LOGGER, RANK, colorstr

from . import structure
from .loading import load_by_list
from .releases import unwrap_model

if TYPE_CHECKING:
    from ultralytics.engine.exporter import Exporter
    from ultralytics.engine.model import Model
    from ultralytics.engine.trainer import BaseTrainer
    from ultralytics.pruning.run.outcome import Outcome

__all__ = ["keep_norms"]  # with the functions below, all that the patches call
PREFIX = colorstr("prunekit: ")
MENTION = """
    Prune a trained network (prunekit; 'yolo prune help' lists its arguments):
        yolo prune model=best.pt data=coco8.yaml target_macs=0.5 epochs=10
    """
load_by_list()

# Which hooks stand in which file; `pruning.family.hooked` looks before a run.
HOOKED: dict[str, tuple[str, ...]] = {
    "ultralytics/engine/trainer.py": ("amp_off", "bn_l1"),
    "ultralytics/nn/tasks.py": ("open_structure", "keep_structure", "adopt_structure", "open_foreign"),
    "ultralytics/utils/torch_utils.py": ("keep_norms",),
    "ultralytics/engine/exporter.py": ("fast_boxes",),
    "ultralytics/engine/model.py": ("prune",),
    "ultralytics/cfg/__init__.py": ("prune_command",),
}


def amp_off(trainer: BaseTrainer) -> None:
    """Patch 1, on every DDP rank: train in full precision."""
    if trainer.args.amp and RANK in {-1, 0}:
        LOGGER.info(f"{PREFIX}{shared.AMP_OFF}")
    trainer.args.amp = False


def bn_l1(trainer: BaseTrainer) -> None:
    """Patch 2, once per optimizer step, between clipping and the step: add the BN-L1 penalty to the gradients.

    Raises:
        PruneError: at the first step, if the penalty reaches no layer at all.
    """
    sparsity, beta = trainer.args.sparsity, trainer.args.sparsity_beta
    if not (sparsity or beta):
        return
    network: Any = trainer.model
    reach = add_l1(unwrap_model(network), gamma_strength(sparsity, trainer.epoch, trainer.epochs), beta)
    if not getattr(trainer, "bn_l1_said", False):
        trainer.bn_l1_said = True  # type: ignore[attr-defined]
        _say_reach(trainer, reach)


def _say_reach(trainer: BaseTrainer, reach: Reach) -> None:
    """Say once what the penalty does, with numbers."""
    line, warnings = reach_report(
        reach, trainer.args.sparsity, trainer.args.sparsity_beta, type(trainer.optimizer).__name__
    )
    if RANK in {-1, 0}:
        LOGGER.info(f"{PREFIX}{line}")
        for warning in warnings:
            LOGGER.warning(f"{PREFIX}{warning}")


def open_structure(d: dict[str, Any]) -> dict[str, Any]:
    """Patch 3, at the start of `parse_model`: take the guard off a pruned model's YAML, refuse one that runs code."""
    return shared.opened(structure.open_structure(d), "ultralytics.nn.tasks", evaluated=False)


def keep_structure(layers: Sequence[nn.Module], d: dict[str, Any], verbose: bool) -> None:
    """Patch 3, before `parse_model` returns: give the layers the pruned widths."""
    changed = structure.fit_layers(layers, d)
    if verbose:
        shared.say_kept(layers, changed, lambda text: LOGGER.info(f"{PREFIX}{text}"))


def open_foreign(load: Callable[..., Any], weight: str | Path, *how: Any) -> Any:
    """Patch 4, first in `torch_safe_load`, with that function: its answer, foreign split blocks read as stock blocks.

    None where upstream is to go on by itself: within the call that this makes, and for a file that is not here.
    """
    from . import adopt

    checkpoint.inherit(_rules)
    return adopt.read(load, weight, *how)


def _rules() -> Rules:
    """What checkpoints are made of; late, for it imports what imports this."""
    from .rules import RULES

    return RULES


def adopt_structure(built: nn.Module, weights: nn.Module) -> None:
    """Patch 4, in `BaseModel.load`: a network pruned elsewhere, without a width block, keeps its shape too."""
    from . import adopt

    adopt.adopt_structure(built, weights)


def fast_boxes(exporter: Exporter) -> None:
    """Patch 5, first in `Exporter.export_onnx`: boxes of an ONNX file are decoded without transposing.

    Other formats that begin with such a file hand it to a compiler of their own, which may look for the softmax. And
    upstream's INT8, in newer releases, rounds what the integral's convolution gives: wider before the division.
    """
    args = exporter.args
    in_floats = getattr(args, "quantize", None) in (None, 16, 32) and not getattr(args, "int8", False)
    if args.format.lower() == "onnx" and in_floats:
        from .decoding import integrate_boxes_fast

        integrate_boxes_fast(exporter.model)


def prune(model: Model, /, **keywords: Any) -> tuple[Model, Outcome]:
    """Patch 6, all of `Model.prune`: prune.py with these keywords for flags, on the network of `model`."""
    from . import python

    return python.prune(model, keywords)


def prune_command(words: Sequence[str]) -> bool:
    """Patch 6, early in `entrypoint`: prune if the words after `yolo` say so; False where they are upstream's.

    Raises:
        SystemExit: with the exit code, where it is not 0.
    """
    from ultralytics import cfg

    if "prune" not in words and "mode=prune" not in words:
        if MENTION not in cfg.CLI_HELP_MSG:
            cfg.CLI_HELP_MSG += MENTION
        return False
    from . import yolo_command

    if code := yolo_command.run(words):
        raise SystemExit(code)
    return True
