# SPDX-License-Identifier: AGPL-3.0-or-later
"""Programs that run on a fork, each in a process and an environment of its own, and the end of what they say."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from prunekit.errors import UserError

LAST_LINES = 12


@dataclass(frozen=True)
class Tried:
    """A check and how it ended; `said` is the end of what it printed, where it failed."""

    name: str
    passed: bool
    said: str = ""


def fork_environment(fork: Path, scratch: Path) -> dict[str, str]:
    """Return this process's environment with the fork first on the path, upstream off the network and off pip."""
    path = os.pathsep.join([str(fork), *filter(None, [os.environ.get("PYTHONPATH")])])
    settings = {"YOLO_CONFIG_DIR": str(scratch), "YOLOv5_CONFIG_DIR": str(scratch)}
    quiet = {"YOLO_AUTOINSTALL": "false", "YOLO_OFFLINE": "true", "WANDB_MODE": "disabled", "MPLBACKEND": "Agg"}
    lean = {"OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1"}
    return {**os.environ, **settings, **quiet, **lean, "PYTHONPATH": path}


def run(name: str, command: list[str], folder: Path, env: Mapping[str, str], unless: str = "") -> Tried:
    """Run a command to its end; returns how it ended. It has failed, too, where its last line holds `unless`."""
    try:
        done = subprocess.run(
            command, cwd=folder, env=dict(env), capture_output=True, stdin=subprocess.DEVNULL, check=False
        )
    except OSError as error:
        raise UserError(f"cannot run {command[0]} ({error.strerror}): --python names a Python") from error
    said = last_lines(done.stdout + done.stderr)
    passed = done.returncode == 0 and not (unless and unless in last_lines(done.stdout, 1))
    return Tried(name, passed, "" if passed else said)


def last_lines(output: bytes, count: int = LAST_LINES) -> str:
    """Return the end of what a program printed; of a progress bar's many states only the last."""
    lines = [line.rstrip().rsplit("\r", 1)[-1] for line in output.decode("utf-8", errors="replace").split("\n")]
    return "\n".join([line for line in lines if line.strip()][-count:])
