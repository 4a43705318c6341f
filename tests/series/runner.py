# SPDX-License-Identifier: AGPL-3.0-or-later
"""Run Python with one given ultralytics importable and no other."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import warm

HERE = Path(__file__).parent
KIT = Path(os.environ.get("PRUNEKIT_KIT") or HERE.parents[1])  # another one while `pins update` tries it
SERIES = KIT / "patches" / "ultralytics"
Without = Callable[[int], Path]  # patch number (1-based) -> a fork without it
Questions = dict[int | str, list[tuple[object, ...]]]  # about a patch (its number) or a subject
Answers = dict[int | str, list[Any]]
Compare = Callable[[int], tuple[list[Any], list[Any]]]  # patch number -> answers of the full fork, and without it


class Runner:
    """Runs Python with one given ultralytics importable and no other."""

    def __init__(self, env: dict[str, str], folder: Path) -> None:
        self._env, self.folder = env, folder

    def __call__(
        self, package: Path, *words: object, path: tuple[Path, ...] = (), **env: str
    ) -> subprocess.CompletedProcess[str]:
        """Run `python *words` with `package` (a folder that holds ultralytics/) first on the path."""
        inherited = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
        paths = os.pathsep.join(str(p) for p in (package, HERE, *path))
        command = [str(word) for word in words]
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        with warm.start(
            command, {**inherited, **self._env, "PYTHONPATH": paths, **env}, cwd=self.folder, **pipes
        ) as run:
            stdout, stderr = run.communicate(timeout=600)
        return subprocess.CompletedProcess(command, run.returncode, stdout, stderr)

    def probe(self, package: Path, *calls: tuple[object, ...], **env: str) -> list[Any]:
        """Run functions of probes.py under `package`, in one process; each call is (name, argument, ...)."""
        words = json.dumps([[str(word) for word in call] for call in calls])
        done = self(package, HERE / "probes.py", words, **env)
        assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-3000:]
        return json.loads(done.stdout.strip().splitlines()[-1])
