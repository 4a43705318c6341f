# SPDX-License-Identifier: AGPL-3.0-or-later
"""The pinned ultralytics itself: both sources, what is fetched, and an installation of the kit."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import venv
from pathlib import Path

import pytest
from prunekit.kit import find_kit
from prunekit.upstream.manifest import blob_id, read_manifest
from prunekit.upstream.pins import read_pins

pytestmark = pytest.mark.upstream
ROOT = Path(__file__).parents[2]
UPSTREAM = read_pins(find_kit().pins).upstreams["ultralytics"]
TOOL = [sys.executable, "-m", "prunekit"]


def prunekit(*args: str | Path, tool: list[str] = TOOL) -> tuple[int, str, str]:
    """Run the tool in a process of its own."""
    done = subprocess.run([*tool, *map(str, args)], capture_output=True, text=True, check=False)
    return done.returncode, done.stdout, done.stderr


def set_up(folder: Path, source: str, tool: list[str] = TOOL) -> dict[str, str]:
    """Set v8 up from one source; skips where that source cannot be had on this machine."""
    code, out, err = prunekit("setup", "v8", folder, "--source", source, "--json", tool=tool)
    if code and any(it in err for it in ("cannot be reached", "does not have tag", "pip cannot fetch")):
        pytest.skip(f"no {source} here: {err.splitlines()[-1]}")
    assert code == 0, err
    return dict(json.loads(out))


def test_git_and_sdist_make_the_same_fork(tmp_path: Path) -> None:
    """Commit by commit the same ids; under 5 MB from git; v11 is the same fork and there already."""
    by_git, by_pip = (set_up(tmp_path / source, source) for source in ("git", "sdist"))
    assert by_git["head"] == by_pip["head"] and by_git["tree"] == by_pip["tree"]
    assert int(by_git["fetched_bytes"]) < 5_000_000
    code, out, err = prunekit("setup", "v11", tmp_path / "git", "--json")
    document = json.loads(out)
    assert (code, document["status"], document["target"]) == (0, "already set up", "v8"), err
    assert any("yolo11_pruning.py" in command for command in document["next"])


def test_fork_holds_the_pins_files(fork: Path) -> None:
    """Every file that no patch touches has the blob id of the manifest; media and documents are not there."""
    manifest = read_manifest(find_kit().manifests / "ultralytics.txt", UPSTREAM.tree)
    changed = {path for path, entry in manifest.items() if blob_id((fork / path).read_bytes()) != entry.blob}
    touched = subprocess.run(
        ["git", "-C", str(fork), "diff", "--name-only", "--diff-filter=M", "HEAD", UPSTREAM.tree],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split()
    assert changed == set(touched) and 0 < len(changed) < 10
    assert not (fork / "docs").exists() and not (fork / "tests").exists()


def test_changed_byte_is_found(fork: Path, tmp_path: Path) -> None:
    """One byte in one file of 400: `verify` ends with 3 and names it."""
    own = tmp_path / "fork"
    shutil.copytree(fork, own, symlinks=True)
    assert prunekit("verify", own)[0] == 0
    path = own / "ultralytics" / "nn" / "tasks.py"
    path.write_bytes(path.read_bytes().replace(b"\n", b" ", 1))
    code, out, _ = prunekit("verify", own, "--json")
    assert code == 3
    assert json.loads(out)[0]["drift"] == [{"path": "ultralytics/nn/tasks.py", "what": "modified"}]


def build_sdist(source: Path, target: Path) -> Path:
    """Build the kit's sdist by its own build backend."""
    pytest.importorskip("setuptools", reason="the sdist's backend is not here")
    target.mkdir()
    program = f"from setuptools import build_meta; build_meta.build_sdist({str(target)!r})"
    done = subprocess.run([sys.executable, "-c", program], cwd=source, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return next(target.glob("prunekit-*.tar.gz"))


@pytest.mark.slow
@pytest.mark.parametrize("what", ["checkout", "editable", "sdist"])
def test_installed_kit_makes_the_same_fork(fork: Path, tmp_path: Path, what: str) -> None:
    """`pip install .`, `pip install -e .` and the kit's own sdist, without torch: same data, same tree id."""
    source = tmp_path / "source"
    shutil.copytree(ROOT, source, ignore=shutil.ignore_patterns(".git", "build", "*.egg-info", "__pycache__", ".venv*"))
    venv.create(tmp_path / "env", with_pip=True)  # setup fetches an sdist with it
    python = str(tmp_path / "env" / "bin" / "python")
    asked = str(source) if what != "sdist" else str(build_sdist(source, tmp_path / "dist"))
    command = [python, "-m", "pip", "install", "--quiet"]
    command += ["-e", asked] if what == "editable" else [asked]
    installed = subprocess.run(command, capture_output=True, text=True, check=False)
    if installed.returncode and "Could not find a version" in installed.stderr:
        pytest.skip("no package index here")
    assert installed.returncode == 0, installed.stderr
    if what != "editable":
        shutil.rmtree(source)  # what is installed stands on its own
    made = set_up(tmp_path / "fork", "auto", tool=[str(tmp_path / "env" / "bin" / "prunekit")])
    _, ours, _ = prunekit("status", fork, "--json")
    assert made["head"] == json.loads(ours)[0]["head"]
    assert made["next"][0].startswith("pip install ")
    if what == "editable":
        assert f"'{source}[ultralytics]'" in made["next"][0]
    assert prunekit("verify", fork, tool=[str(tmp_path / "env" / "bin" / "prunekit")])[0] == 0
