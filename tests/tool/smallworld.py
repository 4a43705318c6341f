# SPDX-License-Identifier: AGPL-3.0-or-later
"""A whole small world: an upstream repository with history, its sdist, and a kit with a series and drop-ins."""

from __future__ import annotations

import hashlib
import io
import os
import random
import shutil
import tarfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from plaingit import DATE, git
from prunekit.cli.main import run

MODULE = "".join(f"line {number}\n" for number in range(1, 31))
FILES = {
    "pkg/__init__.py": "VERSION = 1\n",
    "pkg/module.py": MODULE,
    "pkg/deep/table.csv": "a,b\r\n1,2\r\n",  # a conversion of line ends would change its blob id
    "pkg/run.sh": "#!/bin/sh\n",
    "LICENSE": "free\n",
    "README.md": "read me\n",
}
PINS = """\
upstreams:
  small:
    url: {url}
    commit: {commit}
    date: {date}
    release: "1.0"
{tag}    covers: [pkg/, LICENSE, README.md]
    tree: {tree}
{sdist}    engine: pkg/pruning
targets:
  s1:
    about: the small one
    upstream: small
    next:
      - python prune.py
  s2:
    upstream: small
    next: []
"""


@dataclass
class World:
    """Folders of one test, and the tool as its user types it."""

    root: Path
    origin: Path
    commit: str
    tree: str
    kit: Path
    capture: pytest.CaptureFixture[str]
    env: dict[str, str] = field(default_factory=dict)
    out: str = ""
    err: str = ""

    @property
    def fork(self) -> Path:
        """Where the tests' fork goes."""
        return self.root / "work" / "fork"

    def prunekit(self, *args: str | Path) -> int:
        """Run the tool in this process; returns the exit code, keeps what it printed in `out` and `err`."""
        self.capture.readouterr()
        code = run(["--kit", str(self.kit), *map(str, args)])
        self.out, self.err = self.capture.readouterr()
        return code

    def setup(self, *args: str | Path) -> int:
        """Run `prunekit setup s1 FORK ARGS`."""
        return self.prunekit("setup", "s1", self.fork, *args)

    def write_pins(self, **changes: str) -> None:
        """Write the pin file, with some values changed ("" leaves an optional key out)."""
        values = {
            "url": self.origin.as_uri(),
            "commit": self.commit,
            "date": DATE,
            "tree": self.tree,
            "tag": "",
            "sdist": "",
        }
        (self.kit / "pinned_commits.yaml").write_text(PINS.format(**{**values, **changes}))

    def tree_of(self, folder: Path) -> dict[str, tuple[int, int, bytes]]:
        """Return a folder's files with inode, time stamp and content: what "nothing touched" means.

        Git renews the time stamp of an object that it would have written again; that one is left out.
        """
        files = [path for path in folder.rglob("*") if path.is_file()]
        stamps = {path: 0 if "objects" in path.parts else path.stat().st_mtime_ns for path in files}
        return {str(path): (path.stat().st_ino, stamps[path], path.read_bytes()) for path in files}

    def beside(self) -> list[str]:
        """Return the names beside the fork."""
        return sorted(path.name for path in self.fork.parent.iterdir()) if self.fork.parent.exists() else []


def make_origin(folder: Path) -> str:
    """Make the upstream: a first commit, the pin (with docs that no fork needs), a later one; returns the pin."""
    folder.mkdir(parents=True)
    git(folder, "init", "--quiet")
    write(folder, {"README.md": "old\n", "LICENSE": "free\n"})
    git(folder, "add", ".")
    git(folder, "commit", "--quiet", "-m", "first")
    write(folder, FILES)
    (folder / "pkg" / "run.sh").chmod(0o755)
    (folder / "docs").mkdir()
    (folder / "docs" / "film.bin").write_bytes(random.Random(0).randbytes(300_000))
    git(folder, "add", ".")
    git(folder, "commit", "--quiet", "-m", "the pin")
    commit = git(folder, "rev-parse", "HEAD")
    write(folder, {"pkg/module.py": MODULE.replace("line 3\n", "LINE 3\n")})
    git(folder, "commit", "--quiet", "-am", "later")
    for key in ("allowFilter", "allowAnySHA1InWant"):
        git(folder, "config", f"uploadpack.{key}", "true")
    return commit


def write(folder: Path, files: dict[str, str]) -> None:
    """Write files, byte for byte."""
    for path, text in files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(text.encode())


def make_kit(kit: Path, origin: Path, commit: str) -> str:
    """Make a kit with two patches and three drop-ins for the origin; returns the tree id of the covered files."""
    (kit / "manifests").mkdir(parents=True)
    rows = git(origin, "ls-tree", "-r", commit, "pkg", "LICENSE", "README.md")
    (kit / "manifests" / "small.txt").write_text(rows + "\n")
    scratch = kit.parent / "patching"
    git(origin, "worktree", "add", "--quiet", "--detach", str(scratch), commit)
    for name, old, new in (("first", "line 5\n", "line five\n"), ("second", "line 20\n", "line 20\nhook()\n")):
        module = scratch / "pkg" / "module.py"
        module.write_text(module.read_text().replace(old, new))
        git(scratch, "commit", "--quiet", "-am", f"Patch {name}: what it does\n\nWhy: because of {name}.")
    patches = kit / "patches" / "small"
    options = ["--zero-commit", "--no-signature", "--full-index", "--no-stat", "--keep-subject", "-N"]
    made = git(scratch, "format-patch", *options, "-o", str(patches), commit).splitlines()
    (patches / "series").write_text("# in this order\n" + "".join(f"{Path(path).name}\n" for path in made))
    dropins = {"pruning/engine.py": "E = 1\n", "small/prune.py": "print('prune')\n", "small/pkg/kit/hook.py": "H = 1\n"}
    write(kit / "dropins", dropins)
    index = {"GIT_INDEX_FILE": str(kit.parent / "index")}
    return _tree(origin, rows, index)


def _tree(origin: Path, rows: str, env: dict[str, str]) -> str:
    """Let git itself make the tree of the manifest's rows."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in env.items():
            patch.setenv(name, value)
        git(origin, "update-index", "--index-info", stdin=rows + "\n")
        return git(origin, "write-tree")


def make_sdist(
    folder: Path, members: dict[str, bytes] | None = None, extra: list[tarfile.TarInfo] | None = None
) -> str:
    """Make small-1.0.tar.gz in a folder for `--find-links`; returns its sha256."""
    folder.mkdir(parents=True, exist_ok=True)
    files = {f"small-1.0/{path}": text.encode() for path, text in FILES.items()}
    files["small-1.0/PKG-INFO"] = b"Metadata-Version: 2.1\nName: small\nVersion: 1.0\n"
    files["small-1.0/pyproject.toml"] = (
        b'[build-system]\nrequires = ["setuptools"]\nbuild-backend = "setuptools.build_meta"\n'
    )
    files["small-1.0/setup.py"] = b"raise SystemExit('upstream code must not run')\n"
    archive = folder / "small-1.0.tar.gz"
    with tarfile.open(archive, "w:gz") as tar:
        for name, content in {**files, **(members or {})}.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
        for info in extra or []:
            tar.addfile(info)
    return hashlib.sha256(archive.read_bytes()).hexdigest()


def sdist_keys(sha256: str) -> str:
    """Return the `sdist` block of the pin file."""
    return f'    sdist:\n      project: small\n      version: "1.0"\n      sha256: {sha256}\n'


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str, str]:
    """Make origin and kit once; returns (folder, commit, tree)."""
    folder = tmp_path_factory.mktemp("template")
    commit = make_origin(folder / "origin")
    return folder, commit, make_kit(folder / "kit", folder / "origin", commit)


@pytest.fixture
def world(
    template: tuple[Path, str, str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    copy_folder: Callable[[Path, Path], None],
) -> World:
    """A private copy of the small world, with an empty git configuration and no index for pip."""
    folder, commit, tree = template
    for name in ("origin", "kit"):
        copy_folder(folder / name, tmp_path / name)
    (tmp_path / "gitconfig").touch()
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(tmp_path / "gitconfig"))
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "links"))
    monkeypatch.delenv("PRUNEKIT_KIT", raising=False)
    (tmp_path / "links").mkdir()
    made = World(tmp_path, tmp_path / "origin", commit, tree, tmp_path / "kit", capsys)
    made.write_pins()
    return made


@pytest.fixture(scope="session")
def copy_folder() -> Callable[[Path, Path], None]:
    """Return a function that copies a folder with its links and modes."""

    def copy(source: Path, to: Path) -> None:
        shutil.copytree(source, to, symlinks=True)

    return copy


def configure(world: World, text: str) -> None:
    """Write the user's global git configuration."""
    (world.root / "gitconfig").write_text(text)
