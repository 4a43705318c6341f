# SPDX-License-Identifier: AGPL-3.0-or-later
"""A fork to work in, as a user would: cd into it, type a line."""

from __future__ import annotations

import json
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import schemas
import warm

# Writes NAME.pt, an untrained network of YAML with 10 classes: batch norms are scattered so that criteria can rank.
MAKE = """
import sys, torch
from ultralytics import YOLO
name, target, classes = sys.argv[1:4]
torch.manual_seed(0)
yolo = YOLO(name)
model = type(yolo.model)(name, ch=3, nc=int(classes), verbose=False)
for module in model.modules():
    if isinstance(module, torch.nn.BatchNorm2d):
        module.weight.data.uniform_(0.5, 1.5); module.bias.data.uniform_(-0.2, 0.2)
        module.running_mean.uniform_(-0.1, 0.1); module.running_var.uniform_(0.8, 1.2)
yolo.model = model
model.args = {**yolo.overrides, "imgsz": 64, "task": yolo.task}
yolo.ckpt = {"model": model, "train_args": {"imgsz": 64, "task": yolo.task}}
yolo.save(target)
"""


@dataclass
class Workshop:
    """A fork and the environment its commands run in."""

    root: Path
    env: dict[str, str]

    def start(self, *words: str, cold: bool = False, **more: Any) -> subprocess.Popen[str]:
        """Start `python words...` in the fork; `cold`: in a fresh Python, not one that has torch imported (warm.py)."""
        return warm.start(
            words,
            self.env,
            cold,
            cwd=self.root,
            start_new_session=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            **more,
        )

    def python(self, *words: str, code: int = 0, given: str | None = None, cold: bool = False) -> str:
        """Run `python words...` in the fork, `given` on its input; what it says. Fails unless it exits with `code`."""
        process = self.start(*words, cold=cold, stdin=subprocess.DEVNULL if given is None else subprocess.PIPE)
        output, _ = process.communicate(given, timeout=900)
        assert process.returncode == code, f"exit {process.returncode}, not {code}:\n{output[-4000:]}"
        return output

    def network(self, yaml: str, target: str, classes: int = 10) -> str:
        """Write an untrained checkpoint into the fork."""
        self.python("-c", MAKE, yaml, target, str(classes))
        return target

    def report(self, folder: str) -> dict[str, Any]:
        """The report of a run, which is what docs/schemas describes."""
        found: dict[str, Any] = json.loads((self.root / folder / "report.json").read_text())
        schemas.check("report", found)
        return found
