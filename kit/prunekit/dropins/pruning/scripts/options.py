# SPDX-License-Identifier: AGPL-3.0-or-later
"""The options that every pruning script has, in one spelling, and the settings they become.

`--prune-ratio 0.5`, `--prune_ratio 0.5` and `prune_ratio=0.5` are the same option: upstreams differ in their habits,
so all three are understood.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from dataclasses import fields
from functools import partial
from pathlib import Path
from typing import Any, NoReturn

from ..errors import PruneError
from ..run.repair_step import TRAINED, UNTRAINED
from ..runtime.runtimes import RUNTIMES
from ..settings import CRITERIA, HEADS, SCHEDULES, SCOPES, Settings, within

CHOSEN = (*TRAINED, "steps")  # settings whose default follows from what else was asked


class Parser(argparse.ArgumentParser):
    """A script's parser: what it refuses ends as everything else that is refused, in one line.

    Flags are not abbreviated, for words that are not its own are upstream's; texts keep their lines.
    """

    def __init__(self, **more: Any) -> None:
        lines = argparse.RawDescriptionHelpFormatter
        super().__init__(**{"allow_abbrev": False, "formatter_class": lines, **more})

    def error(self, message: str) -> NoReturn:
        """Raises PruneError."""
        raise PruneError(f"{message} (see --help)")


def add_valued(group: argparse._ActionsContainer, flag: str, default: object, text: str, **more: Any) -> None:
    """Add an option whose help ends with its default."""
    group.add_argument(flag, default=default, help=f"{text} (default {default})", **more)


def add_options(parser: argparse.ArgumentParser, defaults: Settings, *, plans: bool = True) -> None:
    """Add the pruning options to `parser`, with the defaults of one script.

    Args:
        plans: with those that make or replay a plan, and that of the ONNX file.
    """
    group = parser.add_argument_group("pruning options")
    add, valued = group.add_argument, partial(add_valued, group)
    ratio, macs = defaults.prune_ratio, defaults.target_macs

    def beside(name: str) -> str:
        own = getattr(defaults, name)
        if own == TRAINED[name] or own == 1:  # a rounding cannot be finer
            return str(own)
        return f"{TRAINED[name]} beside the default criterion of a target, else {own}"

    add("--prune-ratio", type=float, help="fraction of channels to remove" + (f" (default {ratio})" if ratio else ""))
    add("--keep", type=float, metavar="K", help="the same by what stays: --keep 0.8 is --prune-ratio 0.2")
    add(
        "--target-macs",
        type=float,
        metavar="T",
        help="MACs to end at instead: fraction of dense (0.5) or a number" + (f" (default {macs})" if macs else ""),
    )
    add("--target-params", type=float, metavar="T", help="parameters to end at instead: fraction of dense or a number")
    add(
        "--deployed",
        action="store_true",
        help="targets are of the network as it is deployed, without YOLO26's one-to-many head (default: of all of it)",
    )
    add("--target-latency", type=float, metavar="T", help="fraction of the dense time to end at, measured here")
    valued("--runtime", "onnxruntime", "where --target-latency is measured", choices=RUNTIMES)
    steps = f"{defaults.steps}, 1 with --epochs 0" if defaults.steps > 1 else "1"
    add("--steps", type=int, metavar="N", help=f"prune and fine-tune in this many steps (default {steps})")
    add(
        "--importance",
        choices=CRITERIA,
        help=f"criterion for channels (default {TRAINED['importance']} with a target, {UNTRAINED} with --epochs 0, "
        f"with both the better one, else {defaults.importance})",
    )
    add(
        "--scope",
        choices=SCOPES,
        help=f"same ratio in each layer, or one ranking of all (default {beside('scope')})",
    )
    add("--sensitivity", metavar="FILE", help="widths by what sensitivity.py measured (its table), not by --scope")
    add(
        "--round-to",
        type=int,
        metavar="N",
        help=f"keep multiples of N channels, or dense (default {beside('round_to') if plans else defaults.round_to})",
    )
    valued("--min-channels", defaults.min_channels, "floor: never fewer in a layer", type=int, metavar="N")
    add(
        "--ignore",
        action="append",
        default=[],
        metavar="NAME",
        help="do not prune this layer or block (repeatable; default none)",
    )
    valued("--head", defaults.head, "part of the head that is not pruned", choices=HEADS)
    add(
        "--remove-blocks",
        type=int,
        default=defaults.remove_blocks,
        metavar="N",
        help="first remove at most N whole bottlenecks of C2f, C3k2, C3 and the like, those that cost least on "
        "training images (default 0)",
    )
    add("--seed", type=int, help="seed of pruning and of the upstream trainer (default 0)")
    add(
        "--max-map-drop",
        type=float,
        default=defaults.max_map_drop,
        metavar="D",
        help=f"stop at the last step whose mAP50-95 is within D of dense (default {defaults.max_map_drop or 'off'})",
    )
    add(
        "--sparsity",
        type=float,
        default=0.0,
        metavar="S",
        help="first train once with this BN-L1 strength (try 0.01; default 0, off); always off in fine-tuning",
    )
    add(
        "--recalibrate",
        action="store_true",
        help="recalibrate the BatchNorm statistics after pruning (on training data)",
    )
    add(
        "--repair",
        type=int,
        metavar="N",
        help="without training: solve the pruned weights on N training images (no labels) so that each layer's outputs "
        "come nearest to the dense network's (default 128 with --epochs 0 or reconstruction, else 0: off)",
    )
    what = "learning rate, warm-up and epochs of each fine-tuning: as given, or scaled to what its step removed"
    valued("--schedule", defaults.schedule, what, choices=SCHEDULES)
    add(
        "--distill",
        type=float,
        default=0.0,
        metavar="A",
        help="knowledge distillation from the dense network, loss weighted A (gradient-norm ratio; try 0.5, default 0)",
    )
    if plans:
        add("--plan-only", action="store_true", help="write the plan, prune nothing")
        add("--plan", type=Path, metavar="FILE", help="prune by this (edited) plan, in one step, and by nothing else")
    add("--resume", type=Path, metavar="RUN", help="go on with an interrupted run's folder")
    if plans:
        add("--no-export", dest="export", action="store_false", help="write no ONNX file at the end")
    else:
        parser.set_defaults(plan=None, export=False)
    add("--trust", action="store_true", help="load a checkpoint that runs code of its own when loaded")


def settings_of(options: argparse.Namespace, defaults: Settings) -> Settings:
    """The checked settings of a parsed command line; the default ratio or target counts where nothing else does."""
    names = {field.name for field in fields(Settings)}
    values = {key: value for key, value in vars(options).items() if key in names}
    for name in CHOSEN:
        values[name] = getattr(defaults, name) if values[name] is None else values[name]
    if options.keep is not None:
        values["prune_ratio"] = _ratio_of(options)
    told = ("prune_ratio", "target_macs", "target_params", "target_latency")
    if all(values[name] is None for name in told) and options.plan is None:
        values.update(prune_ratio=defaults.prune_ratio, target_macs=defaults.target_macs)
    return Settings(**{**values, "ignore": tuple(options.ignore), "seed": options.seed or 0}).checked()


def chosen(options: argparse.Namespace) -> tuple[str, ...]:
    """The settings of CHOSEN that a parsed command line names."""
    return tuple(name for name in CHOSEN if getattr(options, name) is not None)


def _ratio_of(options: argparse.Namespace) -> float:
    """The ratio that `--keep` stands for; PruneError if it is none, or stands beside another."""
    within("--keep", options.keep, 0, 1, "the fraction of channels that stays", open_ends=True)
    beside = {
        "--prune-ratio": options.prune_ratio,
        "--target-macs": options.target_macs,
        "--target-params": options.target_params,
        "--target-latency": options.target_latency,
    }
    for flag, value in beside.items():
        if value is not None:
            raise PruneError(f"{flag} and --keep exclude each other: give one.")
    return round(1 - options.keep, 9)


def typed(options: argparse.Namespace, parser: argparse.ArgumentParser, but: Iterable[str] = ()) -> list[str]:
    """The flags whose values differ from the parser's defaults, except those with a destination in `but`."""
    actions = [action for action in parser._actions if action.dest not in {"help", *but}]
    return [a.option_strings[0] for a in actions if getattr(options, a.dest, a.default) != a.default]


def normalise(argv: list[str], parser: argparse.ArgumentParser) -> list[str]:
    """Rewrite this parser's own options to their `--dashed` spelling; leave every other word alone.

    Args:
        argv: the command line; `--prune_ratio 0.5` and `prune_ratio=0.5` become `--prune-ratio ...`.
        parser: the parser that owns the options.
    """
    own = {flag for action in parser._actions for flag in action.option_strings if flag.startswith("--")}
    return [_dashed(word, own) for word in argv]


def _dashed(word: str, own: set[str]) -> str:
    key, equals, value = word.partition("=")
    flag = "--" + key.removeprefix("--").replace("_", "-")
    if flag in own and (key.startswith("--") or equals):
        return flag + equals + value
    return word


def spelled(words: list[str], parser: argparse.ArgumentParser) -> list[str]:
    """Rewrite an upstream parser's options to the spelling it has itself, dashes or underscores; leave the rest alone.

    `--batch_size 16` and `batch_size=16` become `--batch-size ...`, `--evolve-population` `--evolve_population`.
    """
    flags = [flag for action in parser._actions for flag in action.option_strings if flag.startswith("--")]
    known = {flag.replace("_", "-"): flag for flag in flags}

    def one(word: str) -> str:
        key, equals, value = word.partition("=")
        flag = known.get("--" + key.removeprefix("--").replace("_", "-"))
        return flag + equals + value if flag and (key.startswith("--") or equals) else word

    return [one(word) for word in words]
