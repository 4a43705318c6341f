# SPDX-License-Identifier: AGPL-3.0-or-later
"""prune.py and prune_one_shot.py for YOLOv5, as command lines and as calls."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pruning.checkpoint.reading import trust_them
from pruning.errors import PruneError
from pruning.family.contract import Opened
from pruning.family.ranges import check_numbers, require_arguments, require_harmless
from pruning.run.folders import run_folder
from pruning.run.outcome import Outcome
from pruning.scripts import prune as command
from pruning.settings import Settings
from pruning.training import ddp as ranks
from utils.general import increment_path

from . import arguments
from .adapter import Yolov5, find_weights, train
from .arguments import OWN, TRAINERS, help_text, parse
from .checks import LEAST

SUFFIXES = {"detect": "", "segment": "-seg"}


class Upstream:
    """Implements `pruning.family.contract.Upstream`."""

    def help_text(self) -> str:
        """See `pruning.family.contract.Upstream.help_text`."""
        return help_text()

    def open(self, weights: str, words: list[str], settings: Settings, *, trust: bool, run: str = "prune") -> Opened:
        """See `pruning.family.contract.Upstream.open`."""
        if not weights:
            raise PruneError("no network given: --weights best.pt")
        if any(word.partition("=")[0].lstrip("-").replace("_", "-") == "sparsity-beta" for word in words):
            raise PruneError("--sparsity-beta belongs to train_sparse.py; here it is as strong as --sparsity.")
        path = find_weights(weights)
        family = Yolov5(head=settings.head, trust=trust)
        family.check(path)
        family.take(path, words, settings.seed)
        if settings.sparsity and family.arguments()["epochs"] == 0:
            raise PruneError("--sparsity trains, but --epochs is 0: give --epochs, or leave --sparsity out.")
        return Opened(family, path, lambda: _run_folder(family, run))

    def reopen(self, arguments: dict[str, Any], settings: Settings, *, trust: bool) -> Yolov5:
        """See `pruning.family.contract.Upstream.reopen`."""
        require_harmless(arguments, "report.json")
        known = [parse([], task, {}).keys() for task in TRAINERS]
        require_arguments(arguments, set.intersection(*map(set, known)) - {*OWN})
        check_numbers(arguments, LEAST)
        return Yolov5(arguments, head=settings.head, trust=trust)


def run(keywords: Mapping[str, Any], defaults: Settings) -> Outcome | None:
    """`prune.run(...)`: the command line that the keywords stand for."""
    return prune("", command.called(keywords, defaults, Upstream(), arguments.keywords()), defaults=defaults)


def prune(description: str, argv: list[str], *, defaults: Settings) -> Outcome | None:
    """prune.py and prune_one_shot.py; under torch.distributed.run rank 0 prunes, all train (the others answer None)."""
    if not ranks.leads():
        if "--trust" in argv:
            trust_them()
        ranks.follow(lambda told: train(told["task"], told["options"]))
        return None
    with ranks.leading():
        return command.prune(description, defaults, argv, Upstream())


def _run_folder(family: Yolov5, run: str) -> Path:
    """Where a run goes: --project / --name, else runs/prune/exp."""
    given = family.arguments()
    base = Path(given["project"] or f"runs/{run}{SUFFIXES[family.task]}") / (given["name"] or "exp")
    return run_folder(base, lambda taken: increment_path(taken, exist_ok=bool(given["exist_ok"])))
