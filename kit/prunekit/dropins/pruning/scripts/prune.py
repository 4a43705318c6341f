# SPDX-License-Identifier: AGPL-3.0-or-later
"""The command lines of prune.py and prune_one_shot.py, whatever the upstream: parse, check, run, say what failed."""

from __future__ import annotations

import argparse
import contextlib
import io
import logging
import os
import select
import shlex
import signal
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from ..checkpoint.reading import door
from ..errors import NoData, PruneError
from ..failures import explained
from ..family.contract import Opened, Upstream
from ..files import LOCK, copy_whole, digest_of, locked, write_whole
from ..planning.depth import BlockEntry
from ..planning.plan import Plan
from ..planning.plan_file import read_plan, write_plan
from ..run import loop as engine
from ..run.carry_out import Pruned
from ..run.depth import Shallow, tried
from ..run.finetune import require_one_process
from ..run.folders import BEGUN, PLAN, REPLAYED, TABLE, claimed, take_back
from ..run.latency_target import resolved
from ..run.outcome import Outcome, outcome_of, outcome_of_plan
from ..run.preview import plan_only
from ..run.record import State
from ..run.repair_step import ranked, settled
from ..run.untrained import at_once, nearest
from ..settings import Settings
from .keywords import option_words, words_from
from .options import Parser, add_options, chosen, normalise, settings_of, typed

USER_ERROR = PruneError.exit_code


def guarded(program: Callable[[], Any], interrupted: str = "nothing was begun") -> int:
    """Run a script's body; whatever ends it is one line and exit code 2 (or the error's own).

    Args:
        program: the body.
        interrupted: what to type next after Ctrl-C, unless the interrupt itself says so.
    """
    logging.raiseExceptions = False  # upstream's logger would print a traceback for each line that nobody reads
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # a file's name may be no UTF-8
    try:
        with door(), _flushed():
            program()
    except Exception as error:  # noqa: BLE001 - whatever it is: one line, and a log for what nobody expected
        if isinstance(error, OSError) and _unread(error):
            return 128 + signal.SIGPIPE
        print(f"error: {explained(error)}", file=sys.stderr)
        return getattr(error, "exit_code", USER_ERROR)
    except KeyboardInterrupt as stop:
        print(f"interrupted: {str(stop) or interrupted}", file=sys.stderr)
        return 130
    return 0


@contextlib.contextmanager
def _flushed() -> Iterator[None]:
    """Write out what is held back, after `--help` too: at Python's own end it would be too late to say nothing."""
    try:
        yield
    except SystemExit:
        sys.stdout.flush()
        raise
    sys.stdout.flush()


def _unread(error: OSError) -> bool:
    """True if it is our output that nobody reads any more, as after `| head`; the rest of it goes nowhere then."""
    if not isinstance(error, BrokenPipeError):
        return False
    asked, closed = select.poll(), False
    for stream in (1, 2):
        asked.register(stream, 0)
    for stream, state in asked.poll(0):
        if state & select.POLLERR:
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream)
            closed = True
    return closed


def require_own(root: Path) -> None:
    """Make sure that the `pruning` in use is the one of the fork at `root`.

    Raises:
        PruneError: naming what was found and what to type.
    """
    found = Path(__file__).resolve().parents[2]
    if found != root:
        raise PruneError(f"this script belongs to the fork {root}, but Python imported {found / 'pruning'}. cd {root}")


def find_weights(name: str, published: Callable[[str], object], download: Callable[[str], object]) -> Path:
    """The file behind `--weights`: a path, or the name of a published checkpoint that upstream downloads.

    Args:
        name: as typed.
        published: is this the name of a checkpoint that upstream publishes?
        download: upstream's own, into the current folder.

    Raises:
        PruneError: neither.
    """
    path = Path(name)
    if path.suffix in (".yaml", ".yml"):
        raise PruneError(f"--weights {name}: pruning needs trained weights. Train first: python train.py --cfg {name}")
    if not path.is_file() and path.name == name and published(name):
        download(name)
        if not path.is_file():
            raise PruneError(f"--weights {name}: not here, and downloading it failed (its log is above).")
    if not path.is_file():
        raise PruneError(f"--weights {name}: no such file. Give a trained checkpoint: runs/train/exp/weights/best.pt")
    return path


def parser_of(description: str, defaults: Settings, upstream: Upstream) -> argparse.ArgumentParser:
    """The parser of a pruning script: prunekit's options in one group, upstream's in another."""
    parser = Parser(description=description, epilog=upstream.help_text())
    parser.add_argument("--weights", "--model", dest="weights", help="trained checkpoint to prune")
    add_options(parser, defaults)
    return parser


def prune(
    description: str, defaults: Settings, argv: list[str], upstream: Upstream, watch: engine.Watch = engine.unwatched
) -> Outcome:
    """prune.py and prune_one_shot.py: the engine's loop with the run's folder where --project and --name say."""
    parser = parser_of(description, defaults, upstream)
    options, words = parser.parse_known_args(normalise(argv, parser))
    if options.resume:
        refuse_beside("--resume", [*typed(options, parser, ("resume", "trust", "export")), *words])
        return resume(options.resume, upstream, trust=options.trust, export=options.export, watch=watch)
    if options.plan:
        decided = (
            "plan",
            "weights",
            "seed",
            "trust",
            "export",
            "ignore",
            "head",
            "sparsity",
            "steps",
            "schedule",
            "repair",
        )
        refuse_beside("--plan", typed(options, parser, decided))
        options.steps = 1
    settings = settings_of(options, defaults)
    opened, settings = open_network(options, words, settings, upstream)
    settings = at_once(opened.family, settings, chosen(options))
    plan = read_plan(options.plan) if options.plan else None
    opened.choose()  # refuses a place where no folder can be
    require_one_process(opened.family, settings)
    without = ""
    try:
        opened.family.check_data(opened.weights)
    except NoData as error:
        if not options.plan_only:
            raise
        without = str(error)
    latency: dict[str, Any] = {}
    pruned: Pruned | None = None
    if plan is None:
        settings = ranked(opened.family, opened.weights, settings, chosen(options))
    else:
        settings = replace(settings, importance=plan.criterion, scope=plan.scope)
    with tried(opened.family, opened.weights, settings, plan.blocks if plan else ()) as shallow:
        if plan is None and not without:
            settings, pruned = nearest(opened.family, opened.weights, settings, chosen(options), shallow)
        if settings.target_latency is not None:
            settings, latency = resolved(opened.family, opened.weights, settings, options.runtime, shallow=shallow)
        if options.plan_only:
            return outcome_of_plan(*preview(opened, settings, without, shallow, pruned))
        plan = engine.preflight(opened.family, opened.weights, settings, plan, shallow)
    blocks = shallow.blocks if shallow else ()
    return carry(opened, settings, plan=plan, pruned=pruned, latency=latency, watch=watch, blocks=blocks)


def open_network(
    options: argparse.Namespace, words: list[str], settings: Settings, upstream: Upstream, run: str = "prune"
) -> tuple[Opened, Settings]:
    """The network of a parsed command line, opened by upstream; the settings with the seed that counts."""
    seeded = words if options.seed is None else [*words, "--seed", str(options.seed)]
    opened = upstream.open(options.weights or "", seeded, settings, trust=options.trust, run=run)
    return opened, settings if opened.seed is None else replace(settings, seed=opened.seed)


def called(
    keywords: Mapping[str, Any], defaults: Settings, upstream: Upstream, known: Mapping[str, argparse.Action]
) -> list[str]:
    """The command line that a program's keywords stand for, where upstream's arguments are argparse options, too."""
    parser = parser_of("", defaults, upstream)
    return words_from(keywords, parser, known, lambda key, value: option_words(key, known[key], value))


def preview(
    opened: Opened,
    settings: Settings,
    without: str = "",
    shallow: Shallow | None = None,
    pruned: Pruned | None = None,
) -> tuple[Plan, Path]:
    """--plan-only: a folder with the plan alone, and its file; `without` says why no data set is used."""
    with claimed(opened.choose) as (folder, made):
        try:
            target = folder / PLAN
            plan = plan_only(
                opened.family, opened.weights, settings, target, without=without, shallow=shallow, tried=pruned
            )
        except BaseException:  # Ctrl-C, too: there is nothing to go on with
            if made:
                take_back(folder, made)
            raise
        finally:
            (folder / LOCK).unlink(missing_ok=True)
    return plan, folder / PLAN


def refuse_beside(flag: str, words: list[str]) -> None:
    """PruneError if anything stands beside an option that settles everything by itself."""
    if words:
        why = "goes on with the run's own settings" if flag == "--resume" else "decides the widths by itself"
        raise PruneError(f"{flag} {why}: leave out {' '.join(words)}.")


def resume(
    folder: Path,
    upstream: Upstream,
    *,
    trust: bool = False,
    export: bool = True,
    style: engine.Style | None = None,
    watch: engine.Watch = engine.unwatched,
) -> Outcome:
    """Go on with an interrupted run, by its own record.

    Raises:
        PruneError: no run, or its first network is gone or has changed.
    """
    if not (state := State.load(folder)).final:  # a lock makes the folder: only for what holds a run
        with locked(folder):
            state = State.load(folder)  # again: until the lock was ours, another process may have gone on with it
            if not state.final:
                return _gone_on(state, upstream, trust=trust, export=export, style=style, watch=watch)
    print(f"{folder}: this run is finished ({state.status}). Its report: {folder / 'report.md'}")
    return outcome_of(state)


def require_unchanged(weights: Path, digest: str) -> None:
    """PruneError unless the file that a run began with is there, as it was ("": its digest was not recorded)."""
    if not weights.is_file() or digest not in ("", digest_of(weights)):
        what = "has changed since" if weights.is_file() else "is gone:"
        raise PruneError(f"{weights} {what} the run began with it. Put that file back, or begin a new run.")


def _gone_on(
    state: State, upstream: Upstream, *, trust: bool, export: bool, style: engine.Style | None, watch: engine.Watch
) -> Outcome:
    """Check what the record of a locked run names, and carry it to its end."""
    weights = Path(state.weights)
    require_unchanged(weights, state.digest)
    if not export:
        state.settings = replace(state.settings, export=False)
    family = upstream.reopen(state.arguments, state.settings, trust=trust)
    family.check(weights)
    for step in state.checkpoints():
        family.check(step)
    family.check_data(weights)
    plan = read_plan(state.folder / state.plan) if state.plan else None
    with _told_how_to_go_on(state.folder):
        return outcome_of(engine.run(state, family, plan=plan, style=style, watch=watch))


@contextlib.contextmanager
def _told_how_to_go_on(folder: Path) -> Iterator[None]:
    """Ctrl-C in a run names its folder, which may be hundreds of lines up; a deployment names its own afterwards."""
    try:
        yield
    except KeyboardInterrupt:
        raise KeyboardInterrupt(f"go on with: python prune.py --resume {shlex.quote(str(folder))}") from None


def carry(
    opened: Opened,
    settings: Settings,
    *,
    plan: Plan | None = None,
    pruned: Pruned | None = None,
    style: engine.Style | None = None,
    latency: dict[str, Any] | None = None,
    watch: engine.Watch = engine.unwatched,
    blocks: Sequence[BlockEntry] = (),
    whole: Path | None = None,
) -> Outcome:
    """Run a new run in its folder; `latency` is what --target-latency has measured, `blocks` lose bottlenecks first.

    `pruned` is what a trial has made in memory of the dense network.
    `whole` is the folder that --resume wants where the run is a part of something larger.
    """
    settings = settled(opened.family, opened.weights, settings)
    with claimed(opened.choose) as (folder, made):
        state = engine.new_run(folder, opened.family, opened.weights, settings, blocks)
        state.latency = latency or {}
        before = {place: place.read_bytes() for place in (folder / name for name in BEGUN) if place.is_file()}
        try:
            if settings.sensitivity:
                copy_whole(Path(settings.sensitivity), folder / TABLE)
                state.settings = replace(settings, sensitivity=str(folder / TABLE))
            if plan is not None:
                state.plan = REPLAYED
                write_whole(folder / state.plan, partial(write_plan, plan))
            state.save()
            print(f"Run folder: {folder} (if interrupted, go on with --resume {whole or folder})")
            with _told_how_to_go_on(folder):
                return outcome_of(engine.run(state, opened.family, plan=plan, tried=pruned, style=style, watch=watch))
        except Exception:
            if not state.dense:  # nothing that --resume could go on with
                take_back(folder, made)
                for place, content in before.items():  # an earlier run's, in a folder that --exist-ok named
                    place.write_bytes(content)
            raise
