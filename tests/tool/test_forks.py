# SPDX-License-Identifier: AGPL-3.0-or-later
"""verify, status, diff, list and doctor on a small fork."""

from __future__ import annotations

import json
import os
import shutil
import sys
import time
from pathlib import Path

import pytest
from prunekit.fork import doctor
from prunekit.fork.status import find_forks
from prunekit.kit import find_kit
from smallworld import World, git, write


@pytest.fixture
def made(world: World) -> World:
    """A world with a fork as set up."""
    assert world.setup() == 0
    return world


def drift(world: World) -> dict[str, str]:
    """Return path -> what of `verify --json`, which must say 3 exactly when there is some."""
    code = world.prunekit("verify", world.fork, "--json")
    document = json.loads(world.out)[0]
    assert (code, document["ok"]) == ((3, False) if document["drift"] else (0, True))
    return {item["path"]: item["what"] for item in document["drift"]}


def test_verify_finds_nothing_in_a_new_fork(made: World) -> None:
    """Exit 0; and reading leaves the fork as it is."""
    git(made.fork, "status")
    before = made.tree_of(made.fork)
    assert drift(made) == {}
    assert made.tree_of(made.fork) == before


def test_verify_names_each_kind_of_drift(made: World) -> None:
    """Modified, missing, mode, added by a commit; run outputs and untracked files are nobody's drift."""
    write(made.fork, {"pkg/module.py": "x\n", "runs/a/best.pt": "w", "mine.py": "m\n", "new.py": "n\n"})
    (made.fork / "LICENSE").unlink()
    (made.fork / "pkg" / "run.sh").chmod(0o644)
    (made.fork / "README.md").unlink()
    (made.fork / "README.md").symlink_to("/etc/hostname")
    git(made.fork, "add", "new.py")
    git(made.fork, "commit", "--quiet", "-m", "new")
    expected = {"LICENSE": "missing", "README.md": "modified", "new.py": "added"}
    assert drift(made) == {**expected, "pkg/module.py": "modified", "pkg/run.sh": "mode"}
    assert made.prunekit("verify", made.fork) == 3
    assert "pkg/module.py" in made.out and "--force" in made.out


def test_an_edit_of_the_second_in_which_git_looked(made: World) -> None:
    """git compares seconds and sizes, and the bytes only where the index is no newer: ours must not look newer."""
    file = made.fork / "LICENSE"
    text = file.read_text()
    time.sleep(1.05 - time.time() % 1)  # a second has just begun
    file.write_text(text)
    git(made.fork, "update-index", "--refresh", "LICENSE")
    file.write_text(text.swapcase())
    time.sleep(1.05 - time.time() % 1)
    assert made.prunekit("status", made.fork, "--json") == 0
    assert "LICENSE" in made.out, made.out


def test_verify_is_not_fooled_by_the_index(made: World) -> None:
    """A change that `git status` is told to overlook is found: files are hashed, not asked for."""
    git(made.fork, "update-index", "--assume-unchanged", "pkg/module.py")
    write(made.fork, {"pkg/module.py": "x\n"})
    assert git(made.fork, "status", "--porcelain") == ""
    assert drift(made) == {"pkg/module.py": "modified"}


def test_verify_finds_committed_changes(made: World) -> None:
    """A changed history is drift, however clean the tree."""
    write(made.fork, {"pkg/module.py": "x\n"})
    git(made.fork, "commit", "--quiet", "--all", "--amend", "-m", "nothing to see")
    assert drift(made) == {"pkg/module.py": "modified"}


def test_verify_tells_a_newer_kit_from_local_changes(made: World) -> None:
    """What the kit has changed since is "outdated", what somebody has changed here is "modified"."""
    write(made.kit / "dropins", {"small/prune.py": "newer\n", "pruning/added.py": "A\n"})
    write(made.fork, {"pkg/pruning/engine.py": "E = 2\n"})
    found = drift(made)
    assert found == {"prune.py": "outdated", "pkg/pruning/added.py": "outdated", "pkg/pruning/engine.py": "modified"}


@pytest.mark.parametrize("damage", ["HEAD", "objects"])
def test_verify_of_a_damaged_repository(made: World, damage: str) -> None:
    """Drift, not an internal error; and no repository above is taken for it."""
    git(made.root, "init", "--quiet")
    path = made.fork / ".git" / damage
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    assert made.prunekit("verify", made.fork) == 3
    assert "sets it up again" in made.err and "Traceback" not in made.err
    assert made.prunekit("status", made.fork, "--json") == 0
    assert json.loads(made.out)[0]["state"] == "damaged"


def test_status(made: World) -> None:
    """As set up, changed, outdated; with the local work counted."""

    def state() -> tuple[str, int, int, int]:
        assert made.prunekit("status", made.fork, "--json") == 0
        it = json.loads(made.out)[0]
        return it["state"], len(it["commits"]), len(it["changed"]), len(it["untracked"])

    assert state() == ("as set up", 0, 0, 0)
    write(made.fork, {"runs/x/best.pt": "w", "pkg/__pycache__/x.pyc": "cache"})
    assert state() == ("as set up", 0, 0, 1)
    write(made.fork, {"pkg/module.py": "x\n"})
    assert state() == ("changed", 0, 1, 1)
    git(made.fork, "commit", "--quiet", "-am", "mine")
    assert state() == ("changed", 1, 0, 1)
    write(made.kit / "dropins", {"small/prune.py": "newer\n"})
    assert state() == ("outdated", 1, 0, 1)


def test_which_fork_is_meant(made: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Inside a fork that one, elsewhere all below forks/, and a line of advice where there is none."""
    kit = find_kit(made.kit)
    monkeypatch.chdir(made.fork / "pkg")
    assert [it.directory for it in find_forks(kit, None)] == [made.fork]
    monkeypatch.chdir(made.root)
    assert made.prunekit("status") == 2
    assert "prunekit setup TARGET" in made.err
    assert made.prunekit("setup", "s1") == 0 and made.prunekit("setup", "s2") == 0
    assert [it.directory.name for it in find_forks(kit, None)] == ["s1", "s2"]
    for folder, says in (("origin", "is no fork"), ("nowhere", "there is no folder")):
        assert made.prunekit("verify", folder) == 2
        assert says in made.err


def test_fork_of_an_unknown_upstream(made: World) -> None:
    """A fork made by a kit with other upstreams is named as such."""
    record = made.fork / ".git" / "prunekit.json"
    record.write_text(record.read_text().replace('"small"', '"smal"'))
    assert made.prunekit("verify", made.fork) == 2
    assert "'smal', unknown here: did you mean 'small'?" in made.err
    record.write_text("{")
    assert made.prunekit("verify", made.fork) == 2
    assert "cannot be read" in made.err


def test_diff(made: World) -> None:
    """Against setup only one's own changes, against upstream the series and drop-ins too."""
    assert made.prunekit("diff", made.fork) == 0
    assert "nothing differs from setup" in made.out
    write(made.fork, {"LICENSE": "mine\n", "notes.txt": "n"})
    assert made.prunekit("diff", made.fork) == 0
    assert "-free\n+mine\n" in made.out and "hook()" not in made.out and "notes.txt" in made.err
    assert made.prunekit("diff", made.fork, "--from", "upstream", "--json") == 0
    found = {item["path"]: item["status"] for item in json.loads(made.out)[0]["files"]}
    added = {"prune.py": "A", "pkg/kit/hook.py": "A", "pkg/pruning/engine.py": "A"}
    assert found == {**added, "LICENSE": "M", "pkg/module.py": "M"}
    assert made.prunekit("diff", made.fork, "--stat") == 0
    assert "LICENSE | 2 +-" in made.out


def test_list(world: World) -> None:
    """Targets with their pins."""
    assert world.prunekit("list", "--json") == 0
    document = json.loads(world.out)
    assert list(document) == ["s1", "s2"] and document["s1"]["upstream"]["commit"] == world.commit
    assert world.prunekit("list") == 0
    assert world.out.splitlines()[1].split() == ["s1", "the", "small", "one", "small", "1.0", world.commit[:12]]


def fake_ultralytics(folder: Path) -> Path:
    """Put an `ultralytics` that must not be imported into a folder."""
    write(folder, {"ultralytics/__init__.py": "raise SystemExit('imported')\n"})
    return folder / "ultralytics"


@pytest.fixture
def no_yolo(monkeypatch: pytest.MonkeyPatch) -> None:
    """No `yolo` on the PATH, as where CI runs: one of another environment than the tests' is a problem to doctor."""
    places = os.environ["PATH"].split(os.pathsep)
    monkeypatch.setenv("PATH", os.pathsep.join(place for place in places if not (Path(place) / "yolo").exists()))


@pytest.mark.usefixtures("no_yolo")
def test_doctor_finds_a_foreign_ultralytics(
    made: World, monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """A copy that shadows a fork is a problem with its fix, else a warning; a fork's is neither. None is imported."""
    monkeypatch.chdir(made.root)
    monkeypatch.delitem(sys.modules, "ultralytics", raising=False)  # where another test has imported a fork's
    place = fake_ultralytics(made.root / "site")
    monkeypatch.syspath_prepend(str(place.parent))
    assert doctor.found_ultralytics() == place
    assert made.prunekit("doctor", "--offline", "--json") == 0
    check = {item["name"]: item for item in json.loads(made.out)}["ultralytics"]
    assert check["state"] == "warning" and str(place) in check["text"]  # no fork of ultralytics that it shadows
    fake_ultralytics(made.fork)
    monkeypatch.chdir(made.fork)
    assert made.prunekit("doctor", "--offline", "--json") == 2
    check = {item["name"]: item for item in json.loads(made.out)}["ultralytics"]
    assert check["state"] == "problem" and str(place) in check["text"] and "pip install --no-deps -e ." in check["fix"]
    monkeypatch.chdir(made.root)
    monkeypatch.syspath_prepend(str(made.fork))
    assert made.prunekit("doctor", "--offline", "--json") == 0
    check = {item["name"]: item for item in json.loads(made.out)}["ultralytics"]
    assert check["state"] == "ok" and str(made.fork) in check["text"]


def test_doctor_names_a_fork_that_it_cannot_read(made: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """A fork of an upstream that the kit does not know is a problem, not "none here yet"."""
    monkeypatch.chdir(made.fork)
    record = made.fork / ".git" / "prunekit.json"
    record.write_text(json.dumps({**json.loads(record.read_text()), "upstream": "smail"}))
    assert made.prunekit("doctor", "--offline", "--json") == 2
    check = {item["name"]: item for item in json.loads(made.out)}["forks"]
    assert check["state"] == "problem" and "'smail', unknown here" in check["text"] and check["fix"]


def test_doctor_ignores_the_copy_in_the_current_folder(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """`python -m prunekit` in a fork sees the fork; `yolo` there would not."""
    place = fake_ultralytics(world.root / "here")
    monkeypatch.chdir(place.parent)
    monkeypatch.syspath_prepend("")
    assert doctor.found_ultralytics() != place


@pytest.mark.usefixtures("no_yolo")
def test_doctor_on_hosts_and_yolo(made: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """A host that does not answer is a warning with the way round it; a `yolo` of another environment a problem."""
    monkeypatch.chdir(made.root)
    assert made.prunekit("doctor", "--json") == 0
    assert {item["name"]: item["state"] for item in json.loads(made.out)}["host of small"] == "ok"
    made.write_pins(url="http://127.0.0.1:9/small.git")
    yolo = made.root / "bin" / "yolo"
    write(yolo.parent, {"yolo": "#!/bin/sh\n"})
    yolo.chmod(0o755)
    monkeypatch.setenv("PATH", f"{yolo.parent}:{os.environ['PATH']}")
    assert made.prunekit("doctor", "--json") == 2
    checks = {item["name"]: item for item in json.loads(made.out)}
    assert checks["host of small"]["state"] == "warning" and "--mirror URL" in checks["host of small"]["fix"]
    assert checks["yolo"]["state"] == "problem" and str(yolo) in checks["yolo"]["text"]


def test_doctor_without_git(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """The doctor itself works where git is missing, and says so."""
    monkeypatch.setenv("PATH", str(world.root))
    assert world.prunekit("doctor", "--json") == 2
    assert {item["name"]: item["state"] for item in json.loads(world.out)}["git"] == "problem"
