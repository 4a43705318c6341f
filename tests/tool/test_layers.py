# SPDX-License-Identifier: AGPL-3.0-or-later
"""Arrows point one way: what may import what, what the tool never imports, and what its help says."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import prunekit
import pytest
from click.testing import CliRunner
from prunekit.cli import cli

PACKAGE = Path(prunekit.__file__).parent
GOLDEN = Path(__file__).parent / "golden"
MODULES = sorted(path.stem for path in PACKAGE.glob("*.py"))
# Each layer may import from those before it, and within itself never: no module appears twice.
LAYERS = [
    {"__init__", "errors", "extras", "pip_fetch"},
    {"textfile", "temporary"},
    {"console", "kitdir", "yamlfile", "gitrepo", "syntax", "hunks", "programs"},
    {"gitobjects", "reading"},
    {"manifest"},
    {"pins", "patchfile", "staging", "gaps", "kitwrite", "flow"},
    {"meaning"},
    {"gitsource", "sdist", "bindings", "renames", "reanchor_text", "walk", "pinfile", "store"},
    {"source", "fork", "reanchor"},
    {"series", "overlay", "localwork", "movefile", "memory"},
    {"mailpatch", "compatibility"},
    {"workbench", "lint", "moves"},
    {"compose"},
    {"verify"},
    {"occupant", "forks"},
    {"doctor", "patchwork", "candidate", "probe"},
    {"at", "trial", "why", "smoke", "rebase_state"},
    {"setup_fork", "update", "matrix", "rebase_stop", "addition"},
    {"rebase"},
    {"views", "views_patches", "views_pins"},
    {"cli_maintainer", "cli_params"},
    {"cli_patches", "views_rebase"},
    {"cli_pins"},
    {"cli"},
    {"__main__"},
]
COMMANDS = ["", "setup", "list", "status", "verify", "diff", "doctor", "patches"]
COMMANDS += [f"patches {name}" for name in ("list", "show", "checkout", "export", "refresh", "lint", "drop")]
COMMANDS += ["why", "rebase", "pins"]
COMMANDS += [f"pins {name}" for name in ("show", "freeze", "check", "add", "update", "recover", "matrix", "smoke")]


def imports(path: Path) -> set[str]:
    """Return the full names of the modules that a file imports, wherever the import stands."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            found |= {node.module or ""} | {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def own(path: Path) -> set[str]:
    """Return the modules of prunekit that a file imports, by their first name."""
    names = {name.split(".")[1] for name in imports(path) if name.startswith("prunekit.")}
    return {name for name in names if name in MODULES or name in ("demo", "dropins")}


def test_every_module_has_its_layer() -> None:
    """A new module must be given a place."""
    placed = [name for layer in LAYERS for name in layer]
    assert sorted(placed) == MODULES


@pytest.mark.parametrize("module", MODULES)
def test_imports_point_down(module: str) -> None:
    """A module imports from lower layers only."""
    level = next(number for number, layer in enumerate(LAYERS) if module in layer)
    allowed = set().union(*LAYERS[:level]) | ({"demo"} if module == "cli" else set())
    assert own(PACKAGE / f"{module}.py") <= allowed


def test_only_gitrepo_runs_git() -> None:
    """GitPython, and git itself, are used in one module."""
    users = {name for name in MODULES if any(i.split(".")[0] == "git" for i in imports(PACKAGE / f"{name}.py"))}
    assert users == {"gitrepo"}
    # pip, and code of an upstream
    users = {name for name in MODULES if "subprocess" in imports(PACKAGE / f"{name}.py")}
    assert users == {"sdist", "programs", "walk"}


def test_cli_is_click_only() -> None:
    """The command line parses and calls: no git, no YAML, no files."""
    heads = {name.split(".")[0] for name in imports(PACKAGE / "cli.py")}
    assert heads <= {"__future__", "click", "os", "pathlib", "prunekit", "sys", "traceback", "typing"}


def test_no_command_imports_torch_or_dropins(tmp_path: Path) -> None:
    """Whole commands run where importing torch, an upstream or a drop-in is an error."""
    program = """
import sys
class Forbid:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("torch", "torchvision", "torch_pruning", "numpy", "pruning"):
            raise SystemExit(f"imported {name}")
sys.meta_path.insert(0, Forbid())
from prunekit.cli import run
codes = [run(args.split()) for args in ("list", "doctor --offline", "setup v0", "status", "verify", "diff", "--help")]
assert codes == [0, codes[1], 2, 2, 2, 2, 0] and codes[1] in (0, 2), codes
print("none", [name for name in sys.modules if "dropins" in name or name.startswith("ultralytics")])
"""
    done = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.stdout.endswith("none []\n"), done.stdout + done.stderr


@pytest.mark.parametrize("command", COMMANDS)
def test_help_is_as_written(command: str) -> None:
    """`--help` is part of the interface: a change shows here. To renew: delete the file and run the test."""
    asked = [*command.split(), "--help"]
    text = CliRunner().invoke(cli, asked, prog_name="prunekit", terminal_width=100).output
    golden = GOLDEN / f"help-{command.replace(' ', '-') or 'prunekit'}.txt"
    if not golden.exists():
        golden.write_text(text)
        pytest.fail(f"wrote {golden}: look at it and commit it")
    assert text == golden.read_text()
