# SPDX-License-Identifier: AGPL-3.0-or-later
"""Values that no training can mean, refused before anything is done: not finite, of another type, out of range."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from ..errors import PruneError

LARGEST = 2**31 - 1  # what a 32-bit number holds; libraries below overflow beyond it
MOST = {  # beyond any machine's memory, not merely unusual
    "epochs": 10_000_000,
    "imgsz": 65_536,
    "img_size": 65_536,
    "batch": 1 << 20,
    "batch_size": 1 << 20,
    "workers": 4096,
    "threads": 4096,
}
DECAYS = ("momentum", "warmup_momentum")  # beyond 1 the weights grow without end
POSITIVE = (
    "lr0",
    "lrf",
    "weight_decay",
    "warmup_bias_lr",
    "hsv_h",
    "hsv_s",
    "hsv_v",
    "translate",
    "scale",
    "flipud",
    "fliplr",
    "mosaic",
    "mixup",
    "copy_paste",
    "paste_in",
    "iou_t",
    "box",
    "cls",
    "cls_pw",
    "obj",
    "obj_pw",
    "fl_gamma",
    "warmup_epochs",
    "warmup_iters",
    "dfl",
    "pose",
    "kobj",
)


def check_numbers(given: Mapping[str, Any], least: Mapping[str, float], label: str = "--{}") -> None:
    """Numbers among options, and whatever must be one.

    Args:
        given: options by destination; None is always right, and lists are looked into.
        least: the smallest value of those that must be numbers.
        label: how a message names an option.

    Raises:
        PruneError: naming the option.
    """
    for key, value in given.items():
        flag = label.format(key.replace("_", "-")) if label.startswith("--") else label.format(key)
        for one in value if isinstance(value, (list, tuple)) else (value,):
            _check(flag, one, least.get(key), MOST.get(key, LARGEST))


def _check(flag: str, value: Any, least: float | None, most: float) -> None:
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if least is not None and value is not None and not number:
        raise PruneError(f"{flag} {value!r}: must be a number, {least:g} or more.")
    if not number:
        return
    if not math.isfinite(value) or abs(value) > LARGEST:
        raise PruneError(f"{flag} {value}: must be a finite number, {LARGEST:,} at most.")
    if value > most:
        raise PruneError(f"{flag} {value}: must be {most:,} or less.")
    if least is not None and value < least:
        raise PruneError(f"{flag} {value}: must be {least:g} or more.")


def check_hyperparameters(own: Mapping[Any, Any], usual: Mapping[str, Any], file: str, start: object) -> None:
    """A file of hyperparameters: all that upstream's usual one has, each a number in its range.

    Args:
        own: the file's content.
        usual: upstream's own.
        file, start: their paths.

    Raises:
        PruneError: naming the key.
    """
    if missing := sorted(usual.keys() - own.keys()):
        raise PruneError(f"--hyp {file}: lacks {', '.join(missing[:5])}. Start from a copy of {start}")
    for key in {**usual, **{key: own[key] for key in ("anchors", "warmup_iters") if own.get(key) is not None}}:
        value = own[key]
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
            hint = " (for YAML, 1e-3 is text: write 0.001)" if isinstance(value, str) else ""
            raise PruneError(f"--hyp {file}: {key}: {value!r} must be a finite number{hint}.")
        low, high = (0.0, 1.0) if key in DECAYS else (0.0, math.inf) if key in POSITIVE else (-math.inf, math.inf)
        low = 1.0 if key == "anchors" else 1e-6 if key == "anchor_t" else low
        if not low <= value <= high:
            raise PruneError(f"--hyp {file}: {key}: {value} must lie between {low:g} and {high:g}.")


def check_freezing(words: Sequence[int] | None, layers: int) -> None:
    """`check_freeze` for YOLOv5's and YOLOv7's list: one number counts first layers, several are indices.

    Raises:
        PruneError: as `check_freeze`.
    """
    listed = list(words or [0])
    check_freeze(listed[0] if len(listed) == 1 else listed, layers)


def check_freeze(freeze: Any, layers: int) -> None:
    """Which layers fine-tuning leaves alone: a number of first ones, or a list of indices; one must stay trainable.

    Raises:
        PruneError: not such a thing, or beyond the network's layers.
    """
    if freeze is None:
        return
    indices = list(range(freeze)) if isinstance(freeze, int) and 0 <= freeze < layers else freeze
    if not isinstance(indices, list) or any(type(n) is not int or not 0 <= n < layers for n in indices):
        raise PruneError(
            f"--freeze {freeze}: the network has {layers} layers; give a number below that, or their numbers."
        )
    if len(set(indices)) == layers:
        raise PruneError(f"--freeze {freeze}: all {layers} layers are frozen, so nothing would be trained.")


def require_arguments(arguments: Mapping[str, Any], needed: Collection[str]) -> None:
    """Refuse a record that lacks options of upstream's training: the run would end at the first that it asks for.

    Raises:
        PruneError: naming them.
    """
    if missing := sorted(set(needed) - arguments.keys()):
        listed = ", ".join(missing[:5]) + (", ..." if len(missing) > 5 else "")
        raise PruneError(f"report.json: the record of this run has no {listed} among its arguments. Begin a new run.")


def require_harmless(options: Mapping[str, Any], where: str) -> None:
    """Refuse what a file may not ask for: results go to a `bucket`, whose name YOLOv7 gives to a shell.

    Args:
        options: upstream's options as a file has them.
        where: the file, for the message.

    Raises:
        PruneError: naming the option.
    """
    for key in ("bucket", "evolve"):
        if options.get(key):
            text = f"{where}: the run's options ask for --{key} {options[key]!r}, which is not taken from a file"
            raise PruneError(f"{text}. Empty it there, then resume.")
