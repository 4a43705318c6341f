# SPDX-License-Identifier: AGPL-3.0-or-later
"""Upstream's train arguments on a prunekit command line: upstream's own parser reads them.

`train.py` and `segment/train.py` each build their parser where they parse, so it is caught there; every flag they
have, now or at another pin, passes through.
"""

from __future__ import annotations

import argparse
import difflib
import importlib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any, NoReturn

from pruning.errors import PruneError
from pruning.options import spelled

TRAINERS = {"detect": "train", "segment": "segment.train"}
# What the pruning run sets itself, step by step, or what prunekit's own options stand for.
OWN = ("weights", "resume", "seed", "sparsity", "sparsity_beta", "local_rank")
REFUSED = {
    "cfg": "the network comes from --weights",
    "evolve": "evolve hyperparameters with train.py first, then give them with --hyp",
}


def trainer_of(task: str) -> ModuleType:
    """Upstream's training script for a task, as a module."""
    return importlib.import_module(TRAINERS[task])


def upstream_parser(task: str) -> argparse.ArgumentParser:
    """The parser that upstream's training script would parse with."""
    trainer, original = trainer_of(task), argparse.ArgumentParser.parse_args
    argparse.ArgumentParser.parse_args = lambda self, *args, **kwargs: self  # type: ignore[assignment]
    try:
        return trainer.parse_opt()
    finally:
        argparse.ArgumentParser.parse_args = original  # type: ignore[method-assign]


def parse(
    words: Sequence[str], task: str, remembered: Mapping[str, Any], refused: Mapping[str, str] = REFUSED
) -> dict[str, Any]:
    """Turn what is left of a command line into upstream's options.

    Args:
        words: words that are not prunekit options, in order.
        task: "detect" or "segment".
        remembered: options to use where the words say nothing.
        refused: options that have no place here, each with the reason.

    Returns:
        Every option of upstream's training script, paths as text, `project` and `name` None unless they were given.

    Raises:
        PruneError: a word is not an upstream argument (the nearest one is named), or a value does not fit.
    """
    parser = upstream_parser(task)
    parser.error = _refuse  # type: ignore[method-assign]
    parser.set_defaults(**{"project": None, "name": None, **remembered})
    options, unknown = parser.parse_known_args(spelled(list(words), parser))
    if unknown:
        _unknown(unknown[0], parser)
    for key, reason in refused.items():
        if getattr(options, key, None):
            raise PruneError(f"--{key} has no place here: {reason}.")
    return {key: str(value) if isinstance(value, Path) else value for key, value in vars(options).items()}


def _refuse(message: str) -> NoReturn:
    raise PruneError(f"{message} (see --help)")


def _unknown(word: str, parser: argparse.ArgumentParser) -> NoReturn:
    if not word.startswith("-"):
        raise PruneError(f"'{word}' is not an argument: write --key value or key=value (see --help).")
    flags = [flag for action in parser._actions for flag in action.option_strings if flag.startswith("--")]
    near = difflib.get_close_matches(word.partition("=")[0], flags, 1)
    hint = f"did you mean {near[0]}?" if near else "see --help for the list."
    raise PruneError(f"{word} is neither a prunekit option nor an upstream train argument; {hint}")


def help_text(hidden: Iterable[str] = (*OWN, *REFUSED)) -> str:
    """The upstream group of `--help`: every train argument with its default; those of segment/train.py after.

    Args:
        hidden: destinations that are left out: the script has its own, or refuses them.
    """
    rows, seen = [], {"help", *hidden}
    for task in TRAINERS:
        fresh = [action for action in upstream_parser(task)._actions if action.dest not in seen]
        rows += [_row(action) + (" (segment)" if task == "segment" else "") for action in fresh]
        seen |= {action.dest for action in fresh}
    return "upstream train arguments (passed through; defaults shown):\n" + "\n".join(rows)


def _row(action: argparse.Action) -> str:
    """One argument: its flags, what it means, its default."""
    default = "" if action.default in (None, False, "") else f" [{action.default}]"
    return f"  {', '.join(action.option_strings):<28} {(action.help or '').replace('%%', '%')}{default}"
