# SPDX-License-Identifier: AGPL-3.0-or-later
"""What the families' hook modules share. The patches call those modules by path; what is the same for all is here."""

from __future__ import annotations

import sys
from argparse import ArgumentParser
from collections.abc import Callable, Sequence
from typing import Any

from torch import nn
from torch.optim import Optimizer

from ..checkpoint import reading
from ..checkpoint.yaml_rows import require_rows
from ..network.differences import fit_norms
from ..network.width_block import BLOCK
from ..training.bn_sparsity import penalise
from .contract import Network

AMP_OFF = "AMP is off (half-precision gradients hide the BN-L1 penalty and upset small networks)"


def sparsity_arguments(parser: ArgumentParser) -> None:
    """--sparsity and --sparsity-beta, beside the arguments of a training script."""
    about = "prunekit: BN-L1 on {} (sparse training: 0.01)"
    parser.add_argument("--sparsity", type=float, default=0.0, help=about.format("gamma"))
    parser.add_argument("--sparsity-beta", type=float, default=0.0, help=about.format("beta"))


def penalty(say: Callable[..., None]) -> Callable[..., None]:
    """What a training calls once per optimizer step, between clipping and the step: `hooks.bn_l1`.

    It takes the network, upstream's options, epoch, epochs and the optimizer, and adds the BN-L1 penalty to the
    gradients. At the first step it raises PruneError if the penalty reaches no layer at all.

    Args:
        say: one line, with the level of a log if it is a warning.
    """

    def bn_l1(model: Network, opt: Any, epoch: int, epochs: int, optimizer: Optimizer) -> None:
        penalise(model, opt, epoch, epochs, optimizer, say)

    return bn_l1


def opened(d: dict[str, Any], module: str, *, evaluated: bool) -> dict[str, Any]:
    """`d`, its guard taken off, unless building from it would run code.

    Args:
        d: a network's YAML as the parser gets it, opened.
        module: that of upstream's `parse_model`, which finds its rows' modules by name there.
        evaluated: does upstream evaluate the rows' arguments as Python?

    Raises:
        PruneError: naming the row.
    """
    if not reading.trusted():
        require_rows(d, vars(sys.modules[module]), reading.known(), evaluated=evaluated)
    return d


def say_kept(layers: Sequence[nn.Module], changed: int, say: Callable[[str], None]) -> None:
    """Say that layers have been given the pruned widths, if any were."""
    if changed:
        total = sum(p.numel() for layer in layers for p in layer.parameters())
        say(f"pruned structure kept: {changed} layers resized, {total:,} parameters")


def keep_norms(model: Network) -> None:
    """After `initialize_weights`, which resets eps and momentum of every BatchNorm."""
    block = (getattr(model, "yaml", None) or {}).get(BLOCK)
    if block:
        fit_norms(model, block)
