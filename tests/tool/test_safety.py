# SPDX-License-Identifier: AGPL-3.0-or-later
"""Local work survives everything: second runs, newer kits, --force, two setups at once, kills at any moment."""

from __future__ import annotations

import fcntl
import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from smallworld import World, git, write

KILLS = 20


@pytest.fixture
def worked(world: World) -> World:
    """A fork in which somebody has worked: a commit, a changed file, a staged one, run outputs."""
    assert world.setup() == 0
    write(world.fork, {"mine.py": "mine\n"})
    git(world.fork, "add", "mine.py")
    git(world.fork, "commit", "--quiet", "-m", "My own commit")
    write(
        world.fork, {"pkg/module.py": "changed\n", "runs/detect/best.pt": "weights", "yolo.pt": "w", "notes.txt": "n"}
    )
    git(world.fork, "add", "pkg/module.py")
    write(world.fork, {"pkg/__init__.py": "VERSION = 2\n"})
    return world


def start(world: World, *args: str) -> subprocess.Popen[bytes]:
    """Start a setup in a process of its own."""
    command = [sys.executable, "-m", "prunekit", "--kit", str(world.kit), "setup", "s1", str(world.fork), *args]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)


def newer_kit(world: World) -> None:
    """Change a drop-in, as an update of the kit does."""
    write(world.kit / "dropins", {"small/prune.py": "print('newer')\n"})


def test_second_run_keeps_local_work(worked: World) -> None:
    """ "Already set up", with what is local named, and not a byte of it touched."""
    before = worked.tree_of(worked.fork)
    assert worked.setup() == 0
    assert "already set up" in worked.out and "1 own commit, 2 changed files" in worked.err
    assert worked.tree_of(worked.fork) == before


def test_newer_kit_asks_first(worked: World) -> None:
    """A fork of an older kit is not replaced unasked; the message names the command's effect."""
    newer_kit(worked)
    before = worked.tree_of(worked.fork)
    assert worked.setup() == 2
    assert "another pin or version of the kit" in worked.err and "--force moves it to" in worked.err
    assert worked.tree_of(worked.fork) == before and worked.beside() == ["fork"]


def test_force_keeps_everything(worked: World) -> None:
    """--force says what goes, moves the old fork aside as a whole, and keeps its code as a branch of the new one."""
    newer_kit(worked)
    before = {path.relative_to(worked.fork): path.read_bytes() for path in worked.fork.rglob("*") if path.is_file()}
    assert worked.setup("--force", "--json") == 0, worked.err
    backup = worked.fork.with_name("fork.backup-1")
    assert json.loads(worked.out)["backup"] == str(backup)
    for said in ("moves as a whole", str(backup), "My own commit", "pkg/module.py"):
        assert said in worked.err
    assert {path.relative_to(backup): path.read_bytes() for path in backup.rglob("*") if path.is_file()} == before
    assert (worked.fork / "prune.py").read_text() == "print('newer')\n"
    assert not (worked.fork / "mine.py").exists() and not (worked.fork / "runs").exists()
    assert git(worked.fork, "show", "backup-1:pkg/module.py") == "changed"
    assert git(worked.fork, "show", "backup-1:pkg/__init__.py") == "VERSION = 2"
    assert git(worked.fork, "show", "backup-1~1:mine.py") == "mine"
    assert worked.prunekit("verify", worked.fork) == 0
    assert git(worked.fork, "status", "--porcelain") == ""


def test_force_again_numbers_on(worked: World) -> None:
    """No backup is ever overwritten."""
    for number in (1, 2):
        assert worked.setup("--force") == 0
        assert worked.fork.with_name(f"fork.backup-{number}").is_dir()
    assert (worked.fork.with_name("fork.backup-1") / "runs" / "detect" / "best.pt").read_text() == "weights"


def test_force_that_fails_changes_nothing(worked: World) -> None:
    """Where the new fork cannot be made the old one is still in its place."""
    before = worked.tree_of(worked.fork)
    (worked.origin / ".git").rename(worked.root / "away")
    assert worked.setup("--force", "--source", "git") == 2
    assert worked.tree_of(worked.fork) == before and worked.beside() == ["fork"]


def test_force_on_a_damaged_fork(worked: World) -> None:
    """A fork whose repository is broken moves aside all the same."""
    (worked.fork / ".git" / "HEAD").write_text("garbage\n")
    assert worked.setup() == 2
    assert "--force" in worked.err
    assert worked.setup("--force") == 0, worked.err
    assert (worked.fork.with_name("fork.backup-1") / "runs" / "detect" / "best.pt").read_text() == "weights"


def test_two_at_once(world: World) -> None:
    """The second of two setups in one DIR ends at once and says why; the first is not disturbed."""
    world.fork.parent.mkdir()
    with (world.fork.parent / ".prunekit-fork.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert world.setup() == 2
        assert f"another setup is at work on {world.fork}" in world.err
        assert world.prunekit("setup", "s1", world.fork.with_name("other")) == 0, world.err  # a neighbour may go on
    assert world.setup() == 0
    assert world.beside() == ["fork", "other"]


def test_many_at_once(world: World) -> None:
    """Of several that start together each succeeds or says that another is at work, and one fork results."""
    processes = [start(world) for _ in range(4)]
    ends = [(process.communicate()[1].decode(), process.returncode) for process in processes]
    codes = [code for _, code in ends]
    assert set(codes) <= {0, 2} and 0 in codes, ends
    assert all("another setup is at work" in said for said, code in ends if code == 2), ends
    assert world.beside() == ["fork"] and world.prunekit("verify", world.fork) == 0


def test_leftovers_of_a_killed_run(world: World) -> None:
    """A staging folder and a lock file that nobody holds are taken away; names that only look like it are not."""
    world.fork.parent.mkdir()
    stale = world.fork.with_name(".prunekit-fork.stage-99999-0123abcd")
    other = world.fork.with_name(".prunekit-fork.stage-mine")
    for folder in (stale, other):
        write(folder, {"fork/pkg/x.py": "half"})
    world.fork.with_name(".prunekit-fork.lock").touch()
    assert world.setup() == 0
    assert world.beside() == [other.name, "fork"]


def kill_at(world: World, moment: float) -> bool:
    """Start a setup and kill it after `moment` seconds; returns whether it was still running."""
    process = start(world)
    try:
        process.wait(timeout=moment)
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGKILL)
        process.wait()
        return True
    return False


@pytest.mark.slow
def test_killed_at_any_moment(world: World) -> None:
    """SIGKILL at 20 random moments: DIR is absent or whole, and the next setup succeeds and leaves nothing behind."""
    begin = time.monotonic()
    assert start(world).wait() == 0
    whole = time.monotonic() - begin
    assert world.prunekit("status", world.fork, "--json") == 0
    head = json.loads(world.out)[0]["head"]
    moments, killed = random.Random(2), 0
    for _ in range(5 * KILLS):
        remove_fork(world.fork)
        if not kill_at(world, moments.uniform(0.2, 1.0) * whole):
            continue  # it was faster than the first: no kill, another try
        killed += 1
        if world.fork.exists():
            assert world.prunekit("verify", world.fork) == 0, world.err
        assert world.setup("--json") == 0, world.err
        assert json.loads(world.out)["head"] == head
        assert world.beside() == ["fork"]
        if killed == KILLS:
            return
    pytest.fail(f"only {killed} of {KILLS} kills hit a running setup")


@pytest.mark.slow
def test_force_killed_at_any_moment(worked: World) -> None:
    """SIGKILL during --force: the old work is in DIR or in a backup, whole, and the next setup succeeds."""
    moments = random.Random(3)
    for _ in range(8):
        process = start(worked, "--force")
        try:
            process.wait(timeout=moments.uniform(0.3, 0.9))
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        kept = [path for path in worked.fork.parent.glob("fork*/runs/detect/best.pt") if path.read_text() == "weights"]
        assert len(kept) == 1, worked.beside()
        assert git(kept[0].parents[2], "log", "--format=%s", "-1") == "My own commit"
    assert worked.setup() == 0, worked.err
    assert not [name for name in worked.beside() if name.startswith(".prunekit")]


def remove_fork(folder: Path) -> None:
    """Remove the fork by one rename first, so that the test itself leaves no half fork."""
    away = folder.with_name(f"away-{os.getpid()}")
    if folder.exists():
        folder.rename(away)
        subprocess.run(["rm", "-rf", str(away)], check=True)


def test_interrupted_by_the_user(world: World) -> None:
    """Ctrl-C: one line, nothing half-made, no staging folder."""
    process = start(world)
    deadline = time.monotonic() + 20
    while not [name for name in world.beside() if ".stage-" in name]:
        assert time.monotonic() < deadline and process.poll() is None
        time.sleep(0.005)
    process.send_signal(signal.SIGINT)
    said = process.communicate()[1].decode()
    assert process.returncode in (0, 130), said
    assert process.returncode == 0 or "interrupted" in said
    assert [name for name in world.beside() if name != "fork"] == []
