# SPDX-License-Identifier: AGPL-3.0-or-later
"""Upstream's train arguments on a prunekit command line, and upstream's scripts called as a user would call them.

`train.py` and `train_aux.py` have no function that trains from arguments: all of it stands under `__main__`. So each
call runs the whole script, in a namespace of its own, with a command line: nothing of one step reaches the next.
"""

from __future__ import annotations

import argparse
import runpy
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import models
from pruning.scripts.upstream_parser import caught_parser, option_rows, parse_words, words_of

ROOT = Path(str(models.__file__)).resolve().parents[1]  # of the fork
TRAINERS = ("train.py", "train_aux.py")
# What the pruning run sets itself, step by step, or what prunekit's own options stand for.
OWN = ("weights", "resume", "sparsity", "sparsity_beta", "prune_ratio", "trust", "local_rank")
REFUSED = {"evolve": "evolve hyperparameters with train.py first, then give them with --hyp"}


def run_script(name: str, words: Sequence[str] = ()) -> None:
    """Run a script of the fork as `python NAME WORDS` would, in this process; SystemExit passes through."""
    with _argv([name, *words]):
        runpy.run_path(str(ROOT / name), run_name="__main__")


def upstream_parser(trainer: str) -> argparse.ArgumentParser:
    """The parser of `train.py` or `train_aux.py`."""
    return caught_parser(lambda: run_script(trainer))


def parse(words: Sequence[str], trainer: str, remembered: Mapping[str, Any]) -> dict[str, Any]:
    """Turn what is left of a command line into upstream's options.

    Args:
        words: words that are not prunekit options, in order.
        trainer: "train.py" or "train_aux.py".
        remembered: options to use where the words say nothing.

    Returns:
        Every option of upstream's training script, `project` and `name` None unless they were given.

    Raises:
        PruneError: a word is not an upstream argument (the nearest one is named), or a value does not fit.
    """
    defaults = {"project": None, "name": None, "cfg": "", "prune_ratio": None, **remembered}
    return parse_words(upstream_parser(trainer), words, defaults, REFUSED)


def train(trainer: str, options: Mapping[str, Any]) -> None:
    """Run upstream's training script with these options."""
    parser = upstream_parser(trainer)
    known = {key: value for key, value in options.items() if key not in ("local_rank", "resume", "prune_ratio")}
    run_script(trainer, words_of(parser, known))


def help_text() -> str:
    """The upstream group of `--help`: every train argument with its default; those of train_aux.py are among them."""
    rows = option_rows(upstream_parser("train.py"), (*OWN, *REFUSED))
    return "upstream train arguments (passed through; defaults shown):\n" + "\n".join(rows.values())


@contextmanager
def _argv(words: Sequence[str]) -> Iterator[None]:
    """`sys.argv` for a while."""
    before, sys.argv = sys.argv, list(words)
    try:
        yield
    finally:
        sys.argv = before
