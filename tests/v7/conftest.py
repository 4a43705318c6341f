# SPDX-License-Identifier: AGPL-3.0-or-later
"""A fork of YOLOv7, the forks on the way to it, the pristine upstream, and the packages that all of them need."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest
from forkhome import made_once
from home_seven import HERE, Home

PACKAGES = ("seaborn>=0.11.0", "tqdm>=4.66.3")


@pytest.fixture(scope="session")
def stack7(shared_tmp: Path) -> Path:
    """A folder with the packages that YOLOv7 takes from pip, or a skip that says why there is none."""
    folder = shared_tmp / "stack-v7"
    words = ["-m", "pip", "install", "--no-deps", "--only-binary=:all:", "--no-compile", "--quiet"]
    made_once(folder, [*words, "--target", folder, *PACKAGES], f"no pip packages for YOLOv7 ({', '.join(PACKAGES)})")
    return folder


@pytest.fixture(scope="session")
def fork7(shared_tmp: Path) -> Path:
    """The root of a fork that `prunekit setup v7` has made, or a skip where upstream cannot be fetched."""
    if given := os.environ.get("PRUNEKIT_FORK"):  # `prunekit pins update` tries the fork that it would make
        return Path(given)
    folder = shared_tmp / "fork-v7"
    made_once(folder, ["-m", "prunekit", "setup", "v7", folder], "no YOLOv7 sources")
    compiled = folder.with_name("compiled-v7")  # copies bring it along
    made_once(compiled, ["-m", "compileall", "-q", folder], "no bytecode")
    return folder


@pytest.fixture(scope="session")
def env7(stack7: Path, offline_env: dict[str, str]) -> dict[str, str]:
    """Variables under which YOLOv7 runs offline; the pip packages are importable, nothing else is added."""
    return {**os.environ, **offline_env, "PYTHONPATH": str(stack7), "CUDA_VISIBLE_DEVICES": "-1"}


@pytest.fixture(scope="session")
def copy_of(env7: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Callable[[Path], Home]:
    """Make a private copy of any YOLOv7 folder; for fixtures that outlive a test."""
    return lambda root: _copy(root, tmp_path_factory.mktemp("copy") / "fork", env7)


@pytest.fixture
def home(fork7: Path, env7: dict[str, str], tmp_path: Path) -> Home:
    """A private copy of the fork to work in."""
    return _copy(fork7, tmp_path / "fork", env7)


@pytest.fixture(scope="session")
def prefix7(
    fork7: Path, copy_of: Callable[[Path], Home], tmp_path_factory: pytest.TempPathFactory
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
        return copy_of(folder)

    return make


@pytest.fixture(scope="session")
def tiny7(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The data YAML of sixteen scenes to train on and eight to validate on, 64 px."""
    from prunekit.demo.digits import build

    return build(tmp_path_factory.mktemp("tiny7") / "detect", train=16, val=8, imgsz=64, seed=0, task="detect")


def _copy(root: Path, target: Path, env: dict[str, str]) -> Home:
    shutil.copytree(root, target)
    paths = os.pathsep.join([env["PYTHONPATH"], str(target), str(HERE), str(HERE.parent / "engine")])
    return Home(target, {**env, "PYTHONPATH": paths})


def _git(folder: Path, *words: str) -> bytes:
    return subprocess.run(["git", "-C", str(folder), *words], capture_output=True, check=True).stdout


def _unpack(fork: Path, folder: Path, commit: str, *paths: str) -> None:
    """Put a commit's files, or some of them, into a folder."""
    archive = _git(fork, "archive", commit, "--", *paths) if paths else _git(fork, "archive", commit)
    subprocess.run(["tar", "-x", "-C", str(folder)], input=archive, check=True)
