# SPDX-License-Identifier: AGPL-3.0-or-later
"""Bad input to a fork's scripts that is the same for every upstream: what is typed, and what the one line must hold."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import yaml

EVIL = """
import sys, torch, os
class Evil:
    def __reduce__(self): return (os.system, ("touch owned",))
torch.save({"model": Evil()}, sys.argv[1])
"""
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
B = "--weights best.pt --data tiny.yaml"
_TABLES = yaml.safe_load(Path(__file__).with_suffix(".yaml").read_text(encoding="utf-8"))
Answers = dict[Any, tuple[int, str]]


def rows(*tables: str) -> list[tuple[str, str, str]]:
    """Tables of badlines.yaml: (name, words, what the one line must hold)."""
    return [(name, words.replace("{B}", B), said) for table in tables for name, words, said in _TABLES[table]]


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
