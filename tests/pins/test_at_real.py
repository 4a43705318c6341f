# SPDX-License-Identifier: AGPL-3.0-or-later
"""`setup --at` on real releases: train, prune and fine-tune there, and load the result in the plain release."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from prunekit.demo.digits import build

pytestmark = [pytest.mark.upstream, pytest.mark.slow]
PROGRAM = Path(__file__).with_name("at_release.py")
RELEASES = ("8.2.0", "8.2.93", "8.3.0", "8.3.160", "8.4.49", "8.4.150")


def python(words: list[str], env: dict[str, str], cwd: Path) -> str:
    """Run this Python; what it said. Fails unless it ends well."""
    done = subprocess.run(
        [sys.executable, *words], cwd=cwd, env=env, capture_output=True, text=True, check=False, timeout=600
    )
    assert done.returncode == 0, (done.stdout + done.stderr)[-4000:]
    return done.stdout


def answer(said: str) -> dict[str, Any]:
    """What the program found."""
    return dict(json.loads(said.rpartition("ANSWERS")[2].splitlines()[0]))


@pytest.mark.parametrize("release", RELEASES)
def test_a_release_from_training_to_stock(release: str, offline_env: dict[str, str], tmp_path: Path) -> None:
    """The pruned network is smaller, and the release as pip installs it computes what the fork does."""
    fork, stock = tmp_path / "fork", tmp_path / "stock"
    env = {**os.environ, **offline_env, "TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD": "1"}  # plain releases are older than that
    made = subprocess.run(
        [sys.executable, "-m", "prunekit", "setup", "v8", "--at", release, str(fork)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    if made.returncode == 3:
        pytest.skip(f"{release} cannot be had here: {made.stderr.strip().splitlines()[-1]}")
    assert made.returncode == 0, made.stderr
    build(tmp_path / "data", train=16, val=8, imgsz=64, seed=0)
    forked = answer(python([str(PROGRAM), "make", str(tmp_path)], {**env, "PYTHONPATH": str(fork)}, fork))
    assert forked["version"] == release and forked["params"] < 1_200_000, forked
    options = ["--no-deps", "--no-compile", "--quiet", "--target", str(stock)]
    python(["-m", "pip", "install", *options, f"ultralytics=={release}"], env, tmp_path)
    plain = answer(python([str(PROGRAM), "load", str(tmp_path)], {**env, "PYTHONPATH": str(stock)}, tmp_path))
    assert plain == forked
