# SPDX-License-Identifier: AGPL-3.0-or-later
"""A fork of YOLOv5, the pristine upstream beside it, and the packages that both need, made once for a session.

`HERE` and `SERIES` are where its tests and its patches lie; `Home` is a YOLOv5 folder, fork or pristine.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest
from forkhome import Home, copied, packages, set_up, without_patch

__all__ = ["HERE", "SERIES", "Home"]
HERE = Path(__file__).parent / "v5"
KIT = Path(os.environ.get("PRUNEKIT_KIT") or HERE.parents[1])  # another one while `pins update` tries it
SERIES = KIT / "patches" / "yolov5"
PACKAGES = ("ultralytics-opencv-headless>=8.4.118", "seaborn>=0.11.0", "tqdm>=4.66.3")


@pytest.fixture(scope="session")
def fork5(shared_tmp: Path) -> Path:
    """The root of a fork that `prunekit setup v5` has made. Do not write into it."""
    return set_up(shared_tmp, "v5", "YOLOv5")


@pytest.fixture(scope="session")
def pristine5(fork5: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Upstream as it is at the pin: the fork's root commit, whose blobs setup has checked against the manifest."""
    folder = tmp_path_factory.mktemp("pristine") / "yolov5"
    git = ["git", "-C", str(fork5)]
    root = subprocess.run([*git, "rev-list", "--max-parents=0", "HEAD"], capture_output=True, text=True, check=True)
    folder.mkdir()
    archive = subprocess.run([*git, "archive", root.stdout.strip()], capture_output=True, check=True)
    subprocess.run(["tar", "-x", "-C", str(folder)], input=archive.stdout, check=True)
    assert not (folder / "prunekit_v5").exists()
    return folder


@pytest.fixture(scope="session")
def env5(shared_tmp: Path, offline_env: dict[str, str]) -> dict[str, str]:
    """Variables under which YOLOv5 runs offline; the pip packages are importable, nothing else is added."""
    own = {
        "YOLOv5_CONFIG_DIR": offline_env["YOLO_CONFIG_DIR"],
        "PYTHONPATH": str(packages(shared_tmp, "v5", "YOLOv5", PACKAGES)),
        "CUDA_VISIBLE_DEVICES": "-1",
    }
    return {**os.environ, **offline_env, **own}


@pytest.fixture(scope="session")
def copy5(env5: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Callable[[Path], Home]:
    """Make a private copy of any YOLOv5 folder, with settings of its own."""

    def make(root: Path) -> Home:
        folder = tmp_path_factory.mktemp("copy")
        config = str(shutil.copytree(env5["YOLOv5_CONFIG_DIR"], folder / "config"))
        return copied(root, folder / "fork", {**env5, "YOLO_CONFIG_DIR": config, "YOLOv5_CONFIG_DIR": config}, HERE)

    return make


@pytest.fixture(scope="session")
def nets5(fork5: Path, copy5: Callable[[Path], Home], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of untrained checkpoints of small networks: dense, seg, six (P6), old (as v5.0), pruned and pruned-seg.

    Those have their YAMLs beside them. nano.pt is upstream's yolov5n.
    """
    folder = tmp_path_factory.mktemp("nets5")
    made = (
        "yolov5n nano.pt",
        "small dense.pt",
        "small-seg seg.pt",
        "six six.pt",
        "small eighty.pt 80",
        "small fused.pt 10 fused",
        "small pruned.pt 10 pruned",
        "small-seg pruned-seg.pt 10 pruned",
        "old old.pt 1 single",
    )
    copy5(fork5).python(HERE / "make_five.py", *made, cwd=folder)
    return folder


@pytest.fixture(scope="session")
def without5(fork5: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[int], Path]:
    """The fork as it would be without patch N of the series (1-based)."""

    @cache
    def make(number: int) -> Path:
        return without_patch(fork5, SERIES, number, tmp_path_factory.mktemp(f"without{number}"))

    return make


@pytest.fixture(scope="session")
def tiny5(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Sixteen scenes to train on and eight to validate on, 64 px, for both tasks: {task: data YAML}."""
    from prunekit.demo.digits import build

    folder = tmp_path_factory.mktemp("tiny5")
    return {task: build(folder / task, train=16, val=8, imgsz=64, seed=0, task=task) for task in ("detect", "segment")}
