# SPDX-License-Identifier: AGPL-3.0-or-later
"""Upstream's train arguments on a prunekit command line: the parsers of `train.py` and `segment/train.py` read them."""

from __future__ import annotations

import argparse
import importlib
from collections.abc import Iterable, Mapping, Sequence
from types import ModuleType
from typing import Any

from pruning.scripts.upstream_parser import caught_parser, option_rows, parse_words

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
    return caught_parser(trainer_of(task).parse_opt)


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
    defaults = {"project": None, "name": None, **remembered}
    return parse_words(upstream_parser(task), words, defaults, refused)


def help_text(hidden: Iterable[str] = (*OWN, *REFUSED)) -> str:
    """The upstream group of `--help`: every train argument with its default; those of segment/train.py after.

    Args:
        hidden: destinations that are left out: the script has its own, or refuses them.
    """
    rows = option_rows(upstream_parser("detect"), (*hidden,))
    more = option_rows(upstream_parser("segment"), (*hidden, *rows))
    lines = [*rows.values(), *(f"{row} (segment)" for row in more.values())]
    return "upstream train arguments (passed through; defaults shown):\n" + "\n".join(lines)
