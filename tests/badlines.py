# SPDX-License-Identifier: AGPL-3.0-or-later
"""Bad input to a fork's scripts that is the same for every upstream: what is typed, and what the one line must hold."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

EVIL = """
import sys, torch, os
class Evil:
    def __reduce__(self): return (os.system, ("touch owned",))
torch.save({"model": Evil()}, sys.argv[1])
"""
B = "--weights best.pt --data tiny.yaml"
EVERYWHERE = [  # (name, words, said)
    ("no weights", "--data tiny.yaml", "--weights"),
    ("missing weights", "--weights nowhere.pt --data tiny.yaml", "nowhere.pt: no such file"),
    ("corrupt", "--weights cut.pt --data tiny.yaml", "cut.pt"),
    ("not a checkpoint", "--weights text.pt --data tiny.yaml", "not a torch checkpoint"),
    ("fused", "--weights fused.pt --data tiny.yaml", "fused network"),
    ("runs code", "--weights evil.pt --data tiny.yaml", "--trust"),
    ("ratio 0", f"{B} --prune-ratio 0", "between 0 and 1"),
    ("ratio 1.5", f"{B} prune_ratio=1.5", "between 0 and 1"),
    ("missing data", "--weights best.pt --data nowhere.yaml", "nowhere.yaml"),
    ("unknown flag", f"{B} --epocs 3", "did you mean --epochs"),
    ("stray word", "--weights best.pt tiny.yaml", "not an argument"),
    ("unknown layer", f"{B} --ignore model.99", "no such layer"),
    ("two targets", f"{B} --target-macs 0.5 --target-params 0.5", "exclude each other"),
    ("missing plan", f"{B} --plan nowhere.yaml", "nowhere.yaml"),
    ("no data", "--weights best.pt", "no data set given"),
    ("resume nothing", "--resume nowhere", "no report.json"),
    ("sparse without training", f"{B} --sparsity 0.1 --epochs 0", "--epochs is 0"),
]
VALUES = [  # of prunekit's own options; one upstream more would show nothing new
    ("ratio 1", f"{B} --prune-ratio 1", "between 0 and 1"),
    ("classes", "--weights eighty.pt --data tiny.yaml", "has 80 classes"),
    ("target too low", f"{B} --target-macs 0.0001 --imgsz 64", "nearest"),
    ("target above dense", f"{B} --target-macs 9e15 --imgsz 64", "not below the dense"),
    ("nothing prunable", f"{B} --ignore model --imgsz 64", "Nothing can be pruned"),
    ("all of it", f"{B} --target-macs 1", "below 1"),
    ("no number", f"{B} --max-map-drop nan", "between 0 and 1"),
    ("negative seed", f"{B} --seed -1", "--seed -1"),
    ("ratio and target", f"{B} --prune-ratio 0.3 --target-macs 0.5", "exclude each other"),
    ("plan and ratio", "--plan plan.yaml --prune-ratio 0.3", "leave out --prune-ratio"),
    ("unwritable", f"{B} --project /proc/x --imgsz 64", "writable"),
    ("resume and more", "--resume runs/x --epochs 5", "leave out --epochs 5"),
]
ARGPARSE = [  # of YOLOv5 and YOLOv7
    ("wrong family", "--weights eight.pt --data tiny.yaml", "an ultralytics (YOLOv8 or later)"),
    ("empty image folder", "--weights best.pt --data bare.yaml", "no images in"),
    ("wrong type", f"{B} --epochs many", "--epochs: invalid int value"),
    ("missing hyp", f"{B} --hyp nowhere.yaml", "--hyp nowhere.yaml: no such file"),
    ("negative epochs", f"{B} --epochs -1", "--epochs -1: must be 0 or more"),
    ("batch 0", f"{B} --batch-size 0", "must be 1 or more"),
]
EIGHT = """
import sys, types, torch
for name in ("ultralytics", "ultralytics.nn", "ultralytics.nn.tasks5"):
    module = sys.modules[name] = types.ModuleType(name)
class DetectionModel(torch.nn.Module): pass
DetectionModel.__module__ = "ultralytics.nn.tasks5"; module.DetectionModel = DetectionModel
torch.save({"model": DetectionModel()}, sys.argv[1])
"""
# One process goes through a whole table: most of a script's time is importing torch.
_DRIVER = """
import contextlib, io, json, os, sys
{imports}
said = []
for line in json.loads(sys.argv[1]):
    heard = io.StringIO()
    with contextlib.redirect_stderr(heard):
        code = {start}
    said.append([code, heard.getvalue()])
print("ANSWERS" + json.dumps(said))
"""
Answers = dict[Any, tuple[int, str]]


def answers(python: Callable[..., str], lines: Sequence[Any], imports: str, start: str) -> Answers:
    """Exit code and error output of every line.

    Args:
        python: runs Python in the fork.
        lines: what is typed.
        imports: statements before.
        start: the expression that runs a script with `line`; its exit code.
    """
    output = python("-c", _DRIVER.format(imports=imports, start=start), json.dumps(lines))
    said = json.loads(output.rpartition("ANSWERS")[2].splitlines()[0])
    return {line: (code, text) for line, (code, text) in zip(lines, said, strict=True)}


def damage(root: Path) -> None:
    """A checkpoint cut short, and one that is none, beside best.pt."""
    (root / "cut.pt").write_bytes((root / "best.pt").read_bytes()[:100_000])
    (root / "text.pt").write_text("not a checkpoint")


def check(answer: tuple[int, str], said: str) -> None:
    """One line, exit code 2, no traceback."""
    code, text = answer
    errors = [line for line in text.splitlines() if line.startswith("error: ")]
    assert code == 2 and len(errors) == 1 and said in errors[0], text
    assert "Traceback" not in text


def check_untouched(root: Path) -> None:
    """Nothing of all that has run code or left a folder."""
    assert not (root / "owned").exists(), "code of the checkpoint was run"
    assert not (root / "runs").exists(), "a run folder was left behind"
