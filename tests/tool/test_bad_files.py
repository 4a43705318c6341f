# SPDX-License-Identifier: AGPL-3.0-or-later
"""Every file that the tool reads, in every bad shape: one line that names the file, exit code 2, nothing made."""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from smallworld import World

PINS, MANIFEST, SERIES = "pinned_commits.yaml", "manifests/small.txt", "patches/small/series"
PATCH = "patches/small/0001-Patch-first-what-it-does.patch"
FILES = (PINS, MANIFEST, SERIES, PATCH)


def text(content: bytes) -> Callable[[Path], None]:
    """Return a change that writes `content`."""
    return lambda path: void(path.write_bytes(content))


def void(_: object) -> None:
    """Drop a value."""


def replaced(by: Callable[[Path], object]) -> Callable[[Path], None]:
    """Return a change that puts something else where the file was."""
    return lambda path: void((path.unlink(), by(path)))


def huge(path: Path) -> None:
    """Make a file of a terabyte without writing it."""
    with path.open("wb") as file:
        file.truncate(2**40)


SHAPES: dict[str, Callable[[Path], None]] = {
    "not UTF-8": text(b"upstreams:\n  caf\xe9: 1\n"),
    "UTF-16": text("upstreams: {}\n".encode("utf-16")),
    "control characters": text(b"\x00\x01\x02\n"),
    "deep list": text(b"[" * 50_000),
    "deep mapping": text(b"{a: " * 50_000),
    "deep block": text(b"".join(b" " * n + b"a:\n" for n in range(1500))),
    "a number": text(b"3\n"),
    "a list": text(b"- a\n- b\n"),
    "an impossible character": text(b'a: "\\UFFFFFFFF"\n'),
    "two documents": text(b"--- 1\n--- 2\n"),
    "a tag": text(b"!!python/object/apply:os.system ['touch ran']\n"),
    "an alias to itself": text(b"upstreams: &a {x: *a}\ntargets: *a\n"),
    "huge": huge,
    "a folder": replaced(Path.mkdir),
    "a loop of links": replaced(lambda path: path.symlink_to(path)),
    "a pipe": replaced(os.mkfifo),
    "the null device": replaced(lambda path: path.symlink_to("/dev/zero")),
}
LISTED = [(name, shape) for name in FILES for shape in SHAPES]


def one_line(world: World) -> str:
    """Return the error, having checked that it is one line."""
    lines = [line for line in world.err.splitlines() if line.strip()]
    assert len(lines) == 1 and lines[0].startswith("error: "), world.err
    assert "Traceback" not in world.err and "internal error" not in world.err
    return lines[0]


@pytest.fixture
def offline(world: World) -> World:
    """The world with a fork that is there: what the files make is asked for without a fetch."""
    assert world.setup() == 0
    return world


def test_files_of_the_kit(offline: World) -> None:
    """Each file in each shape, in one world: every command that reads it says which file it is."""
    count = 0
    for name, shape in LISTED:
        path = offline.kit / name
        kept = path.read_bytes()
        SHAPES[shape](path)
        for words in (("status", offline.fork), ("verify", offline.fork), ("setup", "s1", offline.fork), ("list",)):
            code = offline.prunekit(*words)
            assert code in (0, 2, 3, 4), (name, shape, words, offline.err)
            assert "Traceback" not in offline.err and "internal error" not in offline.err
            if code in (2, 4):
                assert Path(name).name in one_line(offline), (name, shape, words)
                count += 1
        if path.is_dir() and not path.is_symlink():
            path.rmdir()
        path.unlink(missing_ok=True)
        path.write_bytes(kept)
    print(f"{count} errors in one line")
    assert count > len(LISTED)
    assert offline.prunekit("verify", offline.fork) == 0


VALUES = (
    "[]",
    "{}",
    "3",
    "null",
    "~",
    "true",
    "''",
    "[[1]]",
    "x" * 5000,
    '"\\0"',
    "2024-13-45T99:99:99+99:99",
    "../x",
    "-x",
    "!!binary x",
)


def test_values_of_another_type(offline: World) -> None:
    """Every value of the pin file in every wrong type: file and line, or it does not matter."""
    path = offline.kit / PINS
    rows = path.read_text().splitlines()
    for number, row in enumerate(rows):
        key, mark, _ = row.partition(":")
        for value in VALUES:
            path.write_text("\n".join([*rows[:number], f"{key}{mark} {value}", *rows[number + 1 :]]) + "\n")
            for words in (("list",), ("setup", "s1", offline.fork)):
                code = offline.prunekit(*words)
                assert code in (0, 2, 4) and "internal error" not in offline.err, (row, value, offline.err)
                if code:
                    one_line(offline)


@pytest.mark.parametrize(
    "name", ["a\nb", "a\x1b[31mb", "a\x7f", "loop", "loop/below", "file/below", "~nobody-of-that-name/x", "gone\n/x"]
)
@pytest.mark.parametrize("words", ["setup s1", "status", "verify", "diff", "--kit"])
def test_folders_that_cannot_be(world: World, name: str, words: str) -> None:
    """A DIR with a line end, a loop of links, below a file: one line, exit code 2, nothing made."""
    (world.root / "loop").symlink_to("loop")
    (world.root / "file").touch()
    before = sorted(world.root.rglob("*"))
    folder = name if name.startswith("~") else str(world.root / name)
    line = [words, folder, "list"] if words == "--kit" else [*words.split(), folder]
    assert world.prunekit(*line) == 2
    assert "\x1b" not in one_line(world)
    assert sorted(world.root.rglob("*")) == before


def test_a_folder_that_is_no_text(world: World) -> None:
    """Bytes that are no UTF-8 in a folder's name are a name like any other."""
    folder = Path(os.fsdecode(bytes(world.root / "work") + b"/caf\xe9 \xc3\xa9 a:b"))
    for words in ("setup s1", "status", "verify", "diff"):
        done = process(world, *words.split(), folder)
        assert done.returncode == 0, done.stderr


def test_a_current_folder_that_is_gone(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Said as such, whatever the command."""
    (world.root / "gone").mkdir()
    monkeypatch.chdir(world.root / "gone")
    (world.root / "gone").rmdir()
    for words in (("list",), ("status",), ("setup", "s1"), ("doctor",)):
        assert world.prunekit(*words) == 2
        assert "cd into another one" in one_line(world)


BROKEN = {
    "line": "[core\n  x = = \n[[[[\n",
    "value": "[http]\n\tsslVerify = perhaps\n",
    "include": "[include]\n\tpath = {}\n",
}


@pytest.mark.parametrize("text", BROKEN.values(), ids=list(BROKEN))
def test_a_broken_configuration_of_git(world: World, text: str) -> None:
    """Only a fetch reads it; then the file is named. Every other command works."""
    config = world.root / "gitconfig"
    config.write_text(text.format(config))
    for words in (("list",), ("status", world.root), ("doctor", "--offline")):
        world.prunekit(*words)
        assert "internal error" not in world.err and "Traceback" not in world.err
    code = world.setup()
    assert code in (0, 2) and "internal error" not in world.err  # git itself takes some of these for none
    if code:
        assert "config" in one_line(world) and str(config) in world.err and world.beside() == []


def process(world: World, *words: str | Path, **changes: str | None) -> subprocess.CompletedProcess[str]:
    """Run the tool in a process of its own; None takes a variable out."""
    env = {key: value for key, value in {**os.environ, **changes}.items() if value is not None}
    command = [sys.executable, "-m", "prunekit", "--kit", str(world.kit), *map(str, words)]
    return subprocess.run(command, env=env, capture_output=True, text=True, errors="surrogateescape", check=False)


ENVIRONMENTS: dict[str, dict[str, str | None]] = {
    "no git": {"PATH": "/there/is/no/such/folder"},
    "no PATH": {"PATH": ""},
    "no HOME": {"HOME": None, "GIT_CONFIG_GLOBAL": None},
    "HOME is no folder": {"HOME": "/dev/null", "GIT_CONFIG_GLOBAL": None},
    "TMPDIR is no folder": {"TMPDIR": "/there/is/no/such/folder"},
    "broken .gitconfig": {"HOME": "HOME", "GIT_CONFIG_GLOBAL": None},
    "LANG=C": {"LC_ALL": "C", "LANG": "C"},
    "ASCII": {"PYTHONIOENCODING": "ascii", "LC_ALL": "POSIX"},
    "GIT variables": {"GIT_DIR": "/nowhere", "GIT_CONFIG_COUNT": "x", "GIT_TRACE": "1", "GIT_PYTHON_TRACE": "full"},
}


@pytest.mark.parametrize("name", ENVIRONMENTS)
def test_environments(offline: World, name: str) -> None:
    """What the tool is started with: it works, or says in one line what is missing."""
    (offline.root / "HOME").mkdir()
    (offline.root / "HOME" / ".gitconfig").write_text(BROKEN["line"])
    home = str(offline.root / "HOME")
    values = {key: home if value == "HOME" else value for key, value in ENVIRONMENTS[name].items()}
    fork = offline.fork.rename(offline.fork.with_name("férk"))
    for words in (("status", fork), ("verify", fork), ("list",)):
        done = process(offline, *words, **values)
        assert "Traceback" not in done.stderr and "internal error" not in done.stderr
        if name in ("no git", "no PATH") and words != ("list",):
            assert done.returncode == 2 and "git was not found" in done.stderr and done.stderr.count("\n") == 1
        else:
            assert done.returncode == 0, done.stderr


def test_no_room_for_temporary_files(offline: World, tiny_disk: Path) -> None:
    """A full TMPDIR is named, and not the disk of the fork."""
    (tiny_disk / "full").write_bytes(b"x" * 2**15)
    for words in (("status", offline.fork), ("verify", offline.fork)):
        done = process(offline, *words, TMPDIR=str(tiny_disk))
        assert done.returncode == 2 and done.stderr.count("\n") == 1, done.stderr
        assert "set TMPDIR to a folder with room" in done.stderr


def test_folders_of_killed_runs(offline: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """A killed run's temporary folder goes with the next command; one whose process lives stays, so do others."""
    place = offline.root / "tmp"
    for name in ("prunekit-tool-killed", "prunekit-tool-alive", "prunekit-mine"):
        (place / name / "git").mkdir(parents=True)
    (place / "prunekit-tool-link").symlink_to(offline.fork)
    handle = os.open(place / "prunekit-tool-alive", os.O_RDONLY)
    fcntl.flock(handle, fcntl.LOCK_EX)
    assert process(offline, "status", offline.fork, TMPDIR=str(place)).returncode == 0
    left = ["prunekit-mine", "prunekit-tool-alive", "prunekit-tool-link"]
    assert sorted(path.name for path in place.iterdir()) == left
    os.close(handle)
    assert process(offline, "status", offline.fork, TMPDIR=str(place)).returncode == 0
    assert sorted(path.name for path in place.iterdir()) == ["prunekit-mine", "prunekit-tool-link"]
    assert offline.fork.is_dir()


@pytest.mark.parametrize("words", ["list", "status FORK", "diff FORK", "--help", "setup s1 FORK --json", "list --json"])
def test_nobody_reads_on(offline: World, words: str) -> None:
    """`| head` closes the pipe: not a word, and the command's own exit code."""
    (offline.fork / "pkg" / "module.py").write_text("changed\n" * 20_000)
    line = words.replace("FORK", str(offline.fork)).split()
    command = [sys.executable, "-m", "prunekit", "--kit", str(offline.kit), *line]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as running:
        assert running.stdout and running.stderr
        running.stdout.close()
        said = running.stderr.read()
        assert running.wait() == 0 and "pipe" not in said.lower() and "Traceback" not in said and "error" not in said


def test_output_that_cannot_be_written(offline: World) -> None:
    """A full disk behind standard output is an error of its own."""
    command = [sys.executable, "-m", "prunekit", "--kit", str(offline.kit), "list"]
    with open("/dev/full", "w") as full:
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert done.returncode == 2 and done.stderr == "error: cannot write the output: No space left on device\n"


@pytest.mark.parametrize("ignored", [False, True])
def test_ctrl_c_in_a_fetch(world: World, ignored: bool) -> None:
    """The whole group gets it, as from a terminal, even where a shell has it ignored: 130, and nothing is left."""
    host = world.root / "ssh.sh"
    host.write_text("#!/bin/sh\ntouch '" + str(world.root / "asked") + "'\nexec sleep 30\n")
    host.chmod(0o755)
    env = {**os.environ, "GIT_SSH_COMMAND": str(host), "GIT_SSH_VARIANT": "simple", "TMPDIR": str(world.root)}
    line = ["setup", "s1", str(world.fork), "--mirror", "ssh://host/x"]
    command = [sys.executable, "-m", "prunekit", "--kit", str(world.kit), *line]

    def ignore() -> None:
        signal.signal(signal.SIGINT, signal.SIG_IGN if ignored else signal.SIG_DFL)

    options = {"stderr": subprocess.PIPE, "text": True, "start_new_session": True}
    running = subprocess.Popen(command, env=env, preexec_fn=ignore, **options)  # type: ignore[call-overload]  # noqa: PLW1509
    deadline = time.monotonic() + 60
    while not (world.root / "asked").exists():
        assert time.monotonic() < deadline and running.poll() is None
        time.sleep(0.02)
    os.killpg(running.pid, signal.SIGINT)
    said = running.communicate()[1]
    assert running.returncode == 130 and "interrupted" in said and "failed:" not in said, said
    assert world.beside() == [] and not list(world.root.glob("prunekit-*"))
