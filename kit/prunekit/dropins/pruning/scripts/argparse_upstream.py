# SPDX-License-Identifier: AGPL-3.0-or-later
"""The pruning scripts of an upstream whose training script has an argparse parser, as command lines and as calls."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from ..checkpoint.reading import trust_them
from ..errors import PruneError
from ..family.contract import Family, Opened
from ..family.ranges import require_arguments, require_harmless
from ..run.folders import run_folder
from ..run.outcome import Outcome
from ..settings import Settings
from ..training import ddp
from . import prune as command
from .upstream_parser import keyword_options


class ArgparseFamily(Family, Protocol):
    """A `Family` that reads its options from a command line."""

    def take(self, weights: Path, words: Sequence[str], seed: int) -> None:
        """Read upstream's options; what the words do not say is as the checkpoint remembers it.

        Raises:
            PruneError: an option that upstream does not have, or a value that does not fit.
        """


@dataclass(frozen=True)
class ArgparseUpstream:
    """Implements `pruning.family.contract.Upstream`.

    Attributes:
        family: makes the adapter, of a run's arguments (None: `take` will read them), settings and trust.
        find_weights: the file behind `--weights`.
        parsers: those of its training scripts, freshly caught.
        help_text: the upstream group of `--help`.
        train: one training, as rank 0 has told it.
        check: refuses values in the record of a run.
        own: options that the pruning run sets itself, step by step.
        numbered: upstream's own `increment_path(folder, exist_ok=...)`.
        suffix: what follows runs/prune, for a task.
    """

    family: Callable[[Mapping[str, Any] | None, Settings, bool], ArgparseFamily]
    find_weights: Callable[[str], Path]
    parsers: Callable[[], Sequence[argparse.ArgumentParser]]
    help_text: Callable[[], str]
    train: Callable[[dict[str, Any]], Any]
    check: Callable[[Mapping[str, Any]], None]
    own: Collection[str]
    numbered: Callable[..., Any]
    suffix: Callable[[Any], str] = lambda _: ""

    def open(self, weights: str, words: list[str], settings: Settings, *, trust: bool, run: str = "prune") -> Opened:
        """See `pruning.family.contract.Upstream.open`."""
        if not weights:
            raise PruneError("no network given: --weights best.pt")
        if any(word.partition("=")[0].lstrip("-").replace("_", "-") == "sparsity-beta" for word in words):
            raise PruneError("--sparsity-beta belongs to train_sparse.py; here it is as strong as --sparsity.")
        path = self.find_weights(weights)
        family = self.family(None, settings, trust)
        family.check(path)
        family.take(path, words, settings.seed)
        if settings.sparsity and family.arguments()["epochs"] == 0:
            raise PruneError("--sparsity trains, but --epochs is 0: give --epochs, or leave --sparsity out.")
        return Opened(family, path, lambda: self._run_folder(family, run))

    def reopen(self, arguments: dict[str, Any], settings: Settings, *, trust: bool) -> Family:
        """See `pruning.family.contract.Upstream.reopen`."""
        require_harmless(arguments, "report.json")
        known = [{action.dest for action in parser._actions} for parser in self.parsers()]
        require_arguments(arguments, set.intersection(*known) - {"help", *self.own})
        self.check(arguments)
        return self.family(arguments, settings, trust)

    def run(self, keywords: Mapping[str, Any], defaults: Settings) -> Outcome | None:
        """`prune.run(...)`: the command line that the keywords stand for."""
        known = keyword_options(*self.parsers())
        return self.prune("", command.called(keywords, defaults, self, known), defaults=defaults)

    def prune(self, description: str, argv: list[str], *, defaults: Settings) -> Outcome | None:
        """All pruning scripts. Under torch.distributed.run rank 0 prunes, all train, and the others answer None."""
        if not ddp.leads():
            if "--trust" in argv:
                trust_them()
            ddp.follow(self.train)
            return None
        with ddp.leading():
            return command.prune(description, defaults, argv, self)

    def _run_folder(self, family: Family, run: str) -> Path:
        """Where a run goes: --project / --name, else runs/prune/exp."""
        given = family.arguments()
        base = Path(given["project"] or f"runs/{run}{self.suffix(family)}") / (given["name"] or "exp")
        return run_folder(base, lambda taken: self.numbered(taken, exist_ok=bool(given["exist_ok"])))
