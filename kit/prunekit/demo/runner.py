# SPDX-License-Identifier: AGPL-3.0-or-later
"""Runs Python programs inside a fork: log to a file, progress while they run, the log's end when they fail."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from prunekit.errors import PrunekitError, UserError
from prunekit.extras import install_command

LAST_LINES = 15
# `yolo` on the command line may belong to another ultralytics; this one is the fork's whatever is installed.
YOLO = ("-c", "from ultralytics.cfg import entrypoint; entrypoint()")
# Modules that a fork and the demo need, and the names under which they are installed.
NEEDED = {
    "torch": "torch",
    "torchvision": "torchvision",
    "torch_pruning": "torch-pruning",
    "cv2": "opencv-python-headless",
    "matplotlib": "matplotlib",
    "numpy": "numpy",
    "onnx": "onnx",
    "onnxruntime": "onnxruntime",
    "PIL": "pillow",
    "polars": "polars",
    "psutil": "psutil",
    "requests": "requests",
    "sklearn": "scikit-learn",
}


@dataclass(frozen=True)
class Workshop:
    """Where programs run and what they leave: the fork, the folder of logs, upstream's own settings folder."""

    fork: Path
    logs: Path
    settings: Path

    def environment(self) -> dict[str, str]:
        """This process's environment with the fork first on the path, and upstream kept off the network and off pip."""
        kept = {key: value for key, value in os.environ.items() if key != "PYTHONSAFEPATH"}
        path = os.pathsep.join([str(self.fork), *filter(None, [kept.get("PYTHONPATH")])])
        own = {
            "YOLO_CONFIG_DIR": str(self.settings),
            "YOLO_OFFLINE": "true",
            "YOLO_AUTOINSTALL": "false",
        }
        return {**kept, **own, "PYTHONPATH": path, "PYTHONUNBUFFERED": "1"}


def check_installed() -> None:
    """Raise UserError unless everything that the demo runs can be imported; imports nothing itself."""
    missing = [name for module, name in NEEDED.items() if importlib.util.find_spec(module) is None]
    if missing:
        raise UserError(
            f"the demo needs {', '.join(missing)}, not installed for {sys.executable}; "
            f"type: {sys.executable} -m {install_command('ultralytics')}"
        )


def run(
    workshop: Workshop,
    name: str,
    words: Sequence[str],
    tick: Callable[[], None],
    again: str,
) -> None:
    """Run `python WORDS` with the fork as current folder, its output in logs/NAME.log.

    Args:
        workshop: the fork and its folders.
        name: of the step.
        words: what follows the interpreter.
        tick: called about twice a second while it runs.
        again: what the user types to go on after a failure.

    Raises:
        PrunekitError: the program failed; holds the end of its log, the log's path, and `again`.
    """
    workshop.logs.mkdir(parents=True, exist_ok=True)
    workshop.settings.mkdir(parents=True, exist_ok=True)
    log = workshop.logs / f"{name}.log"
    with log.open("w", encoding="utf-8") as sink:
        code = _wait([sys.executable, *words], workshop.fork, workshop.environment(), sink, tick)
    if code:
        raise PrunekitError(
            f"step {name} failed: its program ended with code {code}. The end of {log}:\n{last_lines(log)}\n"
            f"Steps that are done stay done; when the cause is gone, go on with: {again}"
        )


def _wait(
    command: Sequence[str],
    folder: Path,
    environment: Mapping[str, str],
    sink: IO[str],
    tick: Callable[[], None],
) -> int:
    """Run a program to its end; an exception here (Ctrl-C) ends the program as well."""
    process = subprocess.Popen(
        command,
        cwd=folder,
        env=dict(environment),
        stdin=subprocess.DEVNULL,
        stdout=sink,
        stderr=subprocess.STDOUT,
    )
    try:
        while process.poll() is None:
            tick()
            time.sleep(0.4)
        return process.returncode
    finally:
        if process.poll() is None:
            process.terminate()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def last_lines(log: Path, count: int = LAST_LINES) -> str:
    """The end of a log, indented; of a progress bar's many states only the last."""
    text = log.read_bytes().decode("utf-8", errors="replace")  # as bytes: reading text would turn \r into \n
    lines = [line.rstrip().rsplit("\r", 1)[-1] for line in text.split("\n")]
    return "\n".join(f"    {line}" for line in [line for line in lines if line][-count:])
