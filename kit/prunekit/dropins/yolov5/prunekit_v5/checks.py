# SPDX-License-Identifier: AGPL-3.0-or-later
"""Refuse, before anything is done, what YOLOv5 would trip over after minutes or hours."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from pruning.errors import PruneError
from pruning.failures import reason_of
from pruning.family.data_check import check_names, check_places
from pruning.family.hooked import check_hooks
from pruning.family.ranges import check_hyperparameters, check_numbers
from pruning.files import check_yaml
from pruning.training import ddp as ranks
from utils.dataloaders import IMG_FORMATS
from utils.general import ROOT, check_dataset, check_file
from utils.torch_utils import select_device

from .hooks import HOOKED

LEAST = {
    "epochs": 0,
    "imgsz": 1,
    "workers": 0,
    "mask_ratio": 1,
    "patience": 0,
    "save_period": -1,
    "bbox_interval": -1,
    "label_smoothing": 0,
}
USUAL_HYP = ROOT / "data" / "hyps" / "hyp.scratch-low.yaml"


def found(flag: str, name: str) -> str:
    """The file that upstream would find under a name, absolute, so that --resume finds it from anywhere."""
    try:
        file = Path(check_file(name)).resolve()
    except AssertionError as error:
        raise PruneError(f"{flag} {name}: no such file, here or in the fork's data folder ({error}).") from error
    check_yaml(flag, file)
    return str(file)


def data_set(data: str, *, named: bool = True) -> Mapping[str, Any]:
    """The data set behind --data, as upstream reads it.

    Args:
        data: its YAML.
        named: by the user. One that only a checkpoint, or the record of a run, remembers is never downloaded.

    Raises:
        PruneError: it is missing or unreadable, or a folder of it holds no images.
    """
    if not named and not (str(data).endswith((".yaml", ".yml")) and Path(data).is_file()):
        raise PruneError(
            f"the data set that this file remembers, {data}, is no YAML that is here, and what a file remembers is "
            "never downloaded. Give a data set with --data."
        )
    try:
        known: Mapping[str, Any] = check_dataset(data, autodownload=named)
    except (Exception, SystemExit) as error:
        reason = next(iter(str(error).strip().splitlines()), type(error).__name__)
        fetched = "" if named else " What a file remembers is never downloaded."
        text = f"--data {data}: {reason.rstrip('.')}.{fetched} Correct its paths, or give another --data."
        raise PruneError(text) from error
    for key in ("train", "val"):
        check_places(data, key, known.get(key), IMG_FORMATS)
    check_names(known["names"], data)
    return known


def check_values(given: Mapping[str, Any]) -> None:
    """Numbers out of range, a batch that cannot be, a file of hyperparameters that lacks some.

    Args:
        given: upstream's options by destination, `hyp` an existing file.

    Raises:
        PruneError: naming the option.
    """
    check_hooks(ROOT, HOOKED)
    check_numbers(given, LEAST)
    batch = given["batch_size"]
    if batch < 1 and batch != -1:
        raise PruneError(f"--batch-size {batch}: must be 1 or more, or -1 to find what fits.")
    ranks.check_batch(batch)
    if ranks.world() > 1 and given.get("image_weights"):
        raise PruneError("--image-weights: upstream cannot do that with more than one process.")
    _check_hyp(given["hyp"])


def check_device(device: str) -> None:
    """Refuse a device that is not here before anything is done on another."""
    try:
        select_device(device)
    except (AssertionError, ValueError) as error:
        reason = str(error).strip().splitlines()[0]
        raise PruneError(f"{reason} Leave --device out to use what is here, or give --device cpu.") from error


def _check_hyp(file: str) -> None:
    """PruneError unless the file holds every hyperparameter that upstream's usual one holds."""
    try:
        own, usual = (yaml.safe_load(Path(f).read_text(encoding="utf-8", errors="ignore")) for f in (file, USUAL_HYP))
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        raise PruneError(f"--hyp {file}: not a YAML file ({reason_of(error)}).") from error
    check_hyperparameters(own if isinstance(own, dict) else {}, usual, file, USUAL_HYP)
