# SPDX-License-Identifier: AGPL-3.0-or-later
"""Re-anchoring never lands in the wrong place: random edits of real upstream files against known truth."""

from __future__ import annotations

import ast
import gc
import os
import random
import subprocess
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from edits import HOOK, edit, make_case
from prunekit.porting.anchors import Refused
from prunekit.porting.python_file import transplant

FILES = (
    "ultralytics/engine/trainer.py",
    "ultralytics/utils/torch_utils.py",
    "ultralytics/cfg/__init__.py",
    "ultralytics/nn/modules/block.py",
    "ultralytics/data/base.py",
    "ultralytics/engine/validator.py",
    "ultralytics/models/yolo/detect/train.py",
    "ultralytics/utils/loss.py",
)
CASES = int(os.environ.get("PRUNEKIT_CASES", "25"))  # for each file; a seed that fails is in the message


@pytest.fixture(scope="session")
def pristine(fork: Path) -> Path:
    """The upstream's files at the pin."""
    return fork


def original(fork: Path, path: str) -> str:
    """Return a file as upstream has it."""
    root = subprocess.run(
        ["git", "rev-list", "--max-parents=0", "HEAD"], cwd=fork, capture_output=True, check=True, text=True
    )
    shown = subprocess.run(["git", "show", f"{root.stdout.strip()}:{path}"], cwd=fork, capture_output=True, check=True)
    return shown.stdout.decode()


def outline(text: str) -> list[str]:
    """Return a file's statements with our hook taken out."""

    class Drop(ast.NodeTransformer):
        def visit_Expr(self, node: ast.Expr) -> ast.AST | None:
            return None if ast.unparse(node) == HOOK else node

    return ast.dump(Drop().visit(ast.parse(text))).split("\n")


@pytest.fixture(autouse=True)
def uncollected() -> Iterator[None]:
    """Leave the collector off: syntax trees come and go by the thousand, and looking for cycles is half of the time."""
    gc.disable()
    yield
    gc.enable()


def outcome(path: str, text: str, seed: int) -> str:
    """Return what became of one case, "placed", "refused" or "none"; a hook in the wrong place fails."""
    rng = random.Random(f"{path} {seed}")
    made = make_case(text, rng)
    if made is None:
        return "none"
    case, indent, patched = made
    for _ in range(rng.randrange(1, 5)):
        edit(case, indent, rng)
    try:
        target = case.text
        ast.parse(target)
    except SyntaxError:
        return "none"
    try:
        result = transplant(text, patched, target)
    except Refused:
        return "refused"
    lines = result.splitlines()
    at = next(n for n, line in enumerate(lines) if line.strip() == HOOK)
    around = "\n".join(lines[max(at - 8, 0) : at + 8])
    column = len(lines[at]) - len(lines[at].lstrip())
    assert case.is_right(at, column), f"{path}, seed {seed}: wrong place after {case.did}\n{around}"
    assert outline(result) == outline(target), f"{path}, seed {seed}: something else changed after {case.did}"
    return "placed"


@pytest.mark.upstream
@pytest.mark.parametrize("path", FILES)
def test_never_in_the_wrong_place(fork: Path, path: str) -> None:
    """A hook ends between what stood before and what stood after it, in the same function, or nowhere."""
    text = original(fork, path)
    found = Counter(outcome(path, text, seed) for seed in range(CASES))
    placed, refused = found["placed"], found["refused"]
    assert placed >= refused / 4 and placed > CASES / 5, f"placed {placed}, refused {refused}: too timid to be of use"
    print(f"{path}: placed {placed}, refused {refused}, wrong 0")
