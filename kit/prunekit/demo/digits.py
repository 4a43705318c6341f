# SPDX-License-Identifier: AGPL-3.0-or-later
"""The demo's data set on disk, in upstream's format: handwritten digits composed into small scenes.

Needs numpy, Pillow and scikit-learn, imported only when a set is built. The same arguments give the same bytes.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .scenes import Scene

NAMES = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
TASKS = ("detect", "segment", "pose", "obb", "classify")
# Says what a folder was built with; raise FORMAT when the same arguments begin to give other bytes.
STAMP, FORMAT = "digits.json", 1


def build(
    dir: str | os.PathLike[str],
    train: int = 200,
    val: int = 60,
    imgsz: int = 64,
    seed: int = 0,
    task: str = "detect",
) -> Path:
    """Build the set in `dir`, or find it there, and return what upstream takes as `data`.

    Args:
        dir: folder to make; one that this function made before is used again, or replaced if the arguments differ.
        train: number of images to train on.
        val: number of images to validate on; their scans are others.
        imgsz: pixels per side, at least 32.
        seed: any integer from 0.
        task: detect, segment, pose, obb or classify.

    Returns:
        The absolute path of data.yaml; for classify, that of the folder.

    Raises:
        ValueError: an argument is out of range.
        FileExistsError: `dir` holds something else.
        ModuleNotFoundError: numpy, Pillow or scikit-learn is missing.
    """
    _check(train, val, imgsz, seed, task)
    target = Path(dir).resolve()
    stamp = {
        "format": FORMAT,
        "train": train,
        "val": val,
        "imgsz": imgsz,
        "seed": seed,
        "task": task,
    }
    if _stamp_of(target) != stamp:
        _build_whole(target, stamp)
    if task == "classify":
        return target
    return _describe(target, task)


def _check(train: int, val: int, imgsz: int, seed: int, task: str) -> None:
    """Raise ValueError for the first argument that is out of range."""
    if task not in TASKS:
        raise ValueError(f"task {task!r} is not one of {', '.join(TASKS)}")
    for name, value, least in (
        ("train", train, 1),
        ("val", val, 1),
        ("imgsz", imgsz, 32),
        ("seed", seed, 0),
    ):
        if value < least:
            raise ValueError(f"{name} is {value}, but must be at least {least}")


def _stamp_of(target: Path) -> dict[str, Any] | None:
    """What `target` was built with; None if there is no such folder.

    Raises:
        FileExistsError: it is there, and not one of ours.
    """
    if not target.exists() or (target.is_dir() and not any(target.iterdir())):
        return None
    try:
        return json.loads((target / STAMP).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        raise FileExistsError(f"{target} exists and is not a digits data set: name another folder") from None


def _build_whole(target: Path, stamp: dict[str, Any]) -> None:
    """Make the set beside `target`, then move it there, so that no half-made set is ever seen."""
    target.parent.mkdir(parents=True, exist_ok=True)
    work = Path(tempfile.mkdtemp(prefix=f".{target.name}-", dir=target.parent))
    try:
        made = work / "made"
        _write(made, stamp)
        if target.exists():
            target.rename(work / "old")
        made.rename(target)
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _write(folder: Path, stamp: dict[str, Any]) -> None:
    """Write images and labels of both splits, and the stamp."""
    from .scenes import Look, compose, split_scans

    task, seed = stamp["task"], stamp["seed"]
    look = Look(
        stamp["imgsz"],
        cells=1 if task == "classify" else 2,
        turn=40.0 if task == "obb" else 0.0,
    )
    for number, (split, pool) in enumerate(zip(("train", "val"), split_scans(seed), strict=True)):
        scenes = compose(pool, stamp[split], look, seed=(seed, number))
        (_write_classes if task == "classify" else _write_split)(folder, split, scenes, task)
    (folder / STAMP).write_text(json.dumps(stamp) + "\n", encoding="utf-8")


def _write_split(folder: Path, split: str, scenes: Iterable[Scene], task: str) -> None:
    """images/SPLIT/00000.png and labels/SPLIT/00000.txt, and so on."""
    from PIL import Image

    from .labels import label_text

    images, labels = folder / "images" / split, folder / "labels" / split
    images.mkdir(parents=True)
    labels.mkdir(parents=True)
    for number, scene in enumerate(scenes):
        Image.fromarray(scene.pixels).save(images / f"{number:05}.png")
        (labels / f"{number:05}.txt").write_text(label_text(scene, task), encoding="utf-8")


def _write_classes(folder: Path, split: str, scenes: Iterable[Scene], _task: str) -> None:
    """SPLIT/CLASS/00000.png, with a folder for each of the ten classes."""
    from PIL import Image

    for name in range(len(NAMES)):
        (folder / split / str(name)).mkdir(parents=True)
    for number, scene in enumerate(scenes):
        Image.fromarray(scene.pixels).save(folder / split / str(scene.digits[0].label) / f"{number:05}.png")


def _describe(target: Path, task: str) -> Path:
    """Write data.yaml, unless it is right already, and return its path.

    Absolute paths, because each upstream resolves relative ones against another folder (YOLOv7: the current one).
    """
    lines = [
        "# Digits of scikit-learn's bundled scans, composed by prunekit.",
        f"path: {json.dumps(str(target))}",
        *(f"{split}: {json.dumps(str(target / 'images' / split))}" for split in ("train", "val")),
        f"nc: {len(NAMES)}",
        f"names: [{', '.join(NAMES)}]",
    ]
    if task == "pose":
        from .labels import KEYPOINTS, MIRRORED

        lines += [f"kpt_shape: [{KEYPOINTS}, 3]", f"flip_idx: {MIRRORED}"]
    path, text = target / "data.yaml", "\n".join(lines) + "\n"
    if not path.exists() or path.read_text(encoding="utf-8") != text:
        path.write_text(text, encoding="utf-8")
    return path
