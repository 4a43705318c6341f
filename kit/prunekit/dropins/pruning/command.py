# SPDX-License-Identifier: AGPL-3.0-or-later
"""The command lines of prune.py and prune_one_shot.py, whatever the upstream: parse, check, run, say what failed."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from . import run as engine
from .errors import PruneError
from .family import Family
from .files import locked, write_whole
from .options import Settings, add_options, normalise, settings_of
from .plan import Plan
from .state import State

USER_ERROR = 2


@dataclass(frozen=True)
class Opened:
    """A network that was found and checked, its adapter, and the folder that its run goes to (nothing is made yet)."""

    family: Family
    weights: Path
    folder: Path


class Upstream(Protocol):
    """What these command lines ask of an upstream beside its `Family`."""

    def help_text(self) -> str:
        """The upstream group of `--help`: its train arguments."""

    def open(self, weights: str, words: list[str], settings: Settings, *, trust: bool) -> Opened:
        """Find and check a network before anything is written.

        Args:
            weights: as given: a path, or a name that upstream publishes.
            words: what prunekit's parser did not know: upstream's train arguments.
            settings: the pruning settings.
            trust: load checkpoints that run code of their own.

        Raises:
            PruneError: what the user can mend.
        """

    def reopen(self, arguments: dict[str, Any], settings: Settings, *, trust: bool) -> Family:
        """The adapter of an interrupted run, from the arguments in its record."""


def guarded(program: Callable[[], Any]) -> int:
    """Run a script's body; what the user can mend ends in one line and exit code 2."""
    try:
        program()
    except PruneError as error:
        print(f"error: {error}", file=sys.stderr)
        return USER_ERROR
    except KeyboardInterrupt:
        print("interrupted: go on with --resume and the run's folder", file=sys.stderr)
        return 130
    return 0


def parser_of(description: str, defaults: Settings, upstream: Upstream) -> argparse.ArgumentParser:
    """The parser of a pruning script: prunekit's options in one group, upstream's in another."""
    parser = argparse.ArgumentParser(
        description=description, epilog=upstream.help_text(), allow_abbrev=False,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--weights", "--model", dest="weights", help="trained checkpoint to prune")
    add_options(parser, defaults)
    return parser


def prune(description: str, defaults: Settings, argv: list[str], upstream: Upstream) -> None:
    """prune.py and prune_one_shot.py: the engine's loop with the run's folder where --project and --name say."""
    parser = parser_of(description, defaults, upstream)
    options, words = parser.parse_known_args(normalise(argv, parser))
    if options.resume:
        return resume(options.resume, upstream, options.trust)
    if not options.weights:
        raise PruneError("no network given: --weights best.pt")
    settings = settings_of(options)
    opened = upstream.open(options.weights, words, settings, trust=options.trust)
    if options.plan_only:
        engine.plan_only(opened.family, opened.weights, settings, opened.folder / "plan.yaml")
        return None
    plan = replayed(options, settings)
    opened.family.check_data(opened.weights)
    engine.preflight(opened.family, opened.weights, settings, plan)
    return carry(opened, settings, plan=plan)


def resume(folder: Path, upstream: Upstream, trust: bool = False, style: engine.Style | None = None) -> None:
    """Go on with an interrupted run, by its own record."""
    state = State.load(folder)
    if state.final:
        print(f"{folder}: this run is finished ({state.status}). Its report: {folder / 'report.md'}")
        return
    family = upstream.reopen(state.arguments, state.settings, trust=trust)
    family.check(Path(state.weights))
    family.check_data(Path(state.weights))
    plan = folder / "replayed_plan.yaml"
    with locked(folder):
        engine.run(state, family, plan=Plan.load(plan) if plan.is_file() else None, style=style)


def carry(
    opened: Opened, settings: Settings, *, plan: Plan | None = None, style: engine.Style | None = None
) -> None:
    """Run a new run in its folder."""
    folder = opened.folder
    state = engine.new_run(folder, opened.family, opened.weights, settings)
    with locked(folder):
        if plan is not None:
            write_whole(folder / "replayed_plan.yaml", plan.save)
        state.save()
        print(f"Run folder: {folder} (if interrupted, go on with --resume {folder})")
        engine.run(state, opened.family, plan=plan, style=style)


def replayed(options: Any, settings: Settings) -> Plan | None:
    """The plan of --plan FILE, which is a whole step of its own."""
    if options.plan is None:
        return None
    if settings.steps != 1:
        raise PruneError("--plan replays one step: use prune_one_shot.py, or add --steps 1.")
    return Plan.load(options.plan)
