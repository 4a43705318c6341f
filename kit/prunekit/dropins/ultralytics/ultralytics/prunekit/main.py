# SPDX-License-Identifier: AGPL-3.0-or-later
"""The command lines of prune.py, prune_one_shot.py and yolo11_pruning.py, for ultralytics."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ultralytics.pruning.errors import PruneError
from ultralytics.pruning.family.contract import Opened
from ultralytics.pruning.files import LOCK
from ultralytics.pruning.run import loop as engine
from ultralytics.pruning.run.folders import run_folder
from ultralytics.pruning.scripts import prune as command
from ultralytics.pruning.scripts.options import Parser, normalise, typed
from ultralytics.pruning.scripts.prune import guarded
from ultralytics.pruning.settings import Settings
from ultralytics.utils.files import increment_path

from .adapter import Ultralytics, find_weights
from .arguments import help_text, split_arguments
from .events import Callbacks, watcher

__all__ = ["guarded", "prune", "yolo11"]


class Upstream:
    """Implements `pruning.family.contract.Upstream`."""

    def __init__(self, callbacks: Callbacks | None = None, task: str = "") -> None:
        """Bind what a command line does not say.

        Args:
            callbacks: functions that run in the run's trainings and validations, by upstream's events.
            task: what the network must be for, if that was said.
        """
        self._callbacks, self._task = callbacks or {}, task

    def help_text(self) -> str:
        """See `pruning.family.contract.Upstream.help_text`."""
        return help_text()

    def open(self, weights: str, words: list[str], settings: Settings, *, trust: bool, run: str = "prune") -> Opened:
        """See `pruning.family.contract.Upstream.open`."""
        opened = _open(weights, split_arguments(words), settings, trust, run, self._callbacks)
        own = getattr(opened.family, "task")  # noqa: B009  # ultralytics has tasks, the contract does not
        if self._task and self._task != own:
            raise PruneError(f"{opened.weights}: a {own} network, not one to {self._task}. Leave '{self._task}' out.")
        return opened

    def reopen(self, arguments: dict[str, Any], settings: Settings, *, trust: bool) -> Ultralytics:
        """See `pruning.family.contract.Upstream.reopen`."""
        family = Ultralytics(arguments, head=settings.head, trust=trust)
        family.resumed, family.callbacks = True, self._callbacks
        return family


def prune(description: str, defaults: Settings, argv: list[str]) -> None:
    """prune.py and prune_one_shot.py."""
    command.prune(description, defaults, argv, Upstream(), watcher({}))


def _open(
    given: str,
    overrides: dict[str, Any],
    settings: Settings,
    trust: bool,
    run: str = "prune",
    callbacks: Callbacks | None = None,
) -> Opened:
    """Find and check the network before anything is written; a configuration file may name it, too."""
    given = given or str(overrides.get("model") or "")
    if not given:
        raise PruneError("no network given: --weights best.pt (or model=best.pt)")
    if "sparsity_beta" in overrides:
        raise PruneError("--sparsity-beta belongs to train_sparse.py; here it is as strong as --sparsity.")
    if settings.sparsity and overrides.get("epochs") == 0:
        raise PruneError("--sparsity trains, but --epochs is 0: give --epochs, or leave --sparsity out.")
    family = Ultralytics({"seed": 0, **overrides}, head=settings.head, trust=trust)
    family.callbacks = callbacks or {}
    weights = find_weights(given)
    family.check(weights)
    return Opened(family, weights, lambda: _run_folder(overrides, family.task, run), seed=overrides.get("seed", 0))


def _run_folder(overrides: dict[str, Any], task: str, name: str = "prune") -> Path:
    """Where a run goes: --project / --name, else runs/<task>/prune; numbered on as upstream does unless --exist-ok."""
    base = Path(overrides.get("project") or Path("runs") / task) / (overrides.get("name") or name)
    return run_folder(base, lambda taken: increment_path(taken, exist_ok=bool(overrides.get("exist_ok"))))


def yolo11(argv: list[str]) -> None:
    """yolo11_pruning.py, with the published command line."""
    defaults = Settings(
        steps=10, prune_ratio=0.5, importance="group_norm", head="whole", min_channels=1, compound=True, repair=0
    )
    parser = Parser(
        description="Iteratively prune and fine-tune YOLO11.",
        epilog=help_text(),
    )
    add = parser.add_argument
    add("--model", "--weights", dest="weights", help="trained checkpoint (default yolo11n.pt)")
    add("--cfg", default="default.yaml", help="YAML of upstream train arguments (default default.yaml)")
    add("--iterative-steps", type=int, default=10, help="pruning steps (default 10)")
    add("--target-prune-rate", type=float, default=0.5, help="fraction of channels to remove in all (default 0.5)")
    add("--max-map-drop", type=float, default=0.2, help="stop when mAP50-95 falls by more (default 0.2)")
    add("--resume", type=Path, metavar="RUN", help="go on with an interrupted run's folder")
    add("--trust", action="store_true", help="load a checkpoint that runs code of its own when loaded")
    options, rest = parser.parse_known_args(normalise(argv, parser))
    style = engine.Style("After pruning iter {step}: {figures}", "yolo11_pruning_perf_change.png", ratio="speed up")
    if options.resume:
        command.refuse_beside("--resume", [*typed(options, parser, ("resume", "trust")), *rest])
        command.resume(options.resume, Upstream(), trust=options.trust, style=style, watch=watcher({}))
        return
    overrides = split_arguments([f"cfg={options.cfg}", *rest])
    settings = Settings(
        **{
            **defaults.as_dict(),
            "steps": options.iterative_steps,
            "prune_ratio": options.target_prune_rate,
            "max_map_drop": options.max_map_drop,
            "ignore": (),
            "seed": overrides.get("seed", 0),
        }
    ).checked()
    opened = _open(options.weights or overrides.get("model") or "yolo11n.pt", overrides, settings, options.trust)
    opened.choose()  # refuses a place where no folder can be
    opened.family.check_data(opened.weights)
    engine.preflight(opened.family, opened.weights, settings)
    task = getattr(opened.family, "task")  # noqa: B009  # ultralytics has tasks, the contract does not
    published = Opened(opened.family, opened.weights, lambda: _published_folder(overrides, task))
    command.carry(published, settings, style=style, watch=watcher({}))


def _published_folder(overrides: dict[str, Any], task: str) -> Path:
    """runs/<task> itself, as published (stepX_finetune lie in it), unless it holds what a run would replace."""
    if overrides.get("project") or overrides.get("name"):
        return _run_folder(overrides, task)
    base = Path("runs") / task
    taken = [file for pattern in ("report.*", "step*", "pruned.*", "results.csv", LOCK) for file in base.glob(pattern)]
    return _run_folder(overrides, task) if taken else base
