# SPDX-License-Identifier: AGPL-3.0-or-later
"""A fork of one's own per test, and tiny data."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
from workshop import Workshop


@pytest.fixture
def workshop(fork: Path, offline_env: dict[str, str], tmp_path: Path) -> Workshop:
    """A private copy of the fork with nothing else importable as ultralytics."""
    root = tmp_path / "fork"
    shutil.copytree(fork, root)
    env = {**os.environ, **offline_env, "OMP_NUM_THREADS": "1"}
    env.pop("PYTHONPATH", None)
    return Workshop(root, env)


@pytest.fixture(scope="session")
def tiny_set(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Sixteen scenes to train on and eight to validate on, 64 px: enough to run everything, not to learn."""
    from prunekit.demo.digits import build

    return build(tmp_path_factory.mktemp("tiny") / "digits", train=16, val=8, imgsz=64, seed=0)
