# SPDX-License-Identifier: AGPL-3.0-or-later
"""`prunekit pins update`: every verdict, everything written in one commit, nothing on failure, whole under kill."""

from __future__ import annotations

import itertools
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from pinworld import Place, git
from prunekit.upstream.manifest import Entry, tree_id

CLIP = (
    "pkg/engine.py",
    "        clip(self.model)\n",
    "        if self.clip:\n            clip(self.model)\n        else:\n            other(self)\n",
)


def verdicts(place: Place) -> dict[str, str]:
    """Return patch number -> verdict from the JSON document."""
    return {row["patch"][:4]: row["verdict"] for row in json.loads(place.out)["patches"]}


def test_untouched_and_written_in_one_commit(place: Place) -> None:
    """A commit that touches none of our files: the patches keep every byte; pin, manifest and nothing else change."""
    before, head = place.series(), place.state()[0]
    new = place.upstream("1.1", ("LICENSE", "free\n", "free as in speech\n"))
    assert place.prunekit("pins", "update", "small", "--to", new, "--json") == 0, place.err
    assert set(verdicts(place).values()) == {"untouched"}
    assert place.series() == before
    assert place.state()[1] == "" and git(place.kit, "rev-parse", "HEAD~1") == head
    changed = git(place.kit, "diff", "--name-only", "HEAD~1").splitlines()
    assert changed == ["manifests/small.txt", "pinned_commits.yaml"]
    pins = (place.kit / "pinned_commits.yaml").read_text()
    assert f"commit: {new}  # of 1.0\n" in pins and "# the pins\n" in pins and "small:  # the only one\n" in pins
    assert "0001-Patch-amp-off.patch: untouched" in git(place.kit, "log", "-1", "--format=%B")
    assert place.prunekit("setup", "s1", place.root / "fork") == 0
    assert place.prunekit("patches", "export", "--check") == 0


def test_a_file_that_the_manifest_leaves_out_stays_out(place: Place) -> None:
    """A covered file that the kit does not want is in no later pin either; one that is new to upstream comes in."""
    manifest, pins = place.kit / "manifests/small.txt", place.kit / "pinned_commits.yaml"
    rows = manifest.read_text().splitlines(keepends=True)
    manifest.write_text("".join(row for row in rows if "pkg/__init__.py" not in row))
    heads = {row.split("\t")[1]: row.split("\t")[0].split() for row in manifest.read_text().splitlines()}
    own = tree_id({path: Entry(mode, blob) for path, (mode, _, blob) in heads.items()})
    pins.write_text(pins.read_text().replace(git(place.origin, "rev-parse", f"{place.pin}^{{tree}}"), own))
    git(place.kit, "commit", "--quiet", "-am", "without __init__.py")
    new = place.upstream("1.1", ("pkg/__init__.py", "1.0", "1.1"), ("pkg/new.py", "", "x = 1\n"))
    assert place.prunekit("pins", "update", "small", "--to", new, "--json") == 0, place.err
    listed = [row.split("\t")[1] for row in manifest.read_text().splitlines()]
    assert listed == ["LICENSE", "pkg/default.yaml", "pkg/engine.py", "pkg/new.py"]


def test_moved_and_reanchored(place: Place) -> None:
    """Lines put above move a patch; a wrapped neighbour conflicts in 3-way and is found again as a statement."""
    place.upstream("lines", ("pkg/engine.py", "import os\n", "import os\nimport sys\n"))
    new = place.upstream("wrap", CLIP)
    assert place.prunekit("pins", "update", "small", "--to", new, "--json") == 0, place.err
    assert verdicts(place) == {"0001": "moved", "0002": "re-anchored", "0003": "untouched", "0004": "moved"}
    assert place.prunekit("setup", "s1", place.root / "fork") == 0
    text = (place.root / "fork" / "pkg" / "engine.py").read_text()
    assert "            other(self)\n        hooks.penalty(self)\n        self.optimizer.step()\n" in text
    assert place.prunekit("patches", "export", "--check") == 0


def test_absorbed(place: Place) -> None:
    """Upstream has the very same key by now: the patch goes, its test having passed without it."""
    new = place.upstream("same", ("pkg/default.yaml", "decay: 0.1\n", "decay: 0.1\nsparsity: 0.0\n"))
    assert place.prunekit("pins", "update", "small", "--to", new, "--json") == 0, place.err
    assert verdicts(place)["0003"] == "absorbed upstream"
    assert "0003-Patch-key.patch" not in place.series()
    assert place.prunekit("patches", "lint") == 0, place.out


@pytest.mark.parametrize("how", ["gone", "twice"])
def test_a_conflict_writes_nothing(place: Place, how: str) -> None:
    """A function that is gone, or there twice: exit code 4, both sides shown, the kit as it was."""
    twin = "\n\ndef parse(cfg):\n    layers = []\n    return layers\n"
    change = (
        ("pkg/engine.py", "def parse(", "def build_layers(")
        if how == "gone"
        else (
            "pkg/engine.py",
            "        layers.append(name)\n    return layers\n",
            f"        layers.append(name)\n    return layers\n{twin}",
        )
    )
    new = place.upstream(how, change)
    before, series = place.state(), place.series()
    assert place.prunekit("pins", "update", "small", "--to", new) == 4
    assert place.state() == before and place.series() == series
    assert "hooks.widths(layers)" in place.out and "failed" in place.out
    assert ("parse is not there" if how == "gone" else "parse is defined 2 times") in place.out
    assert "prunekit why" in place.err


def test_a_failing_test_writes_nothing(place: Place) -> None:
    """The series fits, but a patch's own test does not pass on the result."""
    (place.kit / "tests" / "test_it.py").write_text("def test_it():\n    assert False, 'no good'\n")
    git(place.kit, "commit", "--quiet", "-am", "a test that fails")
    new = place.upstream("1.1", ("LICENSE", "free\n", "free!\n"))
    before = place.state()
    assert place.prunekit("pins", "update", "small", "--to", new) == 4
    assert "no good" in place.err and place.state() == before


def test_a_package_that_this_python_lacks(place: Place) -> None:
    """The refusal ends with its name and what to do about it."""
    new = place.upstream("1.1", ("pkg/engine.py", "import os\n", "import os\nimport nobody_has_this\n"))
    before = place.state()
    assert place.prunekit("pins", "update", "small", "--to", new) == 4 and place.state() == before
    said = place.err.strip().splitlines()[-1]
    assert f"{sys.executable} has no nobody_has_this: install it there" in said and "--python PY" in said


def test_a_skipped_test_has_shown_nothing(place: Place) -> None:
    """A patch's own test that skips itself does not let the update through."""
    (place.kit / "tests" / "test_it.py").write_text("import pytest\n\ndef test_it():\n    pytest.skip('no stack')\n")
    git(place.kit, "commit", "--quiet", "-am", "a test that skips")
    before = place.state()
    assert place.prunekit("pins", "update", "small", "--to", place.upstream("1.1", ("LICENSE", "free\n", "x\n"))) == 4
    assert "no stack" in place.err and place.state() == before


def test_dirty_patches_stop_it_and_dry_run_writes_nothing(place: Place) -> None:
    """Changes that no commit holds are named; a dry run does not mind them, and writes nothing."""
    new = place.upstream("1.1", ("LICENSE", "free\n", "free!\n"))
    (place.kit / "patches" / "small" / "mine.patch").write_text("mine\n")
    before = place.state()
    assert place.prunekit("pins", "update", "small", "--to", new) == 2 and "mine.patch" in place.err
    assert place.prunekit("pins", "update", "small", "--to", new, "--no-smoke") == 2
    assert place.prunekit("pins", "update", "small", "--to", new, "--dry-run", "--no-smoke", "--json") == 0
    assert place.state() == before and json.loads(place.out)["commit"] == ""


def test_a_release_is_found_by_its_commit_subject(place: Place) -> None:
    """Without tags, the one commit whose subject names the release; where there are two, it is asked for."""
    one = place.upstream("`small 1.2` better", ("LICENSE", "free\n", "free!\n"))
    assert place.prunekit("pins", "update", "small", "--to", "1.2", "--dry-run", "--no-smoke", "--json") == 0, place.err
    assert json.loads(place.out)["to"]["commit"] == one
    place.upstream("after 1.2", ("LICENSE", "free!\n", "free!!\n"))
    assert (
        place.prunekit("pins", "update", "small", "--to", "1.2", "--dry-run", "--no-smoke") == 2
        and "2 commits" in place.err
    )


def test_a_kill_at_any_moment_leaves_the_old_or_the_new(place: Place) -> None:
    """Killed at random moments, then any command: a clean kit that is wholly the old one or wholly the new one."""
    new = place.upstream("wrap", CLIP)
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    words = [sys.executable, "-m", "prunekit", "--kit", str(place.kit), "pins", "update", "small", "--to", new]
    old, series = place.state()[0], place.series()
    rng, hits = random.Random(0), 0
    start = time.monotonic()
    assert subprocess.run([*words, "--dry-run"], env=env, capture_output=True, check=False).returncode == 0
    whole = time.monotonic() - start
    for _ in range(8):
        process = subprocess.Popen(words, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        time.sleep(rng.uniform(0.3, 1.1) * whole)
        process.send_signal(signal.SIGKILL)
        hits += process.wait() != 0
        assert place.prunekit("pins", "recover") == 0
        head, changes = place.state()
        assert changes == ""
        assert place.series() == series if head == old else git(place.kit, "rev-parse", "HEAD~1") == old
        git(place.kit, "reset", "--quiet", "--hard", old)
    assert hits


@pytest.mark.parametrize("touched", range(4))
def test_a_kill_while_writing(place: Place, touched: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Stopped after each of the files it writes, and two of them edited then: both are there in the end.

    Commands that only read change nothing; the one that writes finishes the update and keeps the edits.
    """
    from prunekit import kit_commit as kitwrite

    new, put, calls = place.upstream("wrap", CLIP), kitwrite._put, []

    def stop(path: Path, content: bytes | None) -> None:
        calls.append(path)
        if len(calls) == touched + 2:  # the journal comes first
            (path.parent / f".{path.name}.prunekit-1").write_bytes(b"half")
            os._exit(9)
        put(path, content)

    before = place.state()
    child = os.fork()
    if child == 0:
        monkeypatch.setattr(kitwrite, "_put", stop)
        place.prunekit("pins", "update", "small", "--to", new)
        os._exit(0)
    os.waitpid(child, 0)
    pins, patch = (place.kit / name for name in ("pinned_commits.yaml", "patches/small/0004-Patch-widths.patch"))
    pins.write_text(pins.read_text() + "# mine\n")
    patch.write_text(patch.read_text().replace("Why: because.", "Why: because of me."))
    half = every(place.kit)
    for words in READING if touched == 1 else READING[:1]:
        place.prunekit(*words)
        assert "prunekit pins recover" in place.err
    assert every(place.kit) == half
    assert place.prunekit("pins", "recover") == 0 and place.out.count("your edit") == 2
    assert git(place.kit, "rev-parse", "HEAD~1") == before[0]
    assert new in pins.read_text() and pins.read_text().endswith("# mine\n") and "because of me" in patch.read_text()
    assert place.state()[1].split() == ["M", str(patch.relative_to(place.kit)), "M", pins.name]
    assert place.prunekit("setup", "s1", place.root / "fork") == 0, place.err
    git(place.kit, "stash", "--quiet")
    assert place.prunekit("patches", "export", "--check") == 0
    assert place.prunekit("pins", "recover") == 0 and "no update was killed" in place.out


READING = (
    ("pins", "show"),
    ("pins", "freeze"),
    ("pins", "check"),
    ("pins", "update", "small", "--dry-run", "--no-smoke"),
    ("patches", "list"),
    ("patches", "lint"),
    ("patches", "export", "--check"),
)


def every(kit: Path) -> dict[str, tuple[int, bytes]]:
    """Every file's bytes and time, .git's too."""
    files = (path for path in kit.rglob("*") if path.is_file() and "__pycache__" not in path.parts)
    return {str(path): (path.stat().st_mtime_ns, path.read_bytes()) for path in files}


@pytest.fixture
def killed(place: Place) -> Callable[[int], None]:
    """Commit three files through the tool, ended after some of them are written."""
    from prunekit import kit_commit as kitwrite
    from prunekit.kit import find_kit

    def kill(after: int) -> None:
        put, calls = kitwrite._put, []

        def stop(path: Path, content: bytes | None) -> None:
            calls.append(path)
            if len(calls) == after + 2:
                os._exit(9)
            put(path, content)

        child = os.fork()
        if child == 0:
            kitwrite._put = stop
            files = {"LICENSE": b"new\n", "series.txt": b"1\n2\n3\n", "pinned_commits.yaml": None}
            kitwrite.commit(find_kit(place.kit), files, "three files")
            os._exit(0)
        os.waitpid(child, 0)

    (place.kit / "series.txt").write_text("1\n2\n")
    git(place.kit, "add", "-A")
    git(place.kit, "commit", "--quiet", "-m", "series.txt")
    return kill


@pytest.mark.parametrize("after", range(3))
def test_an_edit_of_the_same_lines(place: Place, killed: Callable[[int], None], after: int) -> None:
    """An edit that does not fit the update lies beside it; one of the update's own lines stays; nothing is lost."""
    from prunekit.kit import find_kit
    from prunekit.kit_commit import recover

    kit = find_kit(place.kit)
    killed(after)
    file = place.kit / "series.txt"
    mine = file.read_text().replace("2", "2 of mine")
    file.write_text(mine)
    (place.kit / "series.txt.yours").write_text("of an earlier kill\n")
    said = recover(kit)
    assert (place.kit / "series.txt.yours").read_text() == "of an earlier kill\n"
    both = [path.read_text() for path in place.kit.glob("series.txt*")]
    assert mine in both or "1\n2 of mine\n3\n" in both, (both, said)
    assert git(place.kit, "show", "HEAD:series.txt") == "1\n2\n3" and (place.kit / "LICENSE").read_text() == "new\n"
    assert not (place.kit / "pinned_commits.yaml").exists()


@pytest.mark.parametrize("touched", [False, True])
def test_a_commit_made_after_the_kill(place: Place, killed: Callable[[int], None], touched: bool) -> None:
    """The update goes on top of it; where it changes a file of the update, it is left and the update given up."""
    from prunekit.kit import find_kit
    from prunekit.kit_commit import recover

    kit = find_kit(place.kit)
    killed(1)
    (place.kit / ("series.txt" if touched else "other.txt")).write_text("mine\n")
    git(place.kit, "add", "series.txt" if touched else "other.txt")
    git(place.kit, "commit", "--quiet", "-m", "mine")
    mine = git(place.kit, "rev-parse", "HEAD")
    (said, *_) = recover(kit)
    if touched:
        assert "given up" in said and git(place.kit, "rev-parse", "HEAD") == mine
    else:
        assert git(place.kit, "rev-parse", "HEAD~1") == mine and git(place.kit, "status", "--porcelain") == ""
    assert recover(kit) == []


def test_a_kill_at_each_step_of_the_final_write(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ended before its first git command or file, before its second, and so on: wholly the old kit or the new one."""
    from prunekit import kit_commit as kitwrite
    from prunekit.git import Repo
    from prunekit.kit import find_kit

    files = {"pinned_commits.yaml": b"new\n", "patches/small/0009-new.patch": b"new\n", "LICENSE": b"new\n"}
    files |= {"patches/small/0001-Patch-amp-off.patch": None}
    old, kit = place.state(), find_kit(place.kit)
    (place.kit / "mine.txt").write_text("not committed, not theirs\n")
    for fatal in itertools.count():  # pragma: no branch
        child = os.fork()
        if child == 0:
            left = itertools.count()
            for owner, name in ((Repo, "run"), (kitwrite, "_put"), (Path, "unlink"), (os, "replace")):
                monkeypatch.setattr(owner, name, _ends_at(getattr(owner, name), left, fatal))
            kitwrite.commit(kit, files, "moved")  # type: ignore[arg-type]
            os._exit(0)
        ended = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        if fatal % 3 == 0 and (place.kit / ".git/prunekit-writing.json").exists():
            (place.kit / ".git/index.lock").touch()  # the git that it ran was killed, too
        assert place.prunekit("pins", "recover") == 0
        head, changes = place.state()
        assert changes == "?? mine.txt" and not list(place.kit.rglob("*.prunekit-*")), fatal
        new = git(place.kit, "show", "HEAD:pinned_commits.yaml") == "new"
        assert new == (head != old[0]) == ((place.kit / "LICENSE").exists())
        assert new != (place.kit / "patches/small/0001-Patch-amp-off.patch").exists()
        if ended == 0:
            break
        git(place.kit, "reset", "--quiet", "--hard", old[0])
    assert new and fatal > 12


def _ends_at(call: Callable[..., Any], left: Iterator[int], fatal: int) -> Callable[..., Any]:
    """The call, in a process that ends just before call number `fatal` of all that share `left`."""

    def ending(*args: Any, **words: Any) -> Any:
        if next(left) == fatal:
            os._exit(9)
        return call(*args, **words)

    return ending


def test_dry_run_changes_no_byte_of_the_kit(place: Place) -> None:
    """Not even in .git: every file's bytes and time are as they were, with and without smoke."""

    new, before = place.upstream("wrap", CLIP), every(place.kit)
    assert place.prunekit("pins", "update", "small", "--to", new, "--dry-run") == 0, place.err
    assert every(place.kit) == before
