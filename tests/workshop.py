# SPDX-License-Identifier: AGPL-3.0-or-later
"""A fork to work in, as a user would: cd into it, type a line."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import schemas
from forkhome import Home

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


# Every kind of row that yolov8n has, in ten rows: a run takes half the time that it takes on yolov8n.
SMALL = """
nc: 10
scales:
  n: [0.33, 0.25, 1024]
backbone:
  - [-1, 1, Conv, [64, 3, 2]]
  - [-1, 1, Conv, [128, 3, 2]]
  - [-1, 1, Conv, [256, 3, 2]]
  - [-1, 3, C2f, [256, True]]
  - [-1, 1, Conv, [256, 3, 2]]
  - [-1, 1, SPPF, [256, 5]]
head:
  - [-1, 1, nn.Upsample, [None, 2, "nearest"]]
  - [[-1, 3], 1, Concat, [1]]
  - [-1, 3, C2f, [256]]
  - [[8, 5], 1, Detect, [nc]]
"""

# Runs each line by its script's own `if __name__ == "__main__"`, in one process: torch is imported once.
LINES = """
import json, runpy, sys, traceback
if sys.argv[2] == "bare":
    from unittest.mock import patch
    from ultralytics.pruning.run import loop, report
    patch.object(loop, "look", lambda *words: None).start()
    patch.object(report, "_draw", lambda *words: []).start()
for script, *words in json.loads(sys.argv[1]):
    sys.argv = [script, *words]
    print("TYPED ", flush=True)
    try:
        runpy.run_path(script, run_name="__main__")
        code = 0
    except SystemExit as end:
        code = end.code or 0
    except BaseException:
        traceback.print_exc()
        code = 1
    print("ENDED ", code, flush=True)
"""


class Workshop(Home):
    """A fork of ultralytics and the environment its commands run in."""

    def network(self, yaml: str, target: str, classes: int = 10) -> str:
        """Write an untrained checkpoint into the fork."""
        self.python("-c", MAKE, yaml, target, str(classes))
        return target

    def small(self, target: str = "best.pt", classes: int = 10, rows: str = SMALL) -> str:
        """Write an untrained checkpoint of SMALL, or of other rows, into the fork, and its YAML as small.yaml."""
        (self.root / "small.yaml").write_text(rows)
        return self.network("small.yaml", target, classes)

    def lines(self, *lines: Sequence[str], bare: bool = False, **more: str) -> list[tuple[int, str]]:
        """Run lines, each [script, word, ...], one after the other in one process; exit code and output of each.

        `bare`: without what makes half of a tiny run's time: measured times, examples, charts, and so no page.
        """
        output = self.python("-c", LINES, json.dumps(lines), "bare" if bare else "whole", **more)
        runs = [part.rpartition("ENDED ") for part in output.split("TYPED ")[1:]]
        assert len(runs) == len(lines), output[-5000:]
        return [(int(code), said) for said, _, code in runs]

    def report(self, folder: str) -> dict[str, Any]:
        """The report of a run, which is what docs/schemas describes."""
        found = super().report(folder)
        schemas.check("report", found)
        return found


@pytest.fixture(scope="session")
def copy8(offline_env: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Callable[[Path], Workshop]:
    """Make a private copy of a fork of ultralytics, with nothing else importable by that name."""
    env = {**os.environ, **offline_env}
    env.pop("PYTHONPATH", None)
    return lambda root: Workshop(shutil.copytree(root, tmp_path_factory.mktemp("copy") / "fork"), env)


@pytest.fixture(scope="session")
def tiny_set(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Sixteen scenes to train on and eight to validate on, 64 px: enough to run everything, not to learn."""
    from prunekit.demo.digits import build

    return build(tmp_path_factory.mktemp("tiny") / "digits", train=16, val=8, imgsz=64, seed=0)
