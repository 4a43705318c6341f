# SPDX-License-Identifier: AGPL-3.0-or-later
"""A fork of YOLOv5, the pristine upstream beside it, and the packages that both need, made once for a session."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest
from forkhome import made_once, without_patch
from home_five import HERE, SERIES, Home

PACKAGES = ("ultralytics-opencv-headless>=8.4.118", "seaborn>=0.11.0", "tqdm>=4.66.3")


@pytest.fixture(scope="session")
def stack5(shared_tmp: Path) -> Path:
    """A folder with the packages that YOLOv5 takes from pip, or a skip that says why there is none."""
    folder = shared_tmp / "stack-v5"
    words = ["-m", "pip", "install", "--no-deps", "--only-binary=:all:", "--no-compile", "--quiet"]
    lacking = f"no pip packages for YOLOv5 ({', '.join(PACKAGES)})"
    made_once(folder, [*words, "--target", str(folder), *PACKAGES], lacking)
    return folder


@pytest.fixture(scope="session")
def fork5(shared_tmp: Path) -> Path:
    """The root of a fork that `prunekit setup v5` has made, or a skip where upstream cannot be fetched."""
    if given := os.environ.get("PRUNEKIT_FORK"):  # `prunekit pins update yolov5` tries the fork that it would make
        return Path(given)
    folder = shared_tmp / "fork-v5"
    made_once(folder, ["-m", "prunekit", "setup", "v5", str(folder)], "no YOLOv5 sources")
    compiled = folder.with_name("compiled-v5")  # copies bring it along
    made_once(compiled, ["-m", "compileall", "-q", folder], "no bytecode")
    return folder


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
def env5(stack5: Path, offline_env: dict[str, str]) -> dict[str, str]:
    """Variables under which YOLOv5 runs offline; the pip packages are importable, nothing else is added."""
    own = {"YOLOv5_CONFIG_DIR": offline_env["YOLO_CONFIG_DIR"], "PYTHONPATH": str(stack5), "CUDA_VISIBLE_DEVICES": "-1"}
    return {**os.environ, **offline_env, **own}


@pytest.fixture
def home(fork5: Path, env5: dict[str, str], tmp_path: Path) -> Home:
    """A private copy of the fork to work in."""
    return _copy(fork5, tmp_path / "fork", env5, tmp_path)


@pytest.fixture(scope="session")
def copy_of(env5: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Callable[[Path], Home]:
    """Make a private copy of any YOLOv5 folder; for fixtures that outlive a test."""
    return lambda root: _copy(root, (folder := tmp_path_factory.mktemp("copy")) / "fork", env5, folder)


def _copy(root: Path, target: Path, env: dict[str, str], folder: Path) -> Home:
    shutil.copytree(root, target)
    shutil.copytree(env["YOLOv5_CONFIG_DIR"], folder / "config")
    own = {"YOLO_CONFIG_DIR": str(folder / "config"), "YOLOv5_CONFIG_DIR": str(folder / "config")}
    paths = os.pathsep.join([env["PYTHONPATH"], str(target), str(HERE), str(HERE.parent / "engine")])
    return Home(target, {**env, **own, "PYTHONPATH": paths})


@pytest.fixture(scope="session")
def nets5(fork5: Path, copy_of: Callable[[Path], Home], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of untrained checkpoints: dense, seg, six (P6), old (as v5.0), pruned and pruned-seg (with YAMLs)."""
    folder = tmp_path_factory.mktemp("nets5")
    made = (
        "yolov5n dense.pt",
        "yolov5n-seg seg.pt",
        "yolov5n6 six.pt",
        "yolov5n eighty.pt 80",
        "yolov5n fused.pt 10 fused",
        "yolov5n pruned.pt 10 pruned",
        "yolov5n-seg pruned-seg.pt 10 pruned",
        "old old.pt 1 single",
    )
    copy_of(fork5).python(HERE / "make_five.py", *made, cwd=folder)
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
