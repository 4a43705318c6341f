# SPDX-License-Identifier: AGPL-3.0-or-later
"""Does a fork work? Its patched modules are imported, and each patch's own test runs on it, each in a process."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from prunekit.kitdir import Kit

_OFFLINE = {"YOLO_AUTOINSTALL": "false", "YOLO_OFFLINE": "true", "MPLBACKEND": "Agg", "OMP_NUM_THREADS": "1"}


@dataclass(frozen=True)
class Tried:
    """A check and how it ended; `said` is the end of what it printed, where it failed."""

    name: str
    passed: bool
    said: str = ""


def import_modules(fork: Path, files: Sequence[str], scratch: Path) -> Tried:
    """Import the modules that the series changes, from this fork."""
    names = sorted(
        {path.removesuffix(".py").removesuffix("/__init__").replace("/", ".") for path in files if path.endswith(".py")}
    )
    program = f"import importlib\\nfor name in {names!r}: importlib.import_module(name)".replace("\\n", "\n")
    return _run(
        "import",
        [sys.executable, "-c", program],
        fork,
        {"PYTHONPATH": str(fork), "YOLO_CONFIG_DIR": str(scratch), **_OFFLINE},
    )


def run_tests(kit: Kit, trial: Kit, fork: Path, tests: Sequence[str]) -> Tried:
    """Run tests of the kit on a fork that is there already (PRUNEKIT_FORK), made by another kit (PRUNEKIT_KIT)."""
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-o", "addopts=", "-p", "no:cacheprovider", *tests]
    env = {"PRUNEKIT_FORK": str(fork), "PRUNEKIT_KIT": str(trial.root), "OMP_NUM_THREADS": "1"}
    return _run(" ".join(tests), command, kit.root, env)


def _run(name: str, command: list[str], folder: Path, env: dict[str, str]) -> Tried:
    """Run a command; returns how it ended."""
    done = subprocess.run(command, cwd=folder, env={**os.environ, **env}, capture_output=True, text=True, check=False)
    said = "\n".join((done.stdout + done.stderr).strip().splitlines()[-12:])
    return Tried(name, done.returncode == 0, "" if done.returncode == 0 else said)
