# SPDX-License-Identifier: AGPL-3.0-or-later
"""train_sparse.py, as far as it is the same for every upstream: help, where to start from, a run to go on with."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ..checkpoint.reading import door, read
from ..errors import PruneError
from ..family.contract import Family
from ..training import ddp
from .inspect_bn import done_line
from .options import Parser, normalise
from .prune import refuse_beside

TRUST = "  --trust                      load a checkpoint that runs code of its own when loaded"
LAST = "runs/train/exp/weights/last.pt"


def trained(
    description: str, argv: Sequence[str], help_text: Callable[[], str], train: Callable[[list[str]], Path]
) -> Path:
    """Upstream's training with the BN-L1 penalty on.

    Args:
        description: the script's.
        argv: the command line.
        help_text: upstream's train arguments.
        train: the training, of the command line without --trust.

    Returns:
        The last checkpoint, not the best: the most accurate epoch is one of the first, and so the least sparse.

    Raises:
        PruneError: what the user can fix, before training starts.
    """
    if "-h" in argv or "--help" in argv:
        print(description, help_text(), TRUST, sep="\n")
        raise SystemExit(0)
    with door(trust="--trust" in argv):
        last = train([word for word in argv if word != "--trust"])
    if ddp.leads():
        print(done_line(last))
    return last


def where(argv: list[str]) -> argparse.Namespace:
    """What decides which of upstream's scripts trains: the network, or the run to resume ("" if none is named)."""
    parser = Parser(add_help=False)
    for flag in ("--weights", "--cfg"):
        parser.add_argument(flag, default="")
    parser.add_argument("--resume", nargs="?", const="")
    return parser.parse_known_args(normalise(argv, parser))[0]


def of_checkpoint(where: argparse.Namespace, family: Family, find_weights: Callable[[str], Path], scratch: str) -> bool:
    """Does training start from a checkpoint, which `family` has checked then, and not from a YAML?

    Args:
        where: see `where`.
        family: the adapter, as yet without a network.
        find_weights: the file behind --weights.
        scratch: what --cfg could be.

    Raises:
        PruneError: neither is given, or the checkpoint is none.
    """
    if where.weights:
        family.check(find_weights(where.weights))
    elif not where.cfg:
        raise PruneError(f"no network given: --weights best.pt (or --cfg {scratch})")
    return bool(where.weights)


def resumable(last: str, argv: Sequence[str], family: Family) -> dict[str, Any]:
    """The checkpoint of a broken run, checked.

    Raises:
        PruneError: none is named or there, something stands beside --resume, or there is nothing to go on with.
    """
    if not last:
        raise PruneError(f"which run? --resume {LAST}")
    refuse_beside("--resume", [word for word in argv if word not in ("--resume", last, f"--resume={last}")])
    if not Path(last).is_file():
        raise PruneError(f"--resume {last}: no such file. Give the run's checkpoint: {LAST}")
    family.check(Path(last))
    checkpoint: Any = read(last, map_location="cpu")
    if not isinstance(checkpoint, dict):
        raise PruneError(f"--resume {last}: holds a network alone, not the state of a training. Give a run's last.pt")
    if checkpoint.get("optimizer") is None or checkpoint.get("epoch", -1) < 0:
        raise PruneError(f"{last}: this run is finished, or its training state is gone: there is nothing to resume")
    return checkpoint


def require_penalty(options: Mapping[str, Any], last: str, plain: str) -> None:
    """Refuse to go on with a training that had no penalty.

    Args:
        options: of the run.
        last: its checkpoint.
        plain: the command that resumes such a training.

    Raises:
        PruneError: naming that command.
    """
    if not (options.get("sparsity") or options.get("sparsity_beta")):
        raise PruneError(f"{last} was trained without a penalty: {plain}")


def say_penalty(options: Mapping[str, Any]) -> None:
    """Say with which penalty a run goes on, once it is known that it can."""
    strengths = [f"{key} {options.get(key, 0.0)}" for key in ("sparsity", "sparsity_beta")]
    print(f"Sparsity training goes on: {', '.join(strengths)}")
