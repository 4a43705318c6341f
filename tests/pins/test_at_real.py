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
from forkhome import Home
from prunekit.demo.digits import build
from workshop import SMALL

pytestmark = [pytest.mark.upstream, pytest.mark.slow]
PROGRAM = Path(__file__).with_name("at_release.py")
# The first that is supported (a patch in its older form), one that lacks a block, and one between two pins. The matrix
# in docs/compatibility.md holds two dozen, and engine/test_cases.py prunes at 8.4.49.
RELEASES = ("8.2.0", "8.3.0", "8.4.150")


def answer(said: str) -> dict[str, Any]:
    """What the program found."""
    return dict(json.loads(said.rpartition("ANSWERS")[2].splitlines()[0]))


@pytest.mark.parametrize("release", RELEASES)
def test_a_release_from_training_to_stock(release: str, offline_env: dict[str, str], tmp_path: Path) -> None:
    """The pruned network is smaller, and the release as pip installs it computes what the fork does."""
    fork, stock = tmp_path / "fork", tmp_path / "stock"
    env = {**os.environ, **offline_env}
    made = subprocess.run(
        [sys.executable, "-m", "prunekit", "setup", "v8", "--at", release, str(fork)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    if made.returncode == 3:
        pytest.skip(f"{release} cannot be had here: {made.stderr.strip().splitlines()[-1]}")
    assert made.returncode == 0, made.stderr
    build(tmp_path / "data", train=16, val=8, imgsz=64, seed=0)
    (tmp_path / "small.yaml").write_text(SMALL)
    forked = answer(Home(fork, {**env, "PYTHONPATH": str(fork)}).python(PROGRAM, "make", tmp_path))
    assert forked["version"] == release and forked["params"] < forked["dense"] / 2, forked
    options = ["--no-deps", "--no-compile", "--quiet", "--target", stock]
    Home(tmp_path, env).python("-m", "pip", "install", *options, f"ultralytics=={release}", cold=True)
    plain = answer(Home(tmp_path, {**env, "PYTHONPATH": str(stock)}).python(PROGRAM, "load", tmp_path))
    assert plain == forked
