# SPDX-License-Identifier: AGPL-3.0-or-later
"""The command lines of prune.py, prune_one_shot.py and yolo11_pruning.py: parse, check, run, and say what failed."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ultralytics.pruning import run as engine
from ultralytics.pruning.errors import PruneError
from ultralytics.pruning.files import locked, write_whole
from ultralytics.pruning.options import Settings, add_options, normalise, settings_of
from ultralytics.pruning.plan import Plan
from ultralytics.pruning.state import REPORT, State
from ultralytics.utils.files import increment_path

from .adapter import Ultralytics, find_weights
from .arguments import help_text, split_arguments

USER_ERROR = 2


def guarded(program: Callable[[], None]) -> int:
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


def parser_of(description: str, defaults: Settings) -> argparse.ArgumentParser:
    """The parser of a pruning script: prunekit's options in one group, upstream's in another."""
    parser = argparse.ArgumentParser(
        description=description, epilog=help_text(), allow_abbrev=False,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--weights", "--model", dest="weights", help="trained checkpoint to prune")
    add_options(parser, defaults)
    return parser


def prune(description: str, defaults: Settings, argv: list[str]) -> None:
    """prune.py and prune_one_shot.py: the engine's loop with the run's folder where --project and --name say."""
    parser = parser_of(description, defaults)
    options, rest = parser.parse_known_args(normalise(argv, parser))
    if options.resume:
        return resume(options.resume, options.trust)
    if not options.weights:
        raise PruneError("no network given: --weights best.pt")
    overrides = {"seed": options.seed, **split_arguments(rest)}
    settings = settings_of(options)
    family, weights = _open(options, overrides, settings)
    if options.plan_only:
        folder = _run_folder(overrides, family.task)
        engine.plan_only(family, weights, settings, folder / "plan.yaml")
        return None
    plan = _replayed(options, settings)
    family.check_data(weights)
    engine.preflight(family, weights, settings, plan)
    return _carry(_run_folder(overrides, family.task), family, weights, settings, plan=plan)


def resume(folder: Path, trust: bool = False, style: engine.Style | None = None) -> None:
    """Go on with an interrupted run, by its own record."""
    state = State.load(folder)
    if state.final:
        print(f"{folder}: this run is finished ({state.status}). Its report: {folder / 'report.md'}")
        return
    family = Ultralytics(state.arguments, head=state.settings.head, trust=trust)
    family.check(Path(state.weights))
    family.check_data(Path(state.weights))
    plan = folder / "replayed_plan.yaml"
    with locked(folder):
        engine.run(state, family, plan=Plan.load(plan) if plan.is_file() else None, style=style)


def _open(options: Any, overrides: dict[str, Any], settings: Settings) -> tuple[Ultralytics, Path]:
    """Find and check the network before anything is written."""
    family = Ultralytics(overrides, head=settings.head, trust=options.trust)
    weights = find_weights(options.weights)
    family.check(weights)
    return family, weights


def _carry(
    folder: Path, family: Ultralytics, weights: Path, settings: Settings, *,
    plan: Plan | None = None, style: engine.Style | None = None,
) -> None:
    """Run a new run in `folder`."""
    state = engine.new_run(folder, family, weights, settings)
    with locked(folder):
        if plan is not None:
            write_whole(folder / "replayed_plan.yaml", plan.save)
        state.save()
        print(f"Run folder: {folder} (if interrupted, go on with --resume {folder})")
        engine.run(state, family, plan=plan, style=style)


def _replayed(options: Any, settings: Settings) -> Plan | None:
    """The plan of --plan FILE, which is a whole step of its own."""
    if options.plan is None:
        return None
    if settings.steps != 1:
        raise PruneError("--plan replays one step: use prune_one_shot.py, or add --steps 1.")
    return Plan.load(options.plan)


def _run_folder(overrides: dict[str, Any], task: str, name: str = "prune") -> Path:
    """Where a run goes: --project / --name, else runs/<task>/prune; numbered on as upstream does unless --exist-ok."""
    base = Path(overrides.get("project") or Path("runs") / task) / (overrides.get("name") or name)
    taken = (base / REPORT).exists() or base.exists()
    return Path(increment_path(base, exist_ok=bool(overrides.get("exist_ok")))) if taken else base


def yolo11(argv: list[str]) -> None:
    """yolo11_pruning.py, with the published command line."""
    defaults = Settings(steps=10, prune_ratio=0.5, importance="group_norm", head="whole", min_channels=1, compound=True)
    parser = argparse.ArgumentParser(
        description="Iteratively prune and fine-tune YOLO11.", epilog=help_text(), allow_abbrev=False,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--model", "--weights", dest="weights", default="yolo11n.pt", help="trained checkpoint (default yolo11n.pt)")
    add("--cfg", default="default.yaml", help="YAML of upstream train arguments (default default.yaml)")
    add("--iterative-steps", type=int, default=10, help="pruning steps (default 10)")
    add("--target-prune-rate", type=float, default=0.5, help="fraction of channels to remove in all (default 0.5)")
    add("--max-map-drop", type=float, default=0.2, help="stop when mAP50-95 falls by more (default 0.2)")
    add("--resume", type=Path, metavar="RUN", help="go on with an interrupted run's folder")
    add("--trust", action="store_true", help="load a checkpoint that runs code of its own when loaded")
    options, rest = parser.parse_known_args(normalise(argv, parser))
    style = engine.Style("After pruning iter {step}: {figures}", "yolo11_pruning_perf_change.png")
    if options.resume:
        return resume(options.resume, options.trust, style)
    overrides = split_arguments([f"cfg={options.cfg}", *rest])
    settings = Settings(
        **{**defaults.as_dict(), "steps": options.iterative_steps, "prune_ratio": options.target_prune_rate,
           "max_map_drop": options.max_map_drop, "ignore": (), "seed": overrides.get("seed", 0)}
    ).checked()
    family, weights = _open(options, overrides, settings)
    family.check_data(weights)
    engine.preflight(family, weights, settings)
    return _carry(_published_folder(overrides, family.task), family, weights, settings, style=style)


def _published_folder(overrides: dict[str, Any], task: str) -> Path:
    """runs/<task> itself, as published (stepX_finetune lie in it); runs/<task>/prune2, ... once that holds a run."""
    if overrides.get("project") or overrides.get("name"):
        return _run_folder(overrides, task)
    base = Path("runs") / task
    return Path(increment_path(base / "prune")) if (base / REPORT).exists() else base
