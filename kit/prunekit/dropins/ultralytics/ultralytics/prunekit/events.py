# SPDX-License-Identifier: AGPL-3.0-or-later
"""A pruning run's events, told to the user's callbacks and to the loggers that upstream has on."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ultralytics.pruning.run.loop import EVENTS, Watch
from ultralytics.pruning.run.record import State
from ultralytics.pruning.scripts.keywords import theirs
from ultralytics.utils import LOGGER

from . import loggers

Callbacks = Mapping[str, Sequence[Callable[..., Any]]]
__all__ = ["EVENTS", "Callbacks", "Pruner", "added", "watcher"]


class Pruner:
    """What a pruning event hands to a callback, as a training event hands its trainer.

    Attributes:
        save_dir: the run folder.
        args: upstream's train arguments of the run.
        settings: prunekit's own, as in report.json.
        dense: figures of the network that the run began with: macs, params, map50, map50_95.
        steps: one such mapping for each step that is done, as in report.json; `step` is the last, None before it.
        plan: the plan file of the last step.
        best: the checkpoint of the last step; at the end the pruned network's.
    """

    def __init__(self, state: State) -> None:
        self.save_dir: Path = state.folder.resolve()
        self.args = dict(state.arguments)
        self.settings = state.settings.as_dict()
        self.dense = dict(state.dense)
        self.steps = [dict(step) for step in state.steps]
        self.step = self.steps[-1] if self.steps else None
        self.plan = self.save_dir / self.step["plan"] if self.step else None
        made = state.final.get("checkpoint") or (self.step or {}).get("checkpoint")
        self.best = self.save_dir / made if made else None


def added(model: Any) -> dict[str, list[Callable[..., Any]]]:
    """The callbacks that a user has added to a YOLO object; upstream's own, of loggers too, are not among them."""
    own = "ultralytics.utils.callbacks"
    found = {
        event: [theirs(each) for each in functions if not str(getattr(each, "__module__", "")).startswith(own)]
        for event, functions in model.callbacks.items()
    }
    return {event: functions for event, functions in found.items() if functions}


def watcher(callbacks: Callbacks) -> Watch:
    """Tell an event to these callbacks, then to the loggers; a logger that fails is a warning, never the run's end."""
    active = loggers.active()

    def watch(event: str, state: State) -> None:
        pruner = Pruner(state)
        for function in callbacks.get(event, ()):
            function(pruner)
        for logger in active:
            try:
                logger(event, pruner)
            except Exception as error:  # noqa: BLE001 - servers, files and versions fail in many ways
                LOGGER.warning(f"prunekit: {type(logger).__name__} was not told of {event}: {error}")

    return watch
