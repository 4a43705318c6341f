# SPDX-License-Identifier: AGPL-3.0-or-later
"""A fork, or an upstream's folder, and how Python runs in it; for upstreams that are scripts in a folder."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import warm


class Home:
    """An upstream's folder and how Python runs in it."""

    def __init__(self, root: Path, env: dict[str, str]) -> None:
        self.root, self.env = root, env

    def start(
        self, *words: object, cwd: Path | None = None, cold: bool = False, stdin: int = subprocess.DEVNULL, **more: str
    ) -> subprocess.Popen[str]:
        """Start `python words...` in the folder (or in `cwd`), as a process group, its output in one pipe.

        `cold`: in a fresh Python, not in one that has torch imported (warm.py). `more`: environment variables.
        """
        return warm.start(
            [str(word) for word in words],
            {**self.env, **more},
            cold,
            cwd=cwd or self.root,
            start_new_session=True,
            stdin=stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )

    def python(self, *words: object, code: int = 0, given: str | None = None, **more: Any) -> str:
        """Run `python words...` as `start` does; its output. Fails unless it exits with `code`.

        `given`: what it reads.
        """
        process = self.start(*words, stdin=subprocess.DEVNULL if given is None else subprocess.PIPE, **more)
        output, _ = process.communicate(given, timeout=900)
        assert process.returncode == code, f"exit {process.returncode}, not {code}:\n{output[-5000:]}"
        return output

    def ask(self, script: Path, *calls: tuple[object, ...], cwd: Path, **more: str) -> list[Any]:
        """Run functions of a script of ours in one process; each call is (name, argument, ...)."""
        words = json.dumps([[str(word) for word in call] for call in calls])
        output = self.python(script, words, cwd=cwd, **more)
        return json.loads(output.rpartition("ANSWERS")[2].splitlines()[0])

    def report(self, folder: str) -> dict[str, Any]:
        """The report of a run."""
        return json.loads((self.root / folder / "report.json").read_text())


def packages(shared: Path, name: str, title: str, wanted: Sequence[str]) -> Path:
    """A folder with the packages that an upstream takes from pip, or a skip that says why there is none."""
    words = ["-m", "pip", "install", "--no-deps", "--only-binary=:all:", "--no-compile", "--quiet"]
    folder = shared / f"stack-{name}"
    made_once(folder, [*words, "--target", folder, *wanted], f"no pip packages for {title} ({', '.join(wanted)})")
    return folder


def set_up(shared: Path, name: str, title: str) -> Path:
    """The root of a fork that `prunekit setup NAME` has made, or a skip where upstream cannot be fetched."""
    if given := os.environ.get("PRUNEKIT_FORK"):  # `prunekit pins update` tries the fork that it would make
        return Path(given)
    folder = shared / f"fork-{name}"
    made_once(folder, ["-m", "prunekit", "setup", name, folder], f"no {title} sources")
    made_once(folder.with_name(f"compiled-{name}"), ["-m", "compileall", "-q", folder], "no bytecode")
    return folder  # copies bring the bytecode along


def copied(root: Path, target: Path, env: dict[str, str], here: Path) -> Home:
    """A private copy of an upstream's folder; `here` is where the programs of its tests lie."""
    shutil.copytree(root, target)
    paths = os.pathsep.join([env["PYTHONPATH"], str(target), str(here), str(here.parent / "engine")])
    return Home(target, {**env, "PYTHONPATH": paths})


def made_once(folder: Path, words: Sequence[object], lacking: str) -> None:
    """Run this Python with `words` unless an earlier worker has; what it could not get skips with the reason.

    Args:
        folder: what is made; marks of success and failure stand beside it.
        words: after `python`.
        lacking: what a skip says is missing ("no pip ..." always skips).
    """
    done, failed = folder.with_suffix(".done"), folder.with_suffix(".failed")
    with folder.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not done.exists() and not failed.exists():
            command = [sys.executable, *map(str, words)]
            made = subprocess.run(command, check=False, capture_output=True, text=True, stdin=subprocess.DEVNULL)
            said = [line for line in (made.stdout + made.stderr).splitlines() if line.strip()]
            failed.write_text(said[-1] if said else "no message") if made.returncode else done.touch()
    if failed.exists():
        reason = failed.read_text()
        if "cannot be reached" in reason or lacking.startswith("no pip"):
            pytest.skip(f"{lacking}: {reason}")
        pytest.fail(f"{command_text(words)}: {reason}")


def command_text(words: Sequence[object]) -> str:
    """The first words of a command, for a message."""
    return " ".join(map(str, words[:4]))


def without_patch(fork: Path, series: Path, number: int, folder: Path) -> Path:
    """A copy, in `folder`, of the fork as it would be without patch `number` of the series (1-based)."""
    patch = series / (series / "series").read_text().split()[number - 1]
    copy = folder / "fork"
    shutil.copytree(fork, copy, ignore=shutil.ignore_patterns(".git", "__pycache__"))
    subprocess.run(["git", "apply", "-R", "--unsafe-paths", f"--directory={copy}", patch], cwd="/", check=True)
    return copy
