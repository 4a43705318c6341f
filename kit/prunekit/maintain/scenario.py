# SPDX-License-Identifier: AGPL-3.0-or-later
"""A fork walked through once, as its users do: train under the penalty, prune, fine-tune, kill -9, resume, validate.

On the CPU, at 64 px, on the demo's digits, with upstream kept off the network. Nothing here is about accuracy: each
program must end well, and what lies on the disk afterwards is looked at by a program of ours inside the fork.
"""

from __future__ import annotations

import importlib.util
import os
import shlex
import shutil
import signal
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

import yaml

from prunekit.console import Report
from prunekit.process import Tried, fork_environment, last_lines, run

SECONDS = 600  # longest that a program may take
_HERE = Path(__file__).parent
_DATA = "from prunekit.demo.digits import build; import sys; build(sys.argv[1], train=24, val=8, imgsz=64)"


@dataclass(frozen=True)
class Way:
    """What the users of one upstream type; {fork}, {data} and {runs} stand for paths.

    `always` follows each but `resume`, which takes everything from its checkpoint. `last` is the checkpoint that
    fine-tuning writes after each epoch; `look` our program that checks the outcome.
    """

    train: str
    prune: str
    tune: str
    resume: str
    always: str
    last: str
    look: str


def way_of(upstream: str) -> Way | None:
    """Return what lies in infork/walk_NAME.yaml, beside the check_NAME.py that looks; None where nobody wrote it."""
    file = _HERE / "infork" / f"walk_{upstream}.yaml"
    if not file.is_file():
        return None
    return Way(**yaml.safe_load(file.read_text(encoding="utf-8")), look=f"check_{upstream}.py")


def walk_through(fork: Path, way: Way, python: str, folder: Path, report: Report) -> list[Tried]:
    """Walk through a fork in `folder`, which keeps a log of each program; ends at the first that fails."""
    settings, runs, data = folder / "settings", folder / "runs", folder / "data"
    settings.mkdir(parents=True)
    _put_fonts(settings)
    env = {**fork_environment(fork, settings), "HOME": str(folder)}
    names = {"fork": str(fork), "data": str(data / "data.yaml"), "runs": str(runs)}

    def words(*lines: str) -> list[str]:
        return [python, *(word.format(**names) for word in shlex.split(" ".join(lines)))]

    tool = {"PYTHONPATH": os.pathsep.join([str(_HERE.parent), *filter(None, [os.environ.get("PYTHONPATH")])])}
    steps = (
        ("data", lambda: run("data", [python, "-c", _DATA, str(data)], folder, {**env, **tool})),
        ("train under the penalty", lambda: _program("train", words(way.train, way.always), folder, env)),
        ("prune", lambda: _program("prune", words(way.prune, way.always), folder, env)),
        ("fine-tune, kill -9", lambda: _kill(words(way.tune, way.always), runs / way.last, folder, env)),
        ("resume", lambda: _program("resume", words(way.resume), folder, env)),
        ("counts, validate", lambda: _look(python, way, names, folder, env)),
    )
    found: list[Tried] = []
    for name, step in steps:
        report(name)
        tried = step()
        found.append(Tried(f"walk: {name}", tried.passed, tried.said))
        if not tried.passed:
            break
    return found


def _look(python: str, way: Way, names: dict[str, str], folder: Path, env: dict[str, str]) -> Tried:
    """Run our program in the fork, which says what is wrong with the outcome."""
    return _program("look", [python, str(_HERE / "infork" / way.look), names["runs"], names["data"]], folder, env)


def _program(name: str, command: list[str], folder: Path, env: dict[str, str]) -> Tried:
    """Run a program to its end, its output in a log."""
    log = folder / f"{name}.log"
    with log.open("wb") as sink:
        process = _start(command, folder, env, sink.fileno())
        try:
            how = f"exit {process.wait(SECONDS)}"
        except subprocess.TimeoutExpired:
            how = f"not done after {SECONDS} s"
        finally:
            _end(process)
    said = "" if how == "exit 0" else f"{last_lines(log.read_bytes())}\n({log.name}: {how})"
    return Tried(name, not said, said)


def _kill(command: list[str], last: Path, folder: Path, env: dict[str, str]) -> Tried:
    """Start a training and end it with SIGKILL, children and all, once its first checkpoint is whole."""
    log, begun = folder / "tune.log", time.monotonic()
    with log.open("wb") as sink:
        process = _start(command, folder, env, sink.fileno())
        try:
            while process.poll() is None and time.monotonic() - begun < SECONDS and not _settled(last):
                time.sleep(0.05)
            early = process.poll() is None and last.is_file()
        finally:
            _end(process)
    said = (
        ""
        if early
        else f"{last_lines(log.read_bytes())}\n({log.name}: not killed: it ended first, or wrote no {last.name})"
    )
    return Tried("tune", early, said)


def _settled(file: Path) -> bool:
    """Return whether a file is there and is no longer being written."""
    return file.is_file() and file.stat().st_size > 0 and time.time() - file.stat().st_mtime > 0.1


def _start(command: list[str], folder: Path, env: dict[str, str], sink: int) -> subprocess.Popen[bytes]:
    """Start a program as a process group of its own."""
    return subprocess.Popen(
        command, cwd=folder, env=env, stdin=subprocess.DEVNULL, stdout=sink, stderr=sink, start_new_session=True
    )


def _end(process: subprocess.Popen[bytes]) -> None:
    """End what still runs of a process group."""
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _put_fonts(settings: Path) -> None:
    """Put matplotlib's own font where upstream looks for the one that it would download."""
    found = importlib.util.find_spec("matplotlib")
    font = Path(found.origin or "").parent / "mpl-data/fonts/ttf/DejaVuSans.ttf" if found else None
    for name in ("Arial.ttf", "Arial.Unicode.ttf"):
        if font is not None and font.is_file():
            shutil.copy(font, settings / name)
