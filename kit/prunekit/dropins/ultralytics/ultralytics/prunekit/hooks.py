# SPDX-License-Identifier: AGPL-3.0-or-later
"""The functions that the patches call. Each patch inserts a line or two; what they do is here, and tested here."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from torch import nn
from ultralytics.pruning.bn import Reach, add_l1, gamma_strength
from ultralytics.pruning.errors import PruneError
from ultralytics.utils import LOGGER, RANK, colorstr
from ultralytics.utils.torch_utils import unwrap_model

from . import structure
from .differences import fit_norms

if TYPE_CHECKING:
    from ultralytics.engine.trainer import BaseTrainer

PREFIX = colorstr("prunekit: ")
# These divide a gradient by its own running size, so the strength of a constant sign(gamma) cancels out.
ADAPTIVE = frozenset({"Adam", "Adamax", "AdamW", "NAdam", "RAdam", "RMSprop"})


def amp_off(trainer: BaseTrainer) -> None:
    """Patch 1, on every DDP rank: train in full precision."""
    if trainer.args.amp and RANK in {-1, 0}:
        LOGGER.info(f"{PREFIX}AMP is off (half-precision gradients hide the BN-L1 penalty and upset small networks)")
    trainer.args.amp = False


def bn_l1(trainer: BaseTrainer) -> None:
    """Patch 2, once per optimizer step, between clipping and the step: add the BN-L1 penalty to the gradients.

    Raises:
        PruneError: at the first step, if the penalty reaches no layer at all.
    """
    sparsity, beta = trainer.args.sparsity, trainer.args.sparsity_beta
    if not (sparsity or beta):
        return
    reach = add_l1(unwrap_model(trainer.model), gamma_strength(sparsity, trainer.epoch, trainer.epochs), beta)
    if not getattr(trainer, "bn_l1_said", False):
        trainer.bn_l1_said = True
        _say_reach(trainer, reach)


def _say_reach(trainer: BaseTrainer, reach: Reach) -> None:
    """Say once what the penalty does, with numbers."""
    sparsity, beta = trainer.args.sparsity, trainer.args.sparsity_beta
    missed = f"{reach.frozen} frozen, {reach.without_gradient} without a gradient"
    if not reach.reached:
        raise PruneError(
            f"sparsity={sparsity} sparsity_beta={beta} has no effect: of {reach.layers} BatchNorm layers, {missed}. "
            "Unfreeze layers (freeze=), use a network that is not fused, or set both to 0"
        )
    if RANK not in {-1, 0}:
        return
    LOGGER.info(f"{PREFIX}BN-L1 {sparsity} on gamma, {beta} on beta of {reach.reached}/{reach.layers} BatchNorm layers")
    if reach.reached < reach.layers:
        LOGGER.warning(f"{PREFIX}BN-L1 does not reach {reach.layers - reach.reached} BatchNorm layers: {missed}")
    name = type(trainer.optimizer).__name__
    if name in ADAPTIVE:
        LOGGER.warning(
            f"{PREFIX}{name} rescales gradients, so the strength of BN-L1 ({sparsity}) hardly matters and its effect "
            "is about one learning rate per step: use optimizer=SGD for sparsity training"
        )


def open_structure(d: dict[str, Any]) -> dict[str, Any]:
    """Patch 3, at the start of `parse_model`: take the guard off a pruned model's YAML."""
    return structure.open_structure(d)


def keep_structure(layers: Sequence[nn.Module], d: dict[str, Any], verbose: bool) -> None:
    """Patch 3, before `parse_model` returns: give the layers the pruned widths."""
    changed = structure.fit_layers(layers, d)
    if changed and verbose:
        total = sum(p.numel() for layer in layers for p in layer.parameters())
        LOGGER.info(f"{PREFIX}pruned structure kept: {changed} layers resized, {total:,} parameters")


def keep_norms(model: nn.Module) -> None:
    """Patch 3, after `initialize_weights`, which resets eps and momentum of every BatchNorm."""
    block = (getattr(model, "yaml", None) or {}).get(structure.BLOCK)
    if block:
        fit_norms(model, block)


def open_foreign(load: Callable[[], Any], file: str) -> Callable[[], Any]:
    """Patch 4, around the unpickling in `torch_safe_load`: read split blocks of other scripts as stock blocks."""
    from . import adopt

    return adopt.reading(load, file)


def adopt_structure(built: nn.Module, weights: nn.Module) -> None:
    """Patch 4, in `BaseModel.load`: a network pruned elsewhere, without a width block, keeps its shape too."""
    from . import adopt

    adopt.adopt_structure(built, weights)
