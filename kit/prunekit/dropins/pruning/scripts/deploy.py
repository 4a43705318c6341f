# SPDX-License-Identifier: AGPL-3.0-or-later
"""The command line of deploy.py, whatever the upstream: parse, refuse what cannot be, prune, quantize, choose."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

from ..errors import PruneError
from ..family.contract import Opened, Upstream
from ..files import digest_of, fresh, locked
from ..run import loop as engine
from ..run.deploy import RUN, STAGES, deploy, require_met
from ..run.deployment import RECORD, Deployment
from ..run.folders import claimed, take_back
from ..run.int8 import calibration_images
from ..run.int8_request import RUNTIMES, Request
from ..run.record import REPORT, State
from ..run.repair_step import ranked
from ..run.untrained import nearest
from ..runtime.exported import refuse_exported
from ..runtime.int8_graph import require_onnx
from ..runtime.openvino_int8 import require_openvino
from ..runtime.processor import saturates
from ..settings import Settings
from ..training import ddp
from .options import Parser, add_options, add_valued, chosen, normalise, settings_of, typed
from .prune import carry, open_network, refuse_beside, require_unchanged, resume

DEFAULTS = Settings(prune_ratio=None, target_macs=0.5, steps=1, round_to=16, schedule="scaled", max_map_drop=0.01)
OTHERS = ("--plan", "--plan-only", "--no-export")


def deploy_command(description: str, argv: list[str], upstream: Upstream) -> Deployment:
    """deploy.py: one command from a trained checkpoint to the fastest file within a loss.

    Args:
        description: the script's.
        argv: the command line; words that are not its own are upstream's train arguments.
        upstream: the fork's.

    Raises:
        PruneError: a user error; LessAccurate, Unreachable: all was written, but it is not what was asked.
    """
    parser = _parser(description, upstream)
    options, words = parser.parse_known_args(normalise(argv, parser))
    if ddp.world() > 1:
        raise PruneError("deploy.py measures, so it is one process. Train in several: prune.py, then quantify.py.")
    if options.resume:
        refuse_beside("--resume", [*typed(options, parser, ("resume", "trust")), *words])
        state = _resumed(options.resume, upstream, options.trust)
    else:
        state = _new(options, words, upstream)
    require_met(state)
    return state


def _new(options: argparse.Namespace, words: list[str], upstream: Upstream) -> Deployment:
    if others := [word for word in words if word.partition("=")[0] in OTHERS]:
        raise PruneError(f"{others[0]} belongs to prune.py, which makes plans; deploy.py makes a file. Leave it out.")
    settings = settings_of(options, DEFAULTS)
    if settings.remove_blocks:
        raise PruneError("--remove-blocks belongs to prune.py. Remove bottlenecks with it, then deploy its pruned.pt.")
    request = Request(
        images=options.calibration_images,
        max_map_drop=options.max_map_drop,
        threads=options.threads,
        runtime=options.runtime,
        seven_bits=saturates(),
    ).checked()
    _require_runtime(request.runtime)
    refuse_exported(options.weights or "")
    opened, settings = open_network(options, _trained(words), settings, upstream, run="deploy")
    opened.choose()  # refuses a place where no folder can be
    opened.family.check_data(opened.weights)
    calibration_images(opened.family, opened.weights, 1)
    fixed = (*chosen(options), "round_to")  # 16 is what INT8 likes
    settings = ranked(opened.family, opened.weights, settings, fixed)
    settings, _ = nearest(opened.family, opened.weights, settings, fixed)
    settings = replace(settings, max_map_drop=settings.max_map_drop if settings.steps > 1 else None, export=False)
    if settings.target_latency is None:
        engine.preflight(opened.family, opened.weights, settings)
    else:
        half = replace(settings, target_latency=None, prune_ratio=0.5, round_to=1)  # the target is measured later
        engine.preflight(opened.family, opened.weights, half)
    return _begun(opened, settings, request, upstream, options.trust)


def _begun(opened: Opened, settings: Settings, request: Request, upstream: Upstream, trust: bool) -> Deployment:
    """A new deployment in its folder, which is gone again where the first stage fails."""
    with claimed(opened.choose) as (folder, made):
        if taken := [name for name in (*STAGES, RECORD, REPORT) if (folder / name).exists()]:
            raise PruneError(f"{folder} holds {taken[0]} of an earlier run. Give another --name, or --resume {folder}")
        state = Deployment(
            folder,
            settings,
            request,
            opened.family.name,
            str(opened.weights.resolve()),
            digest_of(opened.weights),
            dict(opened.family.arguments()),
        )
        state.save()
        print(f"Folder: {folder} (if interrupted, go on with --resume {folder})")
        try:
            return _carried(state, opened, upstream, trust)
        except Exception:
            if not state.way:  # nothing that --resume could go on with
                take_back(folder, made)
                for left in (folder / RECORD, *map(folder.joinpath, STAGES)) if folder.exists() else ():
                    fresh(left) if left.is_dir() else left.unlink(missing_ok=True)
            raise


def _resumed(folder: Path, upstream: Upstream, trust: bool) -> Deployment:
    """Go on with an interrupted deployment, by its own record."""
    if Deployment.load(folder).status == "running":  # a lock makes the folder: only for what holds a record
        with locked(folder):
            state = Deployment.load(folder)  # again: until the lock was ours, another process may have gone on with it
            if state.status == "running":
                return _gone_on(state, upstream, trust)
    state = Deployment.load(folder)
    print(f"{folder}: this deployment is finished ({state.status}). Its file: {folder / state.chosen['file']}")
    return state


def _gone_on(state: Deployment, upstream: Upstream, trust: bool) -> Deployment:
    weights = Path(state.weights)
    require_unchanged(weights, state.digest)
    _require_runtime(state.request.runtime)
    family = upstream.reopen(state.arguments, state.settings, trust=trust)
    family.check(weights)
    family.check_data(weights)
    return _carried(state, Opened(family, weights, lambda: state.folder), upstream, trust)


def _carried(state: Deployment, opened: Opened, upstream: Upstream, trust: bool) -> Deployment:
    try:
        return deploy(state, opened.family, partial(_pruned, opened=opened, upstream=upstream, trust=trust))
    except KeyboardInterrupt:
        raise KeyboardInterrupt(f"go on with --resume {state.folder}") from None


def _pruned(state: Deployment, *, opened: Opened, upstream: Upstream, trust: bool) -> Path | None:
    """Begin the pruning run, or go on with it; its result, or None if no step stayed within --max-map-drop."""
    run = state.folder / RUN
    begin: Callable[[], object] = partial(
        carry,
        Opened(opened.family, opened.weights, lambda: run),
        state.settings,
        latency=state.latency,
        whole=state.folder,
    )
    try:
        resume(run, upstream, trust=trust) if (run / REPORT).is_file() else begin()
    except PruneError as error:
        if not (run / REPORT).is_file() or not (found := State.load(run)).steps or found.last_kept():
            raise
        print(f"Not pruned: {error}")
        return None
    done = State.load(run)
    return done.path(done.final["checkpoint"])


def _require_runtime(runtime: str) -> None:
    """PruneError, with what to type, where packages are not installed."""
    require_onnx()
    if runtime == "openvino":
        require_openvino()


def _trained(words: list[str]) -> list[str]:
    """Upstream's words with `--epochs 0`, unless they name epochs."""
    named = any(word.partition("=")[0].lstrip("-") == "epochs" for word in words)
    return words if named else [*words, "--epochs", "0"]


def _parser(description: str, upstream: Upstream) -> argparse.ArgumentParser:
    parser = Parser(
        description=description,
        epilog=upstream.help_text(),
        conflict_handler="resolve",
    )
    parser.add_argument("--weights", "--model", dest="weights", help="trained checkpoint to deploy")
    add_options(parser, DEFAULTS, plans=False)
    defaults = Request()
    group = parser.add_argument_group("deployment options")
    valued = partial(add_valued, group)
    group.add_argument(
        "--target-latency",
        type=float,
        metavar="T",
        help="share of the dense float file's time to end at, measured here in the runtime: what INT8 and pruning take "
        "together",
    )
    drop = "mAP50-95 that the chosen file may be below the dense float file; with --steps above 1, pruning stops there"
    valued("--max-map-drop", DEFAULTS.max_map_drop, drop, type=float, metavar="D")
    valued("--runtime", defaults.runtime, "runtime that the file is for, and measured in", choices=RUNTIMES)
    valued("--calibration-images", defaults.images, "training images to calibrate INT8 with", type=int, metavar="N")
    valued("--threads", defaults.threads, "threads to time with", type=int, metavar="N")
    for action in parser._actions:
        if action.dest == "remove_blocks":
            action.help = argparse.SUPPRESS  # refused, with the reason
    return parser
