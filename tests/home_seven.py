# SPDX-License-Identifier: AGPL-3.0-or-later
"""A fork of YOLOv7, the forks on the way to it, the pristine upstream, and the packages that all of them need.

`HERE` and `SERIES` are where its tests and its patches lie; `Home` is a YOLOv7 folder, fork or pristine.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest
from forkhome import Home, copied, packages, set_up

__all__ = ["HERE", "SERIES", "Home"]
HERE = Path(__file__).parent / "v7"
KIT = Path(os.environ.get("PRUNEKIT_KIT") or HERE.parents[1])  # another one while `pins update` tries it
SERIES = KIT / "patches" / "yolov7"
PACKAGES = ("seaborn>=0.11.0", "tqdm>=4.66.3")


@pytest.fixture(scope="session")
def fork7(shared_tmp: Path) -> Path:
    """The root of a fork that `prunekit setup v7` has made. Do not write into it."""
    return set_up(shared_tmp, "v7", "YOLOv7")


@pytest.fixture(scope="session")
def env7(shared_tmp: Path, offline_env: dict[str, str]) -> dict[str, str]:
    """Variables under which YOLOv7 runs offline; the pip packages are importable, nothing else is added."""
    return {
        **os.environ,
        **offline_env,
        "PYTHONPATH": str(packages(shared_tmp, "v7", "YOLOv7", PACKAGES)),
        "CUDA_VISIBLE_DEVICES": "-1",
    }


@pytest.fixture(scope="session")
def copy7(env7: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Callable[[Path], Home]:
    """Make a private copy of any YOLOv7 folder."""
    return lambda root: copied(root, tmp_path_factory.mktemp("copy") / "fork", env7, HERE)


@pytest.fixture(scope="session")
def prefix7(
    fork7: Path, copy7: Callable[[Path], Home], tmp_path_factory: pytest.TempPathFactory
) -> Callable[[int], Home]:
    """The fork as it is after its first N patches, drop-ins beside them: `prefix7(N - 1)` lacks patch N.

    0 is upstream as it is at the pin, without the drop-ins: the fork's root commit, whose blobs setup has checked.
    """

    @cache
    def make(number: int) -> Home:
        folder = tmp_path_factory.mktemp(f"prefix{number}") / "fork"
        folder.mkdir()
        commits = _git(fork7, "rev-list", "--reverse", "HEAD").decode().split()
        _unpack(fork7, folder, commits[number])
        if number:
            added = _git(fork7, "diff", "--name-only", "--diff-filter=A", commits[-2], commits[-1]).decode().split()
            _unpack(fork7, folder, commits[-1], *added)
        return copy7(folder)

    return make


@pytest.fixture(scope="session")
def tiny7(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The data YAML of sixteen scenes to train on and eight to validate on, 64 px."""
    from prunekit.demo.digits import build

    return build(tmp_path_factory.mktemp("tiny7") / "detect", train=16, val=8, imgsz=64, seed=0, task="detect")


def _git(folder: Path, *words: str) -> bytes:
    return subprocess.run(["git", "-C", str(folder), *words], capture_output=True, check=True).stdout


def _unpack(fork: Path, folder: Path, commit: str, *paths: str) -> None:
    """Put a commit's files, or some of them, into a folder."""
    archive = _git(fork, "archive", commit, "--", *paths) if paths else _git(fork, "archive", commit)
    subprocess.run(["tar", "-x", "-C", str(folder)], input=archive, check=True)
