# SPDX-License-Identifier: AGPL-3.0-or-later
"""`yolo prune model=best.pt data=my.yaml target_macs=0.5`: prune.py as a mode of upstream's command."""

from __future__ import annotations

from collections.abc import Sequence

from ultralytics import cfg
from ultralytics.pruning.scripts import prune as command
from ultralytics.pruning.scripts.keywords import options_by_keyword
from ultralytics.utils import DEFAULT_CFG_DICT

from .adapter import ROOT
from .events import watcher
from .foreign import require_own
from .main import Upstream
from .python import DEFAULTS

DESCRIPTION = """Prune a trained network step by step, fine-tuning and validating after each.

    yolo prune model=best.pt data=my.yaml target_macs=0.5 epochs=10

Every option below is also key=value: target_macs=0.5 is --target-macs 0.5. epochs counts for each step; of the earlier
ones the last step gets half (schedule). The task is the checkpoint's; it may stand before prune, as in other modes.
"""
HELP = ("help", "-h", "-help", "--help")


def run(words: Sequence[str]) -> int:
    """Prune as these words after `yolo` say; returns the exit code."""
    rest = without_mode(cfg.merge_equals_args(list(words)))
    if any(word.lower() in HELP for word in rest):
        parser = command.parser_of(DESCRIPTION, DEFAULTS, Upstream())
        parser.prog = "yolo prune"
        parser.print_help()
        return 0
    task = next((word.removeprefix("task=") for word in rest if word.removeprefix("task=") in cfg.TASKS), "")
    rest = [word for word in rest if word not in (task, f"task={task}")] if task else rest

    def body() -> None:
        require_own(ROOT / "prune.py")
        argv = spelled(rest)
        command.prune("", DEFAULTS, argv, Upstream({}, task), watcher({}))

    return command.guarded(body)


def without_mode(words: Sequence[str]) -> list[str]:
    """The words without the one that names the mode."""
    rest = [word.removesuffix(",") for word in words]
    at = next((n for n, word in enumerate(rest) if word in ("prune", "mode=prune")), None)
    return rest if at is None else rest[:at] + rest[at + 1 :]


def spelled(words: Sequence[str]) -> list[str]:
    """Upstream's spelling of switches as prune.py reads it: `plan_only`, `plan_only=True`."""
    parser = command.parser_of("", DEFAULTS, Upstream())
    switches = {key for key, action in options_by_keyword(parser).items() if action.nargs == 0}
    known = switches | {key for key, value in DEFAULT_CFG_DICT.items() if isinstance(value, bool)}
    made: list[str] = []
    for number, word in enumerate(words):
        key, equals, value = word.partition("=")
        name = key.removeprefix("--").replace("-", "_")
        follows = number > 0 and words[number - 1].startswith("--") and "=" not in words[number - 1]
        if name in switches and equals and value.lower() in ("true", "false"):
            made += [f"--{name.replace('_', '-')}"] if value.lower() == "true" else []
        elif name in known and not equals and not key.startswith("--") and not follows:
            made.append(f"--{name.replace('_', '-')}")
        else:
            made.append(word)
    return made
