# SPDX-License-Identifier: AGPL-3.0-or-later
"""The digits data set: the same bytes each time, labels that fit the pixels, disjoint splits, every task's format."""
# ruff: noqa: E402  (what the data set needs is imported only where it is installed)

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

for _module in ("numpy", "PIL", "sklearn"):
    pytest.importorskip(_module, reason="the data set needs an upstream's extra: pip install -e '.[ultralytics]'")

import numpy as np
import yaml
from PIL import Image, ImageDraw
from prunekit.demo import digits, labels, scenes

SMALL = {"train": 20, "val": 8}


def _digest(folder: Path) -> str:
    """One hash over every file's relative path and bytes, save data.yaml, which names the folder."""
    sha = hashlib.sha256()
    for path in sorted(p for p in folder.rglob("*") if p.is_file() and p.name != "data.yaml"):
        sha.update(path.relative_to(folder).as_posix().encode() + b"\0" + path.read_bytes())
    return sha.hexdigest()


def _pairs(folder: Path, split: str) -> Iterator[tuple[np.ndarray, list[list[float]]]]:
    """Image and label rows of each image of a split."""
    for path in sorted((folder / "images" / split).iterdir()):
        text = (folder / "labels" / split / f"{path.stem}.txt").read_text()
        yield np.asarray(Image.open(path)), [[float(x) for x in line.split()] for line in text.splitlines()]


def _ink(pixels: np.ndarray) -> np.ndarray:
    """(h, w) bool: pixels that differ from the ground, which is the commonest colour."""
    colours, counts = np.unique(pixels.reshape(-1, 3), axis=0, return_counts=True)
    return (pixels != colours[counts.argmax()]).any(-1)


def _inside(polygon: np.ndarray, side: int, slack: float = 0.0) -> np.ndarray:
    """(side, side) bool: pixel centres inside a convex polygon (n, 2), in pixels, widened by `slack` pixels."""
    y, x = np.mgrid[:side, :side] + 0.5
    inside = np.ones((side, side), bool)
    for (x0, y0), (x1, y1) in zip(polygon, np.roll(polygon, -1, 0), strict=True):
        length = np.hypot(x1 - x0, y1 - y0)
        inside &= ((x1 - x0) * (y - y0) - (y1 - y0) * (x - x0)) / length >= -slack
    return inside


@pytest.mark.parametrize("task", digits.TASKS)
def test_same_seed_gives_the_same_bytes_and_another_seed_others(tmp_path: Path, task: str) -> None:
    for name, seed in (("a", 3), ("b", 3), ("c", 4)):
        digits.build(tmp_path / name, **SMALL, seed=seed, task=task)
    assert _digest(tmp_path / "a") == _digest(tmp_path / "b") != _digest(tmp_path / "c")


def test_a_larger_set_begins_with_the_smaller_one(tmp_path: Path) -> None:
    digits.build(tmp_path / "a", train=5, val=2)
    digits.build(tmp_path / "b", train=9, val=2)
    images = sorted((tmp_path / "a/images/train").iterdir())
    assert len(images) == 5
    assert all(p.read_bytes() == (tmp_path / "b/images/train" / p.name).read_bytes() for p in images)


@pytest.mark.parametrize("imgsz", [64, 96])
def test_each_box_is_the_tightest_around_its_digit_and_all_ink_is_boxed(tmp_path: Path, imgsz: int) -> None:
    digits.build(tmp_path / "d", **SMALL, imgsz=imgsz)
    seen = 0
    for pixels, rows in [*_pairs(tmp_path / "d", "train"), *_pairs(tmp_path / "d", "val")]:
        assert pixels.shape == (imgsz, imgsz, 3)
        left_over = _ink(pixels)
        for _label, x, y, w, h in rows:
            x0, y0, x1, y1 = (round(v * imgsz) for v in (x - w / 2, y - h / 2, x + w / 2, y + h / 2))
            part = _ink(pixels)[y0:y1, x0:x1]
            assert part[0].any() and part[-1].any() and part[:, 0].any() and part[:, -1].any()
            left_over[y0:y1, x0:x1] = False
            seen += 1
        assert not left_over.any()
    assert seen >= 2 * sum(SMALL.values())


def test_each_label_is_the_class_of_the_scan_that_is_drawn() -> None:
    train, _val = scenes.split_scans(seed=0)
    opacity, classes = scenes.scans()
    for scene in scenes.compose(train, 10, scenes.Look(imgsz=64), seed=(0, 0)):
        for digit in scene.digits:
            assert digit.label == classes[digit.scan]
            # Shrunk to 8x8 again, the drawn ink looks like the scan that it names more than like most others.
            rows, columns = np.flatnonzero(digit.opacity.any(1)), np.flatnonzero(digit.opacity.any(0))
            ink = digit.opacity[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
            cropped = [scenes._cropped(opacity[i]) for i in (digit.scan, *range(100))]
            sizes = [Image.fromarray(np.uint8(c * 255)).resize(ink.shape[::-1]) for c in cropped]
            errors = [np.abs(np.asarray(s) / 255 - ink).mean() for s in sizes]
            assert errors[0] <= np.quantile(errors[1:], 0.02)


@pytest.mark.parametrize("seed", [0, 1])
def test_train_and_val_share_no_scan_and_use_all_of_them(seed: int) -> None:
    train, val = scenes.split_scans(seed)
    assert not set(train) & set(val)
    assert sorted(train + val) == list(range(1797))
    look = scenes.Look(imgsz=64)
    drawn = {d.scan for scene in scenes.compose(val, 300, look, seed=(seed, 1)) for d in scene.digits}
    assert drawn == set(val)


def test_digits_of_a_scene_do_not_touch_each_other() -> None:
    train, _val = scenes.split_scans(seed=0)
    for scene in scenes.compose(train, 30, scenes.Look(imgsz=64), seed=(0, 0)):
        assert sum((digit.opacity > 0).astype(int) for digit in scene.digits).max() == 1


def test_data_yaml_is_absolute_and_names_ten_classes(tmp_path: Path) -> None:
    path = digits.build(tmp_path / "a folder", **SMALL)
    data = yaml.safe_load(path.read_text())
    assert path == tmp_path / "a folder" / "data.yaml"
    assert data["nc"] == len(data["names"]) == 10 and data["names"][7] == "seven"
    for split, count in SMALL.items():
        assert Path(data[split]).is_absolute() and len(list(Path(data[split]).iterdir())) == count


def test_segment_polygon_covers_its_digit_and_no_other(tmp_path: Path) -> None:
    digits.build(tmp_path / "d", **SMALL, task="segment")
    for pixels, rows in _pairs(tmp_path / "d", "train"):
        mask = Image.new("1", (64, 64))
        for row in rows:
            # A polygon of pixel corners, filled by PIL up to and including its border.
            ImageDraw.Draw(mask).polygon([v * 64 for v in row[1:]], fill=1)
        covered, ink = np.asarray(mask), _ink(pixels)
        assert covered[ink].all()
        assert ink.sum() > 0.3 * covered.sum()


def test_keypoints_sit_on_the_outermost_ink(tmp_path: Path) -> None:
    path = digits.build(tmp_path / "d", **SMALL, task="pose")
    data = yaml.safe_load(path.read_text())
    assert data["kpt_shape"] == [4, 3] and data["flip_idx"] == [0, 3, 2, 1]
    for pixels, rows in _pairs(tmp_path / "d", "train"):
        ink = _ink(pixels)
        for row in rows:
            x, y, w, h = row[1:5]
            top, right, bottom, left = np.array(row[5:]).reshape(4, 3)
            assert all(
                ink[int(point[1] * 64), int(point[0] * 64)] and point[2] == 2 for point in (top, right, bottom, left)
            )
            assert top[1] == pytest.approx(y - h / 2 + 0.5 / 64, abs=1e-5)
            assert right[0] == pytest.approx(x + w / 2 - 0.5 / 64, abs=1e-5)
            assert bottom[1] == pytest.approx(y + h / 2 - 0.5 / 64, abs=1e-5)
            assert left[0] == pytest.approx(x - w / 2 + 0.5 / 64, abs=1e-5)


def test_turned_rectangles_hold_all_ink_and_are_turned(tmp_path: Path) -> None:
    digits.build(tmp_path / "d", **SMALL, task="obb")
    angles = []
    for pixels, rows in _pairs(tmp_path / "d", "train"):
        covered = np.zeros((64, 64), bool)
        for row in rows:
            corners = np.array(row[1:]).reshape(4, 2) * 64
            edge, next_edge = corners[1] - corners[0], corners[2] - corners[1]
            assert abs(edge @ next_edge) < 0.05 * np.hypot(*edge) * np.hypot(*next_edge)
            angles.append(np.degrees(np.arctan2(edge[1], edge[0])))
            # Interpolation spreads ink by up to a pixel.
            assert (_ink(pixels) & _inside(corners, 64)).sum() > 0.2 * _inside(corners, 64).sum()
            covered |= _inside(corners, 64, slack=1.0)
        assert covered[_ink(pixels)].all()
    assert min(angles) < -15 and max(angles) > 15


def test_classify_has_a_folder_for_each_class(tmp_path: Path) -> None:
    folder = digits.build(tmp_path / "d", **SMALL, task="classify")
    assert folder == tmp_path / "d"
    for split, count in SMALL.items():
        assert sorted(p.name for p in (folder / split).iterdir()) == list("0123456789")
        assert len(list((folder / split).glob("*/*.png"))) == count


def test_a_set_is_reused_as_long_as_its_arguments_are_the_same(tmp_path: Path) -> None:
    digits.build(tmp_path / "d", **SMALL)
    (tmp_path / "d/labels/train.cache").write_text("upstream's cache")
    digits.build(tmp_path / "d", **SMALL)
    assert (tmp_path / "d/labels/train.cache").exists()
    digits.build(tmp_path / "d", train=21, val=8)
    assert not (tmp_path / "d/labels/train.cache").exists()
    assert len(list((tmp_path / "d/images/train").iterdir())) == 21
    assert [p.name for p in tmp_path.iterdir()] == ["d"]


def test_a_moved_set_gets_a_new_data_yaml(tmp_path: Path) -> None:
    digits.build(tmp_path / "a", **SMALL)
    (tmp_path / "a").rename(tmp_path / "b")
    data = yaml.safe_load(digits.build(tmp_path / "b", **SMALL).read_text())
    assert data["path"] == str(tmp_path / "b")


def test_a_folder_with_other_things_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("precious")
    with pytest.raises(FileExistsError, match="not a digits data set"):
        digits.build(tmp_path, **SMALL)
    assert [p.name for p in tmp_path.iterdir()] == ["thesis.txt"]


def test_a_failure_half_way_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(labels.ROWS, "detect", lambda digit, side: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        digits.build(tmp_path / "d", **SMALL)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [({"task": "track"}, "'track' is not one of detect"), ({"train": 0}, "train is 0"), ({"imgsz": 8}, "at least 32")],
)
def test_bad_arguments_are_named(tmp_path: Path, arguments: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        digits.build(tmp_path / "d", **arguments)
    assert not list(tmp_path.iterdir())


def test_importing_the_builder_does_not_import_numpy() -> None:
    code = "import sys, prunekit.demo.digits; sys.exit('numpy' in sys.modules or 'sklearn' in sys.modules)"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    assert subprocess.run([sys.executable, "-c", code], env=environment, check=False).returncode == 0
