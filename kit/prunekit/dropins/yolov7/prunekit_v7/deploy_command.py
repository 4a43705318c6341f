# SPDX-License-Identifier: AGPL-3.0-or-later
"""The command line of reparameterize.py."""

from __future__ import annotations

import argparse
from pathlib import Path

from pruning.errors import PruneError
from pruning.files import write_whole
from pruning.scripts.options import Parser, normalise

from .adapter import Yolov7, write_checkpoint
from .deploy import TOLERANCE, apart, deployed
from .main import find_weights


def reparameterize(description: str, argv: list[str]) -> None:
    """reparameterize.py: fold, compare, write.

    Raises:
        PruneError: nothing to fold, or the two forms differ.
    """
    options = _parsed(description, argv)
    weights = find_weights(options.weights)
    target = options.output or weights.with_name(f"{weights.stem}_deploy.pt")
    if target.resolve() == weights.resolve():
        raise PruneError(f"--output {target} is the network itself: give another name.")
    family = Yolov7(trust=options.trust)
    family.check(weights)
    model = family.load(weights).eval()
    new = deployed(model)
    error = apart(model, new)
    if not error <= TOLERANCE:
        raise PruneError(f"{weights}: the deploy form differs by {error:.2e} of the largest output: not written.")
    write_whole(target, lambda scratch: write_checkpoint(new, weights, scratch))
    was, now = (sum(p.numel() for p in each.parameters()) for each in (model, new))
    print(f"Written: {target}: {was:,} -> {now:,} parameters, outputs within {error:.1e} of the largest")


def _parsed(description: str, argv: list[str]) -> argparse.Namespace:
    parser = Parser(description=description)
    add = parser.add_argument
    add("--weights", "--weight", dest="weights", required=True, metavar="PT", help="trained network, dense or pruned")
    add("--output", type=Path, metavar="PT", help="file to write (default: NAME_deploy.pt beside it)")
    add("--trust", action="store_true", help="load a checkpoint that runs code of its own when loaded")
    return parser.parse_args(normalise(argv, parser))
