# SPDX-License-Identifier: AGPL-3.0-or-later
"""A small upstream of Python files with history, a kit (a git checkout, as on a maintainer's), its series."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
from plaingit import git
from prunekit.cli.main import run

ENGINE = '''"""Training."""

import os


class Trainer:
    """Trains."""

    def setup(self):
        """Get ready."""
        self.model = build(self.cfg)
        self.data = load(self.cfg)
        self.ready = True

    def step(self):
        """One step."""
        self.unscale()
        clip(self.model)
        self.optimizer.step()
        self.optimizer.zero_grad()


def parse(cfg):
    """Build layers."""
    layers = []
    for name in cfg:
        layers.append(name)
    return layers
'''
CONFIG = "epochs: 10 # how long\nmomentum: 0.9\ndecay: 0.1\nwarmup: 3\n"
FILES = {
    "pkg/__init__.py": "__version__ = '1.0'\n",
    "pkg/engine.py": ENGINE,
    "pkg/default.yaml": CONFIG,
    "LICENSE": "free\n",
}
HEADER = "What: {what}\n\nWhy: because.\n\nRetire when: never.\n"
PINS = """\
# the pins
upstreams:
  small:  # the only one
    url: {url}
    commit: {commit}  # of 1.0
    date: {date}
    release: "1.0"
    covers: [pkg/, LICENSE]
    tree: {tree}
    engine: pkg/pruning

targets:
  s1:
    upstream: small
    next: []
"""
PATCHES = (
    (
        "amp off",
        "pkg/engine.py",
        '        """Get ready."""\n',
        '        """Get ready."""\n        hooks.amp_off(self)\n',
    ),
    (
        "penalty",
        "pkg/engine.py",
        "        clip(self.model)\n",
        "        clip(self.model)\n        hooks.penalty(self)\n",
    ),
    ("key", "pkg/default.yaml", "decay: 0.1\n", "decay: 0.1\nsparsity: 0.0\n"),
    ("widths", "pkg/engine.py", "    return layers\n", "    hooks.widths(layers)\n    return layers\n"),
)


def tree(folder: Path, *rows: tuple[str, str, str]) -> str:
    """Write a tree object of (mode, name, id), whatever the names are."""
    data = b"".join(f"{mode} {name}".encode() + b"\0" + bytes.fromhex(oid) for mode, name, oid in rows)
    (folder / ".git/raw").write_bytes(data)
    return git(folder, "hash-object", "-t", "tree", "--literally", "-w", ".git/raw")


def outside(folder: Path, old: str, name: str = "EVIL") -> str:
    """Commit, on top of `old`, a tree with a file ../NAME; returns the commit."""
    blob = git(folder, "hash-object", "-w", "--stdin", stdin="evil\n")
    rows = [row.split() for row in git(folder, "ls-tree", old).splitlines()]
    up = tree(folder, ("100755", name, blob))
    made = tree(folder, ("40000", "..", up), *((mode, path, oid) for mode, _, oid, path in rows))
    return git(folder, "commit-tree", "-p", old, "-m", "bad", made)


@dataclass
class Place:
    """Folders of one test, and the tool as its user types it."""

    root: Path
    origin: Path
    kit: Path
    pin: str
    capture: pytest.CaptureFixture[str]
    out: str = ""
    err: str = ""

    def prunekit(self, *args: str | Path) -> int:
        """Run the tool in this process; returns the exit code, keeps what it printed in `out` and `err`."""
        self.capture.readouterr()
        code = run(["--kit", str(self.kit), *map(str, args)])
        self.out, self.err = self.capture.readouterr()
        return code

    def upstream(self, message: str, *changes: tuple[str, str, str]) -> str:
        """Commit changes (file, old, new) upstream; returns the commit. An empty `old` makes the file."""
        for path, old, new in changes:
            file = self.origin / path
            text = file.read_text() if old else ""
            assert not old or text.count(old) == 1, f"{path}: {old!r} is there {text.count(old)} times"
            file.write_text(text.replace(old, new) if old else new)
        git(self.origin, "add", "-A")
        git(self.origin, "commit", "--quiet", "-m", message)
        return git(self.origin, "rev-parse", "HEAD")

    def series(self) -> dict[str, bytes]:
        """The files of the kit's series."""
        return {path.name: path.read_bytes() for path in sorted((self.kit / "patches" / "small").iterdir())}

    def state(self) -> tuple[str, str]:
        """The kit's last commit, and what is not committed."""
        return git(self.kit, "rev-parse", "HEAD"), git(self.kit, "status", "--porcelain")


def make_kit(kit: Path, origin: Path, pin: str, patches: Sequence[tuple[str, str, str, str]] = PATCHES) -> None:
    """Make a kit with a series for the origin, as a git checkout."""
    scratch = kit.parent / "patching"
    git(origin, "worktree", "add", "--quiet", "--detach", str(scratch), pin)
    for name, path, old, new in patches:
        file = scratch / path
        assert file.read_text().count(old) == 1
        file.write_text(file.read_text().replace(old, new))
        git(scratch, "commit", "--quiet", "-am", f"Patch {name}\n\n{HEADER.format(what=name)}")
    folder = kit / "patches" / "small"
    options = ["--zero-commit", "--no-signature", "--full-index", "--no-stat", "--keep-subject", "-N"]
    made = [Path(line).name for line in git(scratch, "format-patch", *options, "-o", str(folder), pin).splitlines()]
    (folder / "series").write_text("# in this order\n" + "".join(f"{name}\n" for name in made))
    (folder / "tests").write_text("".join(f"{name} tests/test_it.py::test_it\n" for name in made))
    (kit / "tests").mkdir()
    (kit / "tests" / "test_it.py").write_text("def test_it():\n    pass\n")
    (kit / "dropins" / "pruning").mkdir(parents=True)
    (kit / "dropins" / "pruning" / "engine.py").write_text("E = 1\n")
    (kit / "manifests").mkdir()
    rows = git(origin, "ls-tree", "-r", pin, "pkg", "LICENSE")
    (kit / "manifests" / "small.txt").write_text(rows + "\n")
    tree = git(origin, "rev-parse", f"{pin}^{{tree}}")
    date = git(origin, "log", "-1", "--format=%cI", pin)
    (kit / "pinned_commits.yaml").write_text(PINS.format(url=origin.as_uri(), commit=pin, date=date, tree=tree))
    git(kit, "init", "--quiet")
    git(kit, "add", "-A")
    git(kit, "commit", "--quiet", "-m", "the kit")


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Place:
    """A small upstream, a kit for it, and an empty git configuration."""
    (tmp_path / "gitconfig").touch()
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(tmp_path / "gitconfig"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.delenv("PRUNEKIT_KIT", raising=False)
    monkeypatch.chdir(tmp_path)
    origin = tmp_path / "origin"
    origin.mkdir()
    git(origin, "init", "--quiet")
    for key in ("allowFilter", "allowAnySHA1InWant"):
        git(origin, "config", f"uploadpack.{key}", "true")
    made = Place(tmp_path, origin, tmp_path / "kit", "", capsys)
    made.pin = made.upstream("1.0", *((path, "", text) for path, text in _made(origin).items()))
    make_kit(made.kit, origin, made.pin)
    return made


def _made(origin: Path) -> dict[str, str]:
    """Make the folders of the upstream; returns its files."""
    (origin / "pkg").mkdir()
    return FILES
