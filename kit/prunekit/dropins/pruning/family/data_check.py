# SPDX-License-Identifier: AGPL-3.0-or-later
"""What is wrong with a data set, found before hours of work: folders, and one training batch through the loss."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..errors import PruneError
from ..failures import reason_of
from ..files import is_barren

NONE_LEFT = "not enough values to unpack"  # upstream's tuple of no images


def check_places(data: str, key: str, value: Any, endings: Collection[str]) -> None:
    """Refuse a split (`train:`, `val:`) whose folders or list files are not there, or hold no images.

    Args:
        data: the data set's YAML, for the message.
        key, value: the split, one path or several.
        endings: of image files, without dots.

    Raises:
        PruneError: naming the split and the path.
    """
    listed = value if isinstance(value, (list, tuple)) else [value]
    if not listed or any(not isinstance(place, (str, Path)) or not str(place) for place in listed):
        raise PruneError(f"--data {data}: {key}: {value!r} names no folder of images. Give one.")
    for place in map(Path, listed):
        if not place.exists():
            where = "" if place.is_absolute() else f" below {Path.cwd()}"
            raise PruneError(
                f"--data {data}: {key}: {place} is not there{where}. Correct its paths, or give another --data."
            )
        if loop := looping(place):
            raise PruneError(f"--data {data}: {key}: {loop} is a link to a folder that it lies in. Remove the link.")
        if is_barren(place, endings) or (place.is_file() and not _lists_images(place, endings)):
            raise PruneError(f"--data {data}: {key}: no images in {place}. Give another data set.")


def _lists_images(file: Path, endings: Collection[str]) -> bool:
    """Whether a file that stands for a split names an image, one path a line."""
    with file.open(encoding="utf-8", errors="replace") as lines:
        return any(line.strip().rpartition(".")[2].lower() in endings for line in lines)


def looping(place: Path) -> Path | None:
    """A link, at any depth, to a folder that it lies in: upstreams follow it for ever."""
    pending: list[tuple[Path, tuple[str, ...]]] = [(place, (os.path.realpath(place),))] if place.is_dir() else []
    while pending:
        folder, above = pending.pop()
        for entry in os.scandir(folder):
            if not entry.is_dir():
                continue
            real = os.path.realpath(entry.path)
            if real in above or any(one.startswith(real + os.sep) for one in above):
                return Path(entry.path)
            pending.append((Path(entry.path), (*above, real)))
    return None


def rehearse(losses: Iterable[Tensor], data: str) -> None:
    """Put one batch of training images through the loss, as fine-tuning will: what fails there fails now.

    Raises:
        PruneError: no batch can be made, or its loss is not finite.
    """
    hint = "Look at its images and labels, at --hyp, and at the augmentation's values."
    try:
        with torch.no_grad():
            loss = next(iter(losses), None)
    except (PruneError, MemoryError, torch.OutOfMemoryError):
        raise
    except (Exception, SystemExit) as error:
        raise PruneError(f"--data {data}: no training batch can be made of it ({reason_of(error)}). {hint}") from error
    if loss is None or not bool(torch.isfinite(loss)):
        found = "there is none" if loss is None else f"its loss is {float(loss)}"
        raise PruneError(f"--data {data}: the first training batch: {found}. {hint}")


def check_split(make: Callable[[], Any], key: str, classes: int, data: str) -> None:
    """Refuse a split that upstream cannot read, or whose labels are of other classes.

    Args:
        make: builds upstream's data set of that split, with `labels` and `im_files` or `img_files`.
        key: the split (`val`).

    Raises:
        PruneError: naming the split and the reason.
    """
    try:
        made = make()
    except (PruneError, MemoryError):
        raise
    except (Exception, SystemExit) as error:
        why = "every image, or its label, is damaged" if NONE_LEFT in str(error) else reason_of(error)
        raise PruneError(f"--data {data}: {key}: cannot be read ({why}). Look at its images and labels.") from error
    paths: Iterable[str] = made.im_files if hasattr(made, "im_files") else made.img_files
    check_names_of_images(paths, data)
    check_classes(made.labels, key, classes, data)


def check_names_of_images(paths: Iterable[str], data: str) -> None:
    """Refuse a name that is not UTF-8: OpenCV does not fail to open such a file, it ends the process.

    Raises:
        PruneError: naming the image.
    """
    for path in map(str, paths):
        if not path.isprintable() and any("\udc80" <= sign <= "\udcff" for sign in path):
            raise PruneError(f"--data {data}: {path}: the name of this image is not UTF-8. Rename it.")


def check_readable(images: Iterator[Tensor], data: str) -> None:
    """Where nothing is trained, layers may still be solved on training images: can the first one be read?

    Raises:
        PruneError: naming the data set and the reason.
    """
    try:
        next(images, None)
    except (PruneError, MemoryError):
        raise
    except (Exception, SystemExit) as error:
        hint = "Look at its images and labels."
        raise PruneError(f"--data {data}: train: cannot be read ({reason_of(error)}). {hint}") from error


def check_names(names: Any, data: str) -> None:
    """Refuse names of classes that are no names.

    Raises:
        PruneError: naming the first such.
    """
    listed = list(names.values()) if isinstance(names, Mapping) else list(names)
    if odd := [name for name in listed if not isinstance(name, (str, int, float))]:
        raise PruneError(f"--data {data}: names: {str(odd[0])[:80]} is no name of a class. Write one text for each.")


def check_classes(labels: Sequence[Any], key: str, classes: int, data: str) -> None:
    """Refuse a split without any label, or with labels of classes that the data set does not have.

    Args:
        labels: per image an array (objects, 5 or more) whose first column is the class.
        key: the split (`val`).

    Raises:
        PruneError: naming the split, or the largest class.
    """
    found = [array[:, 0] for array in labels if len(array)]
    if not found:
        raise PruneError(f"--data {data}: {key}: no image has a label. Are the label files where upstream looks?")
    largest, least = max(map(max, found)), min(map(min, found))
    if largest >= classes or least < 0:
        wrong = largest if largest >= classes else least
        raise PruneError(f"--data {data}: a label has class {wrong:g}, but 'nc: {classes}' has 0 to {classes - 1}.")
