# SPDX-License-Identifier: AGPL-3.0-or-later
"""The pruning scripts of toydet."""

from __future__ import annotations

from argparse import Namespace
from itertools import count
from pathlib import Path

import train
from pruning.family.ranges import check_numbers
from pruning.scripts.argparse_upstream import ArgparseUpstream
from pruning.scripts.prune import find_weights
from pruning.scripts.upstream_parser import option_rows

from .adapter import LEAST, Toydet, parser

OWN = ("weights", "sparsity", "sparsity_beta")


def numbered(folder: Path, exist_ok: bool) -> Path:
    """The folder, or the next that is free: this upstream numbers none."""
    names = (folder if n == 1 else folder.with_name(f"{folder.name}{n}") for n in count(1))
    return folder if exist_ok else next(name for name in names if not name.exists())


UPSTREAM = ArgparseUpstream(
    family=lambda given, _, trust: Toydet(given, trust=trust),
    find_weights=lambda name: find_weights(name, lambda _: False, lambda _: None),
    parsers=lambda: [parser()],
    help_text=lambda: "\n".join(option_rows(parser(), (*OWN, "cfg")).values()),
    train=lambda told: train.train(Namespace(**told)),
    check=lambda arguments: check_numbers(arguments, LEAST),
    own=OWN,
    numbered=numbered,
)
prune, run = UPSTREAM.prune, UPSTREAM.run
