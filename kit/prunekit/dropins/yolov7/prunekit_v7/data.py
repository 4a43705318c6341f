# SPDX-License-Identifier: AGPL-3.0-or-later
"""Data sets, hyperparameters and other files that a command line names, found as upstream finds them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
import yaml
from pruning.errors import NoData, PruneError
from pruning.failures import reason_of
from pruning.family.contract import Network
from pruning.family.data_check import check_names, check_places
from pruning.family.defaults import require_classes
from pruning.family.ranges import check_hyperparameters, check_numbers
from pruning.files import check_yaml
from pruning.training import ddp as ranks
from utils.datasets import img_formats

from .arguments import ROOT

LEAST = {
    "epochs": 0,
    "img_size": 1,
    "workers": 0,
    "batch_size": 1,
    "label_smoothing": 0,
    "bbox_interval": -1,
    "save_period": -1,
}
ARCHITECTURE = ("nc", "depth_multiple", "width_multiple", "anchors", "backbone", "head")
USUAL_HYP = ROOT / "data" / "hyp.scratch.p5.yaml"


def found(flag: str, name: str) -> str:
    """The file that upstream would find under a name, absolute, so that --resume finds it from anywhere.

    Raises:
        PruneError: there is none, or more than one.
    """
    for place in (Path(name), ROOT / name):
        if place.is_file():
            return str(place.resolve())
    files = _below(name)
    if len(files) == 1:
        return str(files[0].resolve())
    if files:
        raise PruneError(f"{flag} {name}: {len(files)} files match, such as {files[0]} and {files[1]}. Give the path.")
    hint = " A data set's YAML holds train, val, nc and names; data/coco.yaml is one." if flag == "--data" else ""
    raise PruneError(f"{flag} {name}: no such file, here or in the fork.{hint}")


def _below(name: str) -> list[Path]:
    """Files of that name at any depth of the current folder; upstream's own search follows links, and loops of them."""
    try:
        return [path for path in Path().rglob(name) if path.is_file()]
    except (ValueError, NotImplementedError, OSError):  # an absolute path, or a name that no file can have
        return []


def read_yaml(flag: str, path: str) -> dict[str, Any]:
    """A YAML file of `key: value` lines.

    Raises:
        PruneError: unreadable, or something else.
    """
    check_yaml(flag, Path(path))
    try:
        with open(path, encoding="utf-8", errors="ignore") as file:
            content = yaml.safe_load(file)
    except (OSError, yaml.YAMLError, RecursionError, ValueError) as error:
        raise PruneError(f"{flag} {path}: cannot be read: {reason_of(error)}") from error
    if not isinstance(content, dict):
        raise PruneError(f"{flag} {path}: expected 'key: value' lines.")
    return content


def read_architecture(flag: str, path: str) -> dict[str, Any]:
    """A network's YAML.

    Raises:
        PruneError: unreadable, or it describes no network.
    """
    content = read_yaml(flag, path)
    if missing := [key for key in ARCHITECTURE if key not in content]:
        raise PruneError(f"{flag} {path}: no '{missing[0]}:' in it; it is no YOLOv7 architecture.")
    return content


def check_values(given: Mapping[str, Any]) -> None:
    """Numbers out of range, a batch that cannot be shared.

    Args:
        given: upstream's options by destination.

    Raises:
        PruneError: naming the option.
    """
    check_numbers(given, LEAST)
    ranks.check_batch(given["batch_size"])


def check_hyp(file: str) -> None:
    """PruneError unless the file holds every hyperparameter that upstream's usual one holds."""
    own, usual = (read_yaml("--hyp", str(name)) for name in (file, USUAL_HYP))
    check_hyperparameters(own, usual, file, USUAL_HYP)


def check_device(device: str) -> None:
    """PruneError for a device that is not here, before anything is done on another."""
    if device.lower() in ("", "cpu"):
        return
    if not torch.cuda.is_available():
        raise PruneError(f"--device {device}: no CUDA device here. Add --device cpu, or leave --device out.")
    numbers = device.split(",")
    if gone := [n for n in numbers if not n.isdigit() or int(n) >= torch.cuda.device_count()]:
        raise PruneError(f"--device {device}: {gone[0]} is none of the {torch.cuda.device_count()} CUDA devices here.")


def check_set(name: str, single_cls: bool) -> int:
    """A data set by itself, before upstream's own check would try to download it.

    Returns:
        How many classes it has.

    Raises:
        PruneError: a key or a folder is missing, or the classes are not what YOLOv7 can read.
    """
    data = read_yaml("--data", name)
    if missing := [key for key in ("train", "val", "nc", "names") if key not in data]:
        raise PruneError(f"--data {name}: no '{missing[0]}:' in it; YOLOv7 needs train, val, nc and names.")
    for key in ("train", "val"):
        check_places(name, key, data[key], img_formats)
    number = 1 if single_cls else data["nc"]
    names = data["names"] if isinstance(data["names"], (list, tuple, dict)) else ()
    if type(number) is not int or number < 1 or (not single_cls and len(names) != number):
        raise PruneError(f"--data {name}: 'nc: {number}' must be a number, and 'names:' as many names.")
    check_names(names, name)
    return number


def check_data(name: str, model: Network, weights: Path, trainer: str, single_cls: bool) -> None:
    """Hold a data set against a network.

    Raises:
        PruneError: a key or a folder is missing, or the number of classes is another.
    """
    if not name:
        raise NoData(f"no data set given, and that of {weights} is not known: --data data/custom.yaml")
    classes, own = check_set(name, single_cls), model.yaml["nc"]
    train = f"python {trainer} --weights {weights} --data {name}"
    require_classes(own, classes, weights, name, "--single-cls", train)
