# SPDX-License-Identifier: AGPL-3.0-or-later
"""Fixtures that every part of the test suite shares: one fork and one stock upstream for a whole session.

Both are made once, also where pytest-xdist runs several workers, and are read-only by agreement.
"""

from __future__ import annotations

import fcntl
import importlib
import importlib.util
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import pytest

pytest_plugins = ["workshop", "home_five", "home_seven"]
STOCK = "ultralytics==8.4.190"  # the pin's release, as pip installs it


@pytest.fixture(scope="session")
def shared_tmp(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder that all workers of this session share."""
    base = tmp_path_factory.getbasetemp()
    return base.parent if "PYTEST_XDIST_WORKER" in os.environ else base


@pytest.fixture(scope="session")
def fork(shared_tmp: Path) -> Path:
    """Return the root of a fork of ultralytics that `prunekit setup v8` has made. Do not write into it."""
    if given := os.environ.get("PRUNEKIT_FORK"):  # `prunekit pins update` tries the fork that it would make
        return Path(given)
    folder = shared_tmp / "fork-v8"
    _once(folder, lambda: _run(["-m", "prunekit", "setup", "v8", str(folder)], "prunekit setup v8"))
    compiled = folder.with_name("compiled-v8")  # copies bring it along
    _once(compiled, lambda: _run(["-m", "compileall", "-q", str(folder)], "compileall"))
    return folder


@pytest.fixture(scope="session")
def stock(shared_tmp: Path) -> Path:
    """Return a folder with the unpatched upstream as pip installs it; put it on PYTHONPATH of a separate process."""
    folder = shared_tmp / "stock"
    options = ["--no-deps", "--only-binary=:all:", "--no-compile", "--quiet", "--target", str(folder)]
    try:
        _once(folder, lambda: _run(["-m", "pip", "install", *options, STOCK], f"pip install {STOCK}"))
    except RuntimeError as error:
        pytest.skip(f"no stock upstream to compare with: {error}")
    return folder


@pytest.fixture(scope="session")
def offline_env(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Return the variables under which upstream code downloads nothing and keeps its settings in a temporary folder."""
    config = tmp_path_factory.mktemp("config")
    fonts = importlib.util.find_spec("matplotlib")
    if fonts and fonts.origin:
        font = Path(fonts.origin).parent / "mpl-data" / "fonts" / "ttf" / "DejaVuSans.ttf"
        for name in ("Arial.ttf", "Arial.Unicode.ttf"):
            shutil.copy(font, config / name)
    switches = {"YOLO_AUTOINSTALL": "false", "YOLO_OFFLINE": "true", "YOLO_VERBOSE": "false"}
    return {"YOLO_CONFIG_DIR": str(config), "MPLBACKEND": "Agg", "OMP_NUM_THREADS": "1", **switches}


@pytest.fixture(scope="session")
def upstream(fork: Path, offline_env: dict[str, str]) -> Iterator[ModuleType]:
    """Import `ultralytics` from the fork into this process, offline, and return it."""
    loaded = sys.modules.get("ultralytics")
    assert loaded is None or str(fork) in str(loaded.__file__), f"another ultralytics is imported: {loaded}"
    with pytest.MonkeyPatch.context() as patch:
        for name, value in offline_env.items():
            patch.setenv(name, value)
        patch.syspath_prepend(str(fork))
        module = importlib.import_module("ultralytics")
        assert str(module.__file__).startswith(str(fork)), (
            f"ultralytics comes from {module.__file__}, not from the fork"
        )
        yield module


def _once(folder: Path, make: Callable[[], None]) -> None:
    """Call `make` unless an earlier worker has: its success is a mark beside `folder`, its failure another."""
    done, failed = folder.with_suffix(".done"), folder.with_suffix(".failed")
    with folder.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if failed.exists():
            raise RuntimeError(failed.read_text())
        if not done.exists():
            try:
                make()
            except RuntimeError as error:
                failed.write_text(str(error))
                raise
            done.touch()


def _run(args: list[str], what: str) -> None:
    """Run this Python; raises RuntimeError with the end of what it said."""
    command = [sys.executable, *args]
    done = subprocess.run(command, check=False, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    if done.returncode:
        raise RuntimeError(f"{what} failed with {done.returncode}: {(done.stdout + done.stderr)[-2000:]}")
