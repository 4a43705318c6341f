# SPDX-License-Identifier: AGPL-3.0-or-later
"""The pruning scripts for YOLOv7, as command lines and as calls."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pruning.checkpoint.reading import trust_them
from pruning.errors import PruneError
from pruning.family.contract import Opened
from pruning.family.ranges import require_arguments, require_harmless
from pruning.run.folders import run_folder
from pruning.run.outcome import Outcome
from pruning.scripts import prune as command
from pruning.settings import Settings
from pruning.training import ddp as ranks
from utils.general import increment_path
from utils.google_utils import attempt_download

from . import arguments
from .adapter import Yolov7
from .arguments import OWN, TRAINERS, help_text, parse, train
from .data import check_values
from .offline import PUBLISHED


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
            raise PruneError("--sparsity-beta belongs to train.py; here it is as strong as --sparsity.")
        path = find_weights(weights)
        family = Yolov7(trust=trust)
        family.check(path)
        family.take(path, _without_seed(words))
        if settings.sparsity and family.arguments()["epochs"] == 0:
            raise PruneError("--sparsity trains, but --epochs is 0: give --epochs, or leave --sparsity out.")
        return Opened(family, path, lambda: _run_folder(family, run))

    def reopen(self, arguments: dict[str, Any], settings: Settings, *, trust: bool) -> Yolov7:
        """See `pruning.family.contract.Upstream.reopen`."""
        require_harmless(arguments, "report.json")
        known = [parse([], trainer, {}).keys() for trainer in TRAINERS]
        require_arguments(arguments, set.intersection(*map(set, known)) - {*OWN})
        check_values(arguments)
        return Yolov7(arguments, trust=trust)


def run(keywords: Mapping[str, Any], defaults: Settings) -> Outcome | None:
    """`prune.run(...)`: the command line that the keywords stand for."""
    return prune("", defaults, command.called(keywords, defaults, Upstream(), arguments.keywords()))


def prune(description: str, defaults: Settings, argv: list[str]) -> Outcome | None:
    """All pruning scripts. Under torch.distributed.run rank 0 prunes, all ranks train, and the others answer None."""
    if not ranks.leads():
        if "--trust" in argv:
            trust_them()
        ranks.follow(lambda told: train(told["trainer"], told["options"]))
        return None
    with ranks.leading():
        return command.prune(description, defaults, argv, Upstream())


def find_weights(name: str) -> Path:
    """The file behind `--weights`, as `pruning.scripts.prune.find_weights` finds it."""
    return command.find_weights(name, PUBLISHED.__contains__, attempt_download)


def _without_seed(words: list[str]) -> list[str]:
    """The words without `--seed N`: train.py has a seed of its own that cannot be changed."""
    if "--seed" not in words:
        return words
    at = words.index("--seed")
    print(f"--seed {words[at + 1]} counts for the ranking of channels; YOLOv7 trains with a seed of its own")
    return words[:at] + words[at + 2 :]


def _run_folder(family: Yolov7, run: str) -> Path:
    """Where a run goes: --project / --name, else runs/prune/exp."""
    given = family.arguments()
    base = Path(given["project"] or f"runs/{run}") / (given["name"] or "exp")
    return run_folder(base, lambda taken: Path(increment_path(taken, exist_ok=bool(given["exist_ok"]))))
