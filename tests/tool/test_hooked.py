# SPDX-License-Identifier: AGPL-3.0-or-later
"""The hooks that a run looks for are those that the patches put there; a file that has lost one is refused."""

from __future__ import annotations

import ast
import importlib.util
import re
import sys
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[2]
DROPINS = ROOT / "kit" / "prunekit" / "dropins"
# Of each upstream that has drop-ins: the modules that its patches call.
OWN = sorted({file for file in DROPINS.rglob("hooks.py") if "pruning" not in file.parts})
HOOKS = {file.relative_to(DROPINS).parts[0]: file for file in OWN}


def listed(upstream: str) -> dict[str, tuple[str, ...]]:
    """`HOOKED` of an upstream's hooks module, read without importing it."""
    tree = ast.parse(HOOKS[upstream].read_text(encoding="utf-8"))
    plain = [n for n in tree.body if isinstance(n, ast.Assign) and isinstance(n.value, ast.Tuple)]
    known = {getattr(n.targets[0], "id", ""): ast.literal_eval(n.value) for n in plain}
    value = next(n.value for n in tree.body if isinstance(n, ast.AnnAssign) and getattr(n.target, "id", "") == "HOOKED")
    return eval(compile(ast.Expression(value), upstream, "eval"), known)


@pytest.mark.parametrize("upstream", HOOKS)
def test_the_list_is_that_of_the_patches(upstream: str) -> None:
    found: dict[str, set[str]] = {}
    for patch in (ROOT / "patches" / upstream).glob("*.patch"):
        file = ""
        for line in patch.read_text(encoding="utf-8").splitlines():
            file = line[6:].strip() if line.startswith("+++ b/") else file
            for name in re.findall(r"hooks\.(\w+)", line) if line.startswith("+") else ():
                found.setdefault(file, set()).add(name)
    assert {file: set(names) for file, names in listed(upstream).items()} == found


@pytest.fixture
def hooked(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The engine's `hooked`, which needs no torch."""
    for name in ("bare", "bare.family"):
        package = ModuleType(name)
        package.__path__ = []
        monkeypatch.setitem(sys.modules, name, package)
    for name in ("errors", "family.hooked"):
        file = DROPINS / "pruning" / f"{name.replace('.', '/')}.py"
        spec = importlib.util.spec_from_file_location(f"bare.{name}", file)
        module = importlib.util.module_from_spec(spec)
        monkeypatch.setitem(sys.modules, f"bare.{name}", module)
        spec.loader.exec_module(module)
    return module


def test_lost_hooks_are_named_with_what_to_type(hooked: ModuleType, tmp_path: Path) -> None:
    wanted = {"nn/tasks.py": ("open_structure", "keep_structure")}
    file = tmp_path / "nn" / "tasks.py"
    for text, lost in (
        (None, "open_structure, keep_structure"),
        ("hooks.open_structure(d)\n# hooks.keep_structure(d)\n", "(keep_structure)"),
    ):
        if text is not None:
            file.parent.mkdir()
            file.write_text(text, encoding="utf-8")
        with pytest.raises(Exception, match="lost prunekit's hooks") as error:
            hooked.check_hooks(tmp_path, wanted)
        assert lost in str(error.value) and f"prunekit diff {tmp_path}" in str(error.value)
    file.write_text("    d = hooks.open_structure(d)\n    hooks.keep_structure(x, d)\n", encoding="utf-8")
    hooked.check_hooks(tmp_path, wanted)
