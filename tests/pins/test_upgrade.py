# SPDX-License-Identifier: AGPL-3.0-or-later
"""`prunekit upgrade`: a fork or a clone as the kit makes it now, with own commits, changes and runs where they were."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pinworld import Place, git
from prunekit.fork import checkout, journal, own_commits, repository
from prunekit.fork import upgrade as upgrades
from prunekit.git import Repo

WRITES = ("index-pack", "update-ref", "symbolic-ref", "rebase", "reset", "init")
ENGINE = "pkg/engine.py"
OWN = ("    def step(self):\n", "    def own(self):\n        return 1\n\n    def step(self):\n")
LATER = ("pkg/engine.py", "        clip(self.model)\n", "        if self.clips:\n            clip(self.model)\n")
CONFLICT = ("pkg/engine.py", "        self.ready = True\n", "        self.ready = bool(self.data)\n")


def edit(file: Path, old: str, new: str) -> None:
    """Change a file in one place."""
    text = file.read_text()
    assert text.count(old) == 1, text
    file.write_text(text.replace(old, new))


def worked(place: Place) -> Path:
    """A fork with two own commits, a change that no commit holds, a staged file, and a run."""
    folder = place.root / "fork"
    assert place.prunekit("setup", "s1", folder) == 0, place.err
    edit(folder / ENGINE, *OWN)
    git(folder, "commit", "--quiet", "-am", "own trainer")
    (folder / "mine.py").write_text("x = 1\n")
    git(folder, "add", "mine.py")
    git(folder, "commit", "--quiet", "-m", "own file")
    edit(folder / ENGINE, "return 1\n", "return 2\n")
    (folder / "staged.py").write_text("y = 1\n")
    git(folder, "add", "staged.py")
    (folder / "runs").mkdir()
    (folder / "runs/best.pt").write_text("weights")
    return folder


def moved_kit(place: Place, *changes: tuple[str, str, str]) -> None:
    """Upstream goes on, and the kit's pin and series with it."""
    new = place.upstream("later", *changes)
    assert place.prunekit("pins", "update", "small", "--to", new) == 0, place.err


def files(folder: Path) -> dict[str, str]:
    """Every file outside .git."""
    found = (it for it in folder.rglob("*") if it.is_file() and ".git" not in it.parts)
    return {str(it.relative_to(folder)): it.read_text() for it in found}


def own(folder: Path) -> list[str]:
    """The subjects of the last two commits, and what no commit holds."""
    return [*git(folder, "log", "-2", "--format=%s %an").splitlines(), git(folder, "diff", "--stat").splitlines()[0]]


def test_there_and_back(place: Place) -> None:
    """Both new upstream and own lines; changes and runs stay; as it was before under a ref; and back, to the byte."""
    folder = worked(place)
    before, tip, mine = files(folder), git(folder, "rev-parse", "HEAD"), own(folder)
    assert place.prunekit("upgrade", folder) == 0 and "up to date" in place.out
    moved_kit(place, LATER, ("pkg/new.py", "", "z = 1\n"))
    assert place.prunekit("status", folder, "--json") == 0 and json.loads(place.out)[0]["state"] == "outdated"
    assert place.prunekit("upgrade", folder, "--json") == 0, place.err
    done = json.loads(place.out)
    assert (done["status"], done["commits"], done["uncommitted"]) == ("upgraded", 2, True)
    text = (folder / ENGINE).read_text()
    assert "if self.clips:" in text and "return 2" in text and (folder / "pkg/new.py").is_file()
    assert own(folder) == mine and (folder / "runs/best.pt").read_text() == "weights"
    assert (folder / "staged.py").read_text() == "y = 1\n"
    assert git(folder, "rev-parse", "refs/prunekit/before~1") == tip
    assert place.prunekit("status", folder, "--json") == 0
    assert (json.loads(place.out)[0]["state"], len(json.loads(place.out)[0]["commits"])) == ("changed", 2)
    assert place.prunekit("verify", folder, "--json") == 3
    assert [it["path"] for it in json.loads(place.out)[0]["drift"]] == ["mine.py", ENGINE]
    git(place.kit, "reset", "--quiet", "--hard", "HEAD~1")
    assert place.prunekit("upgrade", folder) == 0, place.err
    assert files(folder) == before and own(folder) == mine
    assert not (place.root / "fork.upgrade").exists() and not (folder / ".git/prunekit-upgrade.json").exists()


def test_a_conflict_waits_aside(place: Place) -> None:
    """The fork is untouched until it is resolved: given up, and again; resolved, and on."""
    folder = worked(place)
    edit(folder / ENGINE, CONFLICT[1], "        self.ready = 1\n")
    git(folder, "commit", "--quiet", "-am", "own readiness")
    before, head = files(folder), git(folder, "rev-parse", "HEAD")
    aside = place.root / "fork.upgrade"
    moved_kit(place, CONFLICT)
    assert place.prunekit("upgrade", folder, "--continue") == 2 and "has stopped" in place.err
    assert place.prunekit("upgrade", folder) == 2 and "'own readiness' conflicts" in place.err
    assert f"git -C {aside} add -- {ENGINE} && prunekit upgrade {folder} --continue" in place.err
    assert files(folder) == before and git(folder, "rev-parse", "HEAD") == head
    assert len(git(folder, "for-each-ref", "refs/prunekit/upgrade").splitlines()) == 2  # git gc leaves what aside needs
    (plan := aside / ".git/prunekit-plan.json").write_text(plan.read_text().replace('"work": "', '"work": "--output='))
    assert place.prunekit("upgrade", folder, "--continue") == 2 and "no valid 'work'" in place.err, place.err
    plan.write_text(plan.read_text().replace("--output=", ""))
    assert place.prunekit("upgrade", folder) == 2 and "--continue, or --abort" in place.err
    assert place.prunekit("upgrade", folder, "--abort") == 0 and not aside.exists()
    assert git(folder, "for-each-ref", "refs/prunekit/upgrade") == ""
    assert files(folder) == before and git(folder, "rev-parse", "HEAD") == head
    assert place.prunekit("upgrade", folder) == 2
    assert place.prunekit("upgrade", folder, "--continue") == 2 and ENGINE in place.err  # not resolved
    text = (aside / ENGINE).read_text()
    start, end = text.index("<<<<<<<"), text.index(">>>>>>>")
    rest = text[end:].partition("\n")[2]
    (aside / ENGINE).write_text(text[:start] + "        self.ready = 1 if self.data else 0\n" + rest)
    git(aside, "add", ENGINE)
    _poisoned(place, folder, aside)
    (folder / "LICENSE").write_text("changed meanwhile\n")
    assert place.prunekit("upgrade", folder, "--continue") == 2 and "has changed since" in place.err
    (folder / "LICENSE").write_text(before["LICENSE"])
    assert place.prunekit("upgrade", folder, "--continue") == 0, place.err
    text = (folder / ENGINE).read_text()
    assert "1 if self.data else 0" in text and "def own" in text and not aside.exists()
    assert not (place.root / "ran").exists()
    assert place.prunekit("upgrade", folder) == 0 and "up to date" in place.out


def _poisoned(place: Place, folder: Path, aside: Path) -> None:
    """Let what is aside name a program, as that of somebody else may: a step to run is refused, a filter is not run."""
    program = f"touch {place.root}/ran; cat"
    todo = aside / ".git/rebase-merge/git-rebase-todo"
    left = todo.read_text()
    todo.write_text(f"exec {program}\n{left}")
    assert place.prunekit("upgrade", folder, "--continue") == 2 and "holds 'exec'" in place.err, place.err
    todo.write_text(left)
    for key in ("filter.evil.clean", "filter.evil.smudge", "core.editor", "merge.evil.driver"):
        git(aside, "config", key, program)
    (aside / ".git/info/attributes").write_text("* filter=evil merge=evil\n")


def test_a_clone_and_a_fork_of_another_version(place: Place) -> None:
    """They stay at their version: the series is today's. The clone's own branch is as it was, and so is the way out."""
    later = place.upstream("later", LATER)
    clone, fork = place.root / "clone", place.root / "at"
    git(place.root, "clone", "--quiet", place.origin.as_uri(), str(clone))
    edit(clone / ENGINE, *OWN)
    git(clone, "commit", "--quiet", "-am", "own trainer")
    top = git(clone, "rev-parse", "main")
    assert place.prunekit("setup", "s1", "--into", clone) == 0, place.err
    assert place.prunekit("setup", "s1", fork, "--at", later) == 0, place.err
    for folder in (clone, fork):
        (folder / "mine.py").write_text("x = 1\n")
        git(folder, "add", "-A")
        git(folder, "commit", "--quiet", "-m", "on top")
    assert place.prunekit("patches", "drop", "0003") == 0, place.err
    git(place.kit, "commit", "--quiet", "-am", "dropped")
    for folder in (clone, fork):
        assert "sparsity" in (folder / "pkg/default.yaml").read_text()
        assert place.prunekit("upgrade", folder) == 0, place.err
        assert "sparsity" not in (folder / "pkg/default.yaml").read_text() and (folder / "mine.py").is_file()
        assert "if self.clips:" in (folder / ENGINE).read_text() and "hooks.penalty" in (folder / ENGINE).read_text()
        assert place.prunekit("status", folder, "--json") == 0
        assert json.loads(place.out)[0]["state"] == "changed" and git(folder, "status", "--porcelain") == ""
    assert git(clone, "rev-parse", "main") == top == git(clone, "rev-parse", "HEAD~5")
    assert place.prunekit("setup", "s1", "--into", clone, "--remove") == 0, place.err
    assert git(clone, "diff", "--name-only", "main", "HEAD") == "mine.py"


@pytest.mark.slow
def test_a_kill_at_any_step(place: Place) -> None:
    """Killed before each thing that is written: again, and everything is there, own work included; then back."""
    folder = worked(place)
    before, mine = files(folder), own(folder)
    moved_kit(place, LATER)
    for step in range(60):
        child = os.fork()
        if child == 0:
            _stop_before(step)
            place.prunekit("upgrade", folder)
            os._exit(0)
        killed = os.WEXITSTATUS(os.waitpid(child, 0)[1]) == 9
        assert (folder / "runs/best.pt").is_file() and (folder / "staged.py").is_file()
        if place.prunekit("upgrade", folder):  # it was killed aside
            assert files(folder) == before and "--abort" in place.err, place.err
            assert place.prunekit("upgrade", folder, "--abort") == 0, place.err
            assert place.prunekit("upgrade", folder) == 0, place.err
        assert "if self.clips:" in (folder / ENGINE).read_text() and own(folder) == mine
        kit = git(place.kit, "rev-parse", "HEAD")
        git(place.kit, "reset", "--quiet", "--hard", "HEAD~1")
        assert place.prunekit("upgrade", folder) == 0, place.err
        assert files(folder) == before and own(folder) == mine
        git(place.kit, "reset", "--quiet", "--hard", kit)
        if not killed:
            break
    assert step > 8


def _stop_before(step: int) -> None:
    """Make this process end before write number `step` (from 0): by git, of the record, of a file."""
    counted = [0]

    def stopping(function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*words: Any, **options: Any) -> Any:
            reads = isinstance(words[0], Repo) and words[1] not in WRITES
            if not reads and counted[0] == step:
                os._exit(9)
            counted[0] += not reads
            return function(*words, **options)

        return call

    whole = ((own_commits, "_delete"), (journal, "write"), (journal, "remove"), (repository, "write_record"))
    for owner, name in ((Repo, "run"), (checkout, "_put"), (checkout, "_put_index"), *whole):
        setattr(owner, name, stopping(getattr(owner, name)))


def test_killed_as_it_wrote(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """Said with what to type; it is finished by any of the three commands, and on its own branch only."""
    folder = worked(place)
    moved_kit(place, LATER)
    steps: tuple[tuple[Any, str, list[str]], ...] = ((own_commits, "_delete", []), (upgrades, "put_index", ["--abort"]))
    for owner, name, words in steps:
        with monkeypatch.context() as patch:
            patch.setattr(owner, name, _killed)
            assert place.prunekit("upgrade", folder) == 130 and "run the same command again" in place.err
        git(folder, "symbolic-ref", "HEAD", "refs/heads/elsewhere")
        git(folder, "update-ref", "HEAD", "main")
        assert place.prunekit("upgrade", folder) == 2 and "switch main, then again" in place.err, place.err
        git(folder, "symbolic-ref", "HEAD", "refs/heads/main")
        assert place.prunekit("upgrade", folder, *words) == 0, place.err
        assert ("finished now, not given up" in place.err) == bool(words)
        assert "if self.clips:" in (folder / ENGINE).read_text() and "return 2" in (folder / ENGINE).read_text()
        assert not (place.root / "fork.upgrade").exists() and place.prunekit("upgrade", folder) == 0
        assert "up to date" in place.out
        git(place.kit, "reset", "--quiet", "--hard", "HEAD~1")
        assert place.prunekit("upgrade", folder) == 0, place.err
        git(place.kit, "reset", "--quiet", "--hard", "ORIG_HEAD")


def _killed(*_: object) -> None:
    raise KeyboardInterrupt


@pytest.mark.parametrize("text", ["garbage", "[]", "{}", '{"steps": {}}', "steps", "record", "[" * 10**5], ids=range(7))
def test_a_journal_of_somebody_else(place: Place, text: str) -> None:
    """Not followed: one line that names the file, and nothing is written."""
    folder = place.root / "fork"
    git(place.root, "clone", "--quiet", place.origin.as_uri(), str(folder))
    head = git(folder, "rev-parse", "HEAD")
    steps, names = dict.fromkeys(("work", "result", "tip", "head"), head), dict.fromkeys(("root", "head", "tree"), head)
    record = {**dict.fromkeys(("target", "upstream", "release", "commit", "source"), "x"), **names}
    if text == "steps":
        text = json.dumps({"record": record, "steps": {**steps, "work": f"--output={place.root}/ran"}})
    if text == "record":
        text = json.dumps({"record": {**record, "head": f"--output={place.root}/ran"}, "steps": steps})
    (folder / journal.PATH).write_text(text)
    for words in ([], ["--continue"], ["--abort"]):
        assert place.prunekit("upgrade", folder, *words) == 2 and "prunekit-upgrade.json" in place.err, place.err
        assert len(place.err.splitlines()) == 1 and "move the file away" in place.err
    assert not (place.root / "ran").exists() and git(folder, "status", "--porcelain") == ""


def _in_the_way(fork: Path) -> None:
    """Put something where an upgrade works; and let git see everything again."""
    git(fork, "update-index", "--no-skip-worktree", ENGINE)
    folder = fork.with_name("fork.upgrade")
    folder.mkdir()
    (folder / "mine").touch()


def _unseen(folder: Path) -> None:
    """Tell git not to look at an edited file."""
    git(folder, "add", "staged.py")
    git(folder, "update-index", "--skip-worktree", ENGINE)


def test_bad_input_is_one_line(place: Place) -> None:
    """No fork, nothing stopped, both options, a folder in the way, a branch that does not hold it."""
    folder = worked(place)
    moved_kit(place, LATER)
    bad: dict[str, tuple[Callable[[], object], list[str | Path], str]] = {
        "no fork": (lambda: None, [place.origin], "is no fork of prunekit"),
        "no folder": (lambda: None, [place.root / "no"], "there is no folder"),
        "nothing": (lambda: None, [folder, "--abort"], "nothing to give up"),
        "both": (lambda: None, [folder, "--abort", "--continue"], "exclude each other"),
        "staged": (lambda: (folder / "staged.py").write_text("y = 2\n"), [folder], "has staged lines that its files"),
        "unseen": (lambda: _unseen(folder), [folder], "told not to see (pkg/engine.py)"),
        "in the way": (lambda: _in_the_way(folder), [folder], "fork.upgrade is there"),
        "not ours": (lambda: None, [folder, "--abort"], "no folder of prunekit's"),
        "elsewhere": (lambda: git(folder, "checkout", "--quiet", "-f", "HEAD~6"), [folder], "does not hold"),
    }
    for make, words, said in bad.values():
        make()
        assert place.prunekit("upgrade", *words) == 2, place.err
        errors = [line for line in place.err.splitlines() if line.startswith("error:")]
        assert len(errors) == 1 and said in errors[0], place.err
