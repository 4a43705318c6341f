# SPDX-License-Identifier: AGPL-3.0-or-later
"""What the tool never imports, and what its help says; which room may import which is in setup.cfg's contracts."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import prunekit
import pytest
import yaml
from click.testing import CliRunner
from prunekit.cli.main import cli

PACKAGE = Path(prunekit.__file__).parent
ROOT = PACKAGE.parents[1]
GOLDEN = Path(__file__).parent / "golden"
COMMANDS = ["", "setup", "upgrade", "list", "status", "verify", "diff", "doctor", "patches"]
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


def test_one_module_runs_git() -> None:
    """Git, programs and temporary folders have their modules; the rest is in setup.cfg's contracts."""
    files = [path for path in PACKAGE.rglob("*.py") if not {"dropins", "infork", "demo"} & set(path.parts)]
    assert {path.name for path in files if any(name.split(".")[0] == "git" for name in imports(path))} == {"git.py"}
    starters = {path.relative_to(PACKAGE).as_posix() for path in files if "subprocess" in imports(path)}
    assert starters == {"upstream/fetch_sdist.py", "process.py", "maintain/scenario.py"}
    makers = {path.relative_to(PACKAGE).as_posix() for path in files if "tempfile" in imports(path)}
    assert makers == {"temporary.py", "git.py"}, "a folder of any other module would outlive a killed run for ever"


def test_names_of_test_files() -> None:
    """Folders of tests are no packages, so a name stands once; a number would say nothing."""
    tests = Path(__file__).parents[1]
    names = [path.stem for path in tests.rglob("*.py") if "toy" not in path.parts and path.name != "conftest.py"]
    assert sorted(name for name in names if names.count(name) > 1 or any(c.isdigit() for c in name)) == []


def test_cli_is_click_only() -> None:
    """The command line parses and calls: no git, no YAML, no files."""
    heads = {name.split(".")[0] for name in imports(PACKAGE / "cli" / "main.py")}
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
from prunekit.cli.main import run
codes = [run(args.split()) for args in ("list", "doctor --offline", "setup v0", "status", "verify", "diff", "--help")]
assert codes == [0, codes[1], 2, 2, 2, 2, 0] and codes[1] in (0, 2), codes
print("none", [name for name in sys.modules if name.startswith("prunekit.dropins") or name.startswith("ultralytics")])
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


def test_pre_commit_and_ci_run_the_same() -> None:
    """What stops a commit or a push here is what stops it in CI, command for command."""
    config = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())
    hooked = {hook["entry"] for repo in config["repos"] for hook in repo["hooks"]}
    lines = (ROOT / ".ci/run").read_text().partition('".[test]"')[2].splitlines()
    assert hooked == {line.partition(" --durations")[0] for line in lines if line and not line.startswith("#")}
