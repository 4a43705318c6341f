# SPDX-License-Identifier: AGPL-3.0-or-later
"""A YOLOv5 folder, fork or pristine, and how Python runs in it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
SERIES = HERE.parents[1] / "patches" / "yolov5"


class Home:
    """A YOLOv5 folder and how Python runs in it."""

    def __init__(self, root: Path, env: dict[str, str]) -> None:
        self.root, self.env = root, env

    def start(self, *words: object, cwd: Path | None = None, **more: Any) -> subprocess.Popen[str]:
        """Start `python words...` in the folder (or in `cwd`), as a process group, its output in one pipe."""
        return subprocess.Popen(
            [sys.executable, *map(str, words)], cwd=cwd or self.root, env={**self.env, **more}, text=True,
            start_new_session=True, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )

    def python(self, *words: object, code: int = 0, cwd: Path | None = None, **more: str) -> str:
        """Run `python words...`; its output. Fails unless it exits with `code`."""
        process = self.start(*words, cwd=cwd, **more)
        output, _ = process.communicate(timeout=900)
        assert process.returncode == code, f"exit {process.returncode}, not {code}:\n{output[-5000:]}"
        return output

    def ask(self, script: Path, *calls: tuple[object, ...], cwd: Path, **more: str) -> list[Any]:
        """Run functions of a script of ours in one process; each call is (name, argument, ...)."""
        words = json.dumps([[str(word) for word in call] for call in calls])
        output = self.python(script, words, cwd=cwd, **more)
        return json.loads(output.rpartition("ANSWERS")[2].splitlines()[0])

    def report(self, folder: str) -> dict[str, Any]:
        """The report of a run."""
        return json.loads((self.root / folder / "report.json").read_text())
