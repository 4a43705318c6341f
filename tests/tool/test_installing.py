# SPDX-License-Identifier: AGPL-3.0-or-later
"""Installing the kit: the extras' names, what messages tell to type, the commands that a wheel cannot run, old pips."""

from __future__ import annotations

import configparser
import re
import shutil
import subprocess
import sys
import venv
from pathlib import Path

import click
import pytest
from packaging.version import InvalidVersion, Version
from prunekit import extras
from prunekit import kit as kitdir
from prunekit.cli.main import cli, run
from prunekit.fork import doctor
from prunekit.kit import find_kit
from prunekit.upstream.pins import read_pins

ROOT = Path(__file__).parents[2]
PIPS = ("23.0.1", "24.2", "25.3")  # those that come with Python 3.10, 3.13 and late 3.12
DELETED = "prunekit/dropins/pruning/deleted_long_ago.py"
READS_ONLY = {"patches list", "patches show", "pins show", "pins freeze"}


def extra_names() -> list[str]:
    """Return the extras as setup.cfg names them."""
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg")
    return list(config["options.extras_require"])


def test_no_extra_reads_as_a_version() -> None:
    """pip 22.0 to 25.3 takes an extra "v8" for a version somewhere, and dies."""
    names = extra_names()
    assert set(read_pins(find_kit().pins).upstreams) <= set(names)
    for name in names:
        with pytest.raises(InvalidVersion):
            Version(name)


def test_what_people_are_told_to_install_is_there() -> None:
    """Every extra in README, docs, messages and notebooks exists, and none is asked of an index."""
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split()
    names, found = set(extra_names()), set()
    for path in listed:
        if path == "setup.cfg" or path.startswith("tests/tool/") or not (ROOT / path).is_file():
            continue
        text = (ROOT / path).read_bytes().decode("utf-8", "replace")
        assert not re.search(r"pip install[^\n]*['\"]?prunekit\[", text), path
        found |= set(re.findall(r"pip install[^\n`]*?['\"]\.\[([^\]\"']+)\]", text))
    assert found <= names and {"ultralytics", "yolov5", "yolov7", "test"} <= found


def test_the_command_for_an_extra(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """From a checkout, from what pip installed, or, with neither left, package by package."""
    assert extras.install_command("yolov5") == f"pip install -e '{ROOT}[yolov5]'"
    monkeypatch.setattr(extras, "_CHECKOUT", tmp_path)
    (tmp_path / "a wheel.whl").touch()
    monkeypatch.setattr(extras, "_origin", lambda: tmp_path / "a wheel.whl")
    assert extras.install_command("yolov5") == f"pip install '{tmp_path}/a wheel.whl[yolov5]'"
    rows = ["click>=8.1", 'prunekit[ultralytics]; extra == "yolov5"', "torch>=2.6; extra == 'ultralytics'"]
    monkeypatch.setattr(extras, "_origin", lambda: None)
    monkeypatch.setattr(extras.importlib.metadata, "requires", lambda _: [*rows, 'pandas>=1; extra == "yolov5"'])
    assert extras.install_command("yolov5") == "pip install 'torch>=2.6' 'pandas>=1'"


def test_two_opencvs_are_found(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Two projects that bring one package: the doctor says which, and how to be left with one."""
    for name in ("opencv_python", "opencv_python_headless", "ultralytics_opencv_headless"):
        (tmp_path / f"{name}-5.0.dist-info").mkdir()
        (tmp_path / f"{name}-5.0.dist-info" / "METADATA").write_text(
            f"Metadata-Version: 2.1\nName: {name.replace('_', '-')}\nVersion: 5.0\n"
        )
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    (check,) = doctor._doubles()
    assert check.state == "warning" and "overwrite each other's files" in check.text
    assert check.fix.endswith("pip install --no-deps opencv-python-headless==5.0")
    assert doctor.installed("ultralytics") == "5.0"


def maintainers() -> dict[str, list[str]]:
    """Return each maintainer's command with a full command line."""
    found: dict[str, click.Command] = {name: cli.commands[name] for name in ("why", "rebase")}
    for group in ("patches", "pins"):
        found |= {f"{group} {name}": command for name, command in cli.commands[group].commands.items()}  # type: ignore[attr-defined]
    lines = {}
    for name, command in found.items():
        wanted = [it for it in command.params if it.required]
        words = [word for it in wanted for word in ([it.opts[0]] if it.opts[0].startswith("-") else []) + ["x"]]
        lines[name] = [*name.split(), *words]
    return lines


@pytest.mark.parametrize("name", maintainers())
def test_maintainers_commands_of_an_installed_copy(
    name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """What needs a checkout says so in one line and writes nothing; what only shows goes on working."""
    data = tmp_path / "site" / "prunekit" / "data"
    shutil.copytree(ROOT / "patches", data / "patches", ignore=shutil.ignore_patterns("tests"))
    shutil.copy(ROOT / "pinned_commits.yaml", data)
    before = sorted(tmp_path.rglob("*"))
    monkeypatch.setattr(kitdir, "_PACKAGE", data.parent)
    code, said = run(["--kit", str(data), *maintainers()[name]]), capsys.readouterr().err
    assert sorted(tmp_path.rglob("*")) == before
    if name in READS_ONLY:
        assert code == 0 or "is the name of 3 patches" in said, said
        return
    assert code == 2 and said.count("\n") == 1 and "is an installed copy" in said and "--kit CHECKOUT" in said


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the checkout with what an earlier `pip install .` left in build/."""
    folder = tmp_path_factory.mktemp("kit") / "source"
    shutil.copytree(ROOT, folder, ignore=shutil.ignore_patterns(".git", "build", "*.egg-info", "__pycache__", ".venv*"))
    (folder / "build" / "lib" / DELETED).parent.mkdir(parents=True)
    (folder / "build" / "lib" / DELETED).touch()
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("version", PIPS)
def test_old_pips_install_the_kit(version: str, source: Path, tmp_path: Path) -> None:
    """Every extra, with pips that died of "v8"; a file that is in build/ only is not shipped."""
    if version == "23.0.1" and sys.version_info >= (3, 12):
        pytest.skip("pip 23.0.1 does not run on Python 3.12 and newer")
    venv.create(tmp_path / "env")
    own = str(tmp_path / "env" / "bin" / "python")
    ours, pip = [sys.executable, "-m", "pip", "--python", own], [own, "-m", "pip"]
    got = subprocess.run([*ours, "install", "--quiet", f"pip=={version}"], capture_output=True, text=True, check=False)
    if got.returncode:
        pytest.skip(f"pip {version} cannot be had here: {got.stderr.strip().splitlines()[-1]}")
    wanted = f"{source}[{','.join(extra_names())}]"
    done = subprocess.run([*pip, "install", "--no-deps", wanted], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    (site,) = (tmp_path / "env" / "lib").glob("python3*/site-packages")
    assert (site / DELETED).with_name("plan.py").is_file() and not (site / DELETED).exists()
