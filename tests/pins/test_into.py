# SPDX-License-Identifier: AGPL-3.0-or-later
"""`setup --into`: a clone of the user's own gets the series and the drop-ins, and is what it was after `--remove`."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pinworld import Place, git, outside
from plaingit import DATE
from prunekit.fork import checkout, repository
from prunekit.git import Repo

WRITES = ("index-pack", "update-ref", "symbolic-ref")
ENGINE = "pkg/engine.py"
OWN = ("    def step(self):\n", "    def own(self):\n        return 1\n\n    def step(self):\n")
HOOKS = ("        clip(self.model)\n        hooks.penalty(self)\n", "        hooks.amp_off(self)\n", OWN[1])


def edit(file: Path, old: str, new: str) -> None:
    """Change a file in one place."""
    text = file.read_text()
    assert text.count(old) == 1, text
    file.write_text(text.replace(old, new))


def cloned(place: Place, commit: str = "main") -> Path:
    """A clone of upstream with two own commits, of which one edits the trainer, on a branch; and an untracked file."""
    folder = place.root / "clone"
    git(place.root, "clone", "--quiet", place.origin.as_uri(), str(folder))
    git(folder, "checkout", "--quiet", "-b", "work", "origin/main" if commit == "main" else commit)
    (folder / "mine.py").write_text("x = 1\n")
    git(folder, "add", "-A")
    git(folder, "commit", "--quiet", "-m", "own module")
    edit(folder / ENGINE, *OWN)
    git(folder, "commit", "--quiet", "-am", "own trainer")
    (folder / "notes.txt").write_text("not committed\n")
    return folder


def state(folder: Path) -> tuple[str, ...]:
    """Everything that is to be as it was: refs, HEAD, index, changes, files."""
    refs = git(folder, "for-each-ref", "--format=%(refname) %(objectname)")
    head = (folder / ".git/HEAD").read_text()
    files = sorted(f"{it.relative_to(folder)}" for it in folder.rglob("*") if ".git" not in it.parts)
    return refs, head, git(folder, "ls-files", "-s"), git(folder, "status", "--porcelain"), "\n".join(files)


def setup(place: Place, folder: Path, *words: str) -> int:
    """Run `prunekit setup s1 --into CLONE WORDS`."""
    return place.prunekit("setup", "s1", "--into", folder, *words)


def test_there_and_back(place: Place) -> None:
    """Commits on a branch of their own, status, verify, diff; a second time nothing; then as it was, to the index."""
    later = place.upstream("later", ("pkg/__init__.py", "1.0", "1.2"), ("pkg/new.py", "", "y = 2\n"))
    folder = cloned(place)
    before, tip = state(folder), git(folder, "rev-parse", "HEAD")
    assert setup(place, folder, "--json") == 0, place.err
    made = json.loads(place.out)
    assert (made["status"], made["commit"], made["root"]) == ("created", tip, tip)
    assert made["into"] == {"branch": "prunekit", "was": "refs/heads/work"} and "never tried" in made["at"]["known"]
    assert git(folder, "symbolic-ref", "HEAD") == "refs/heads/prunekit" and git(folder, "rev-parse", "HEAD~5") == tip
    assert git(folder, "rev-parse", "work") == tip and git(folder, "merge-base", "HEAD", later) == later
    assert all(text in (folder / ENGINE).read_text() for text in HOOKS) and (folder / "pkg/pruning/engine.py").is_file()
    assert git(folder, "status", "--porcelain") == "?? notes.txt"
    for words, code in ((["status"], 0), (["verify"], 0), (["diff"], 0)):
        assert place.prunekit(*words, folder, "--json") == code, place.out
    assert place.prunekit("status", folder) == 0 and "(--into)" in place.out and "as set up" in place.out
    assert place.prunekit("diff", folder, "--from", "upstream", "--stat") == 0
    assert ENGINE in place.out and "mine.py" not in place.out
    assert place.prunekit("pins", "smoke", folder) == 0 and "passed  import" in place.out
    assert setup(place, folder) == 0 and "already set up" in place.out
    assert setup(place, folder, "--remove", "--json") == 0, place.err
    assert json.loads(place.out)["on"] == "work" and state(folder) == before
    assert not (folder / ".git/prunekit.json").exists()
    assert setup(place, folder, "--branch", "slim/(ü)", "--json") == 0
    assert json.loads(place.out)["head"] == made["head"]  # the same commits, whatever the branch is called


def test_what_the_user_adds_later_stays(place: Place) -> None:
    """Verify names only files that setup put there; --remove is one more commit then, with the user's lines kept."""
    folder = cloned(place)
    assert setup(place, folder) == 0, place.err
    (folder / "mine.py").write_text("x = 2\n")
    git(folder, "commit", "--quiet", "-am", "own again")
    assert place.prunekit("verify", folder) == 0, place.out
    edit(folder / ENGINE, "return 1\n", "return 2\n")
    edit(folder / "pkg/pruning/engine.py", "E = 1\n", "E = 2\n")
    assert setup(place, folder, "--remove") == 2 and ENGINE in place.err and "commit or stash" in place.err
    git(folder, "commit", "--quiet", "-am", "own again and again")
    top = git(folder, "rev-parse", "HEAD")
    assert place.prunekit("verify", folder, "--json") == 3
    assert [it["path"] for it in json.loads(place.out)[0]["drift"]] == [ENGINE, "pkg/pruning/engine.py"]
    assert setup(place, folder, "--remove") == 0, place.err
    assert git(folder, "rev-parse", "HEAD~1") == top and git(folder, "status", "--porcelain") == "?? notes.txt"
    assert git(folder, "symbolic-ref", "--short", "HEAD") == "prunekit"
    rows = git(folder, "diff", "work", "HEAD", "--", ENGINE).splitlines()
    assert [row for row in rows if row[0] in "+-" and row[:3] not in ("+++", "---")] == [
        "-        return 1",
        "+        return 2",
    ]
    assert (folder / "pkg/pruning/engine.py").read_text() == "E = 2\n" and "pkg/pruning/engine.py" in place.err
    assert setup(place, folder, "--remove") == 2 and "nothing of prunekit's" in place.err


def test_lines_that_overlap_stop_the_way_out(place: Place) -> None:
    """A hook that the user has edited is theirs to take out; nothing has changed."""
    folder = cloned(place)
    assert setup(place, folder) == 0, place.err
    edit(folder / ENGINE, "hooks.penalty(self)", "hooks.penalty(self, 2)")
    git(folder, "commit", "--quiet", "-am", "own hook")
    before = state(folder)
    assert setup(place, folder, "--remove") == 2 and "by hand" in place.err and state(folder) == before


def test_on_another_branch(place: Place) -> None:
    """Where the user has gone back: said by status and verify; the branch goes, unless there is work on it."""
    folder = cloned(place)
    before = state(folder)
    assert setup(place, folder) == 0
    git(folder, "switch", "--quiet", "work")
    assert place.prunekit("status", folder) == 0 and "not checked out" in place.out
    assert place.prunekit("verify", folder) == 3 and "switch prunekit" in place.err
    assert setup(place, folder, "--branch", "other") == 0, place.err  # as after a kill: it is checked out, by its name
    assert git(folder, "symbolic-ref", "--short", "HEAD") == "prunekit"
    git(folder, "commit", "--quiet", "--allow-empty", "-m", "on top")
    git(folder, "switch", "--quiet", "work")
    assert setup(place, folder, "--remove") == 2 and "commits of your own" in place.err
    git(folder, "branch", "--quiet", "-f", "prunekit", "prunekit~1")
    assert setup(place, folder, "--remove") == 0 and state(folder) == before


def test_a_commit_checked_out_and_merged(place: Place) -> None:
    """No branch at all before; and prunekit's branch merged into the user's own: taken out by one commit there."""
    folder = cloned(place)
    git(folder, "checkout", "--quiet", "--detach")
    before = state(folder)
    assert setup(place, folder) == 0, place.err
    assert setup(place, folder, "--remove") == 0 and state(folder) == before, place.err
    git(folder, "switch", "--quiet", "work")
    tree = git(folder, "rev-parse", "HEAD^{tree}")
    assert setup(place, folder) == 0
    git(folder, "switch", "--quiet", "work")
    git(folder, "commit", "--quiet", "--allow-empty", "-m", "meanwhile")
    git(folder, "merge", "--quiet", "--no-edit", "prunekit")
    assert place.prunekit("verify", folder) == 0, place.out
    assert setup(place, folder, "--remove") == 0, place.err
    assert git(folder, "rev-parse", "HEAD^{tree}") == tree and git(folder, "branch", "--list", "prunekit") == ""


@pytest.mark.slow
@pytest.mark.parametrize("remove", [False, True], ids=["in", "out"])
def test_a_kill_at_any_step(place: Place, remove: bool) -> None:
    """Killed before each thing that is written into the clone: the next run makes it whole, and nothing is lost."""
    folder = cloned(place)
    before, words = state(folder), ["--remove"] if remove else []
    for step in range(40):
        if remove:
            assert setup(place, folder) == 0, place.err
        child = os.fork()
        if child == 0:
            _stop_before(step)
            setup(place, folder, *words)
            os._exit(0)
        killed = os.WEXITSTATUS(os.waitpid(child, 0)[1]) == 9
        assert (folder / "notes.txt").is_file() and git(folder, "rev-parse", "work") in before[0]
        assert setup(place, folder, *words) == (0 if killed or not remove else 2), place.err
        if not remove:
            assert place.prunekit("verify", folder) == 0 and git(folder, "status", "--porcelain") == "?? notes.txt"
            assert setup(place, folder, "--remove") == 0, place.err
        assert state(folder) == before
        if not killed:
            break
    assert step == (7 if remove else 8), "objects, refs, record, files, index, HEAD"


def _stop_before(step: int) -> None:
    """Make this process end before write number `step` (from 0) into the clone: by git, of the record, of a file."""
    counted = [0]

    def stopping(function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*words: Any, **options: Any) -> Any:
            reads = isinstance(words[0], Repo) and (not words[0].fetching or words[1] not in WRITES)
            if not reads and counted[0] == step:
                os._exit(9)
            counted[0] += not reads
            return function(*words, **options)

        return call

    for owner, name in ((Repo, "run"), (checkout, "_put"), (checkout, "_put_index"), (repository, "write_record")):
        setattr(owner, name, stopping(getattr(owner, name)))


def test_nothing_of_the_clones_is_run(place: Place) -> None:
    """Neither its hooks nor the filters and monitors that its configuration and attributes name."""
    folder = cloned(place)
    (folder / ".gitattributes").write_text("*.py filter=evil diff=evil\n")
    git(folder, "add", ".gitattributes")
    git(folder, "commit", "--quiet", "-m", "attributes")
    ran = place.root / "ran"
    program = place.root / "program"
    program.write_text(f"#!/bin/sh\necho $0 >> {ran}\ncat\n")
    program.chmod(0o755)
    for key in ("filter.evil.clean", "filter.evil.smudge", "diff.evil.textconv", "core.fsmonitor", "core.sshCommand"):
        git(folder, "config", key, str(program))
    hooks = folder / ".git/hooks"
    for name in ("post-checkout", "reference-transaction", "post-index-change", "pre-commit"):
        hooks.mkdir(exist_ok=True)
        (hooks / name).write_bytes(program.read_bytes())
        (hooks / name).chmod(0o755)
    assert setup(place, folder) == 0, place.err
    assert place.prunekit("verify", folder) == 0 and setup(place, folder, "--remove") == 0, place.err
    assert not ran.exists()


def remembered(folder: Path, head: str, **into: str) -> None:
    """Write what setup would remember of a run that was killed before HEAD moved, as somebody else may have."""
    root, tree = git(folder, "rev-parse", "HEAD"), git(folder, "rev-parse", "HEAD^{tree}")
    at = {"asked": root, "date": DATE, "tag": None, "tree": tree, "sha256": None, "known": "x"}
    names = {"target": "s1", "upstream": "small", "release": "1.0", "commit": root, "source": "git"}
    parts = {"at": at, "into": {"branch": "prunekit", "was": "refs/heads/work", **into}}
    (folder / ".git/prunekit.json").write_text(json.dumps({**names, "root": root, "head": head, "tree": tree, **parts}))


def test_what_a_clone_of_somebody_else_says_it_remembers(place: Place) -> None:
    """No command of its "remote" is run, no file outside it is written, and no command to type holds one of its own."""
    folder = cloned(place)
    before, head = state(folder), git(folder, "rev-parse", "HEAD")
    remembered(folder, outside(folder, head))
    for words in ([], ["--remove"]):
        assert setup(place, folder, *words) == 2 and not (place.root / "EVIL").exists(), place.err
    git(folder, "checkout", "--quiet", "--detach")
    remembered(folder, git(folder, "rev-parse", "HEAD"), was=outside(folder, head))
    assert setup(place, folder, "--remove") == 2 and "no place for a file" in place.err
    assert not (place.root / "EVIL").exists()
    git(folder, "switch", "--quiet", "work")
    remembered(folder, "12" * 20, branch="x;touch${IFS}pwn")
    assert place.prunekit("verify", folder) == 3 and "switch 'x;touch${IFS}pwn'" in place.err, place.err
    remembered(folder, "12" * 20)
    (folder / ".git/refs/heads/prunekit").write_text("12" * 20 + "\n")
    remote = {"url": f"ext::sh -c touch% {place.root}/ran", "promisor": "true", "partialclonefilter": "blob:none"}
    values = {**{f"remote.origin.{key}": value for key, value in remote.items()}, "extensions.partialClone": "origin"}
    for key, value in {**values, "protocol.ext.allow": "always", "core.repositoryFormatVersion": "1"}.items():
        git(folder, "config", key, value)
    for words in ([], ["--remove"]):
        setup(place, folder, *words)
        assert not (place.root / "ran").exists() and "Traceback" not in place.err
    (folder / ".git/refs/heads/prunekit").unlink(missing_ok=True)
    assert state(folder)[1:] == before[1:]


def test_a_killed_run_and_an_edit(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is finished, or taken out, once the edit is committed aside; what is half-written is not forgotten."""
    folder = cloned(place)
    before = state(folder)
    for way in ([], ["--remove"]):
        with monkeypatch.context() as patch:
            patch.setattr(checkout, "_bring_index", _killed)
            assert setup(place, folder) == 130 and "hooks" in (folder / ENGINE).read_text()
        (folder / "LICENSE").write_text("mine\n")
        assert setup(place, folder) == 2 and "no commit holds (LICENSE)" in place.err
        assert (folder / ".git/prunekit.json").is_file()
        if not way:
            (folder / "LICENSE").write_text("free\n")
        assert setup(place, folder, *way) == 0, place.err
        if not way:
            assert place.prunekit("verify", folder) == 0 and setup(place, folder, "--remove") == 0, place.err
    assert (folder / "LICENSE").read_text() == "mine\n"
    (folder / "LICENSE").write_text("free\n")
    assert state(folder) == before


def _killed(*_: object) -> None:
    raise KeyboardInterrupt


def _other_repository(folder: Path) -> None:
    git(folder, "rm", "-r", "--quiet", "pkg")
    git(folder, "commit", "--quiet", "-m", "something else")


def _commit(path: str) -> Callable[[Path], None]:
    def make(folder: Path) -> None:
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text("mine\n")
        git(folder, "add", path)
        git(folder, "commit", "--quiet", "-m", path)

    return make


def _untracked(path: str) -> Callable[[Path], None]:
    def make(folder: Path) -> None:
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text("mine\n")

    return make


def _old(folder: Path) -> None:
    edit(folder / "pkg/__init__.py", "1.0", "0.8")
    git(folder, "commit", "--quiet", "-am", "old")


BAD: dict[str, tuple[Callable[[Path], object], list[str], str]] = {
    "dirty": (lambda it: edit(it / ENGINE, "import os\n", "import re\n"), [], "no commit holds (pkg/engine.py)"),
    "staged": (lambda it: (edit(it / "LICENSE", "free", "f"), git(it, "add", "-A")), [], "no commit holds (LICENSE"),
    "another repository": (_other_repository, [], "is no clone of small"),
    "too old": (_old, [], "is small 0.8, which is too old: 1.0 is the first that works"),
    "a branch that exists": (lambda it: git(it, "branch", "prunekit"), [], "'prunekit' already: name another one"),
    "a branch below it": (lambda it: git(it, "branch", "prunekit/x"), [], "'prunekit/x' already"),
    "no name": (lambda it: None, ["--branch", "a..b"], "is no name for a branch"),
    "the branch before": (lambda it: None, ["--branch", "@{-1}"], "is no name for a branch"),
    "an option": (lambda it: None, ["--branch=-d"], "is no name for a branch"),
    "a file of its own": (_commit("pkg/pruning/engine.py"), [], "pkg/pruning/engine.py"),
    "a file in the way": (_untracked("pkg/pruning/engine.py"), [], "is in the way"),
    "a file where a folder goes": (_commit("pkg/pruning"), [], "pkg/pruning is a file, and pkg/pruning/engine.py"),
    "remove a branch": (lambda it: None, ["--remove", "--branch", "x"], "so --branch has no meaning beside it"),
    "remove from a mirror": (lambda it: None, ["--remove", "--mirror", "x"], "so --mirror has no meaning beside it"),
    "a merge": (lambda it: (it / ".git/MERGE_HEAD").write_text("x"), [], "in the middle of a merge"),
    "a lock": (lambda it: (it / ".git/index.lock").touch(), [], "index.lock is there"),
    "--at": (lambda it: None, ["--at", "1.0"], "--at and --into exclude"),
    "--force": (lambda it: None, ["--force"], "--force and --into exclude"),
    "nothing to remove": (lambda it: None, ["--remove"], "nothing of prunekit's"),
    "no host": (lambda it: None, ["--mirror", "/no/such/folder", "--source", "git"], "cannot be reached"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_one_line(place: Place, case: str) -> None:
    """Exit code 2, one line, and the clone is as it was."""
    pins = place.kit / "pinned_commits.yaml"
    pins.write_text(pins.read_text().replace("engine: pkg", 'oldest: "1.0"\n    engine: pkg'))
    folder = cloned(place)
    make, words, said = BAD[case]
    make(folder)
    before = state(folder)
    assert setup(place, folder, *words) == 2 and state(folder) == before, place.err
    errors = [line for line in place.err.splitlines() if line.startswith("error:")]
    assert len(errors) == 1 and said in errors[0], place.err
    assert not (folder / ".git/prunekit.json").exists() and "refs/prunekit" not in before[0]


def test_folders_that_are_no_clone(place: Place) -> None:
    """No folder, a folder without git, an empty repository, a linked worktree, a fork; --remove without --into."""
    folder = cloned(place)
    plain, empty, linked, fork = (place.root / name for name in ("plain", "empty", "linked", "fork"))
    plain.mkdir()
    git(place.root, "init", "--quiet", str(empty))
    git(folder, "worktree", "add", "--quiet", str(linked))
    assert place.prunekit("setup", "s1", fork) == 0
    said = {plain / "no": "there is no folder", plain: "is no git clone", empty: "is there a commit?"}
    said |= {linked: "linked worktree", fork: "needs no --into"}
    for path, text in said.items():
        assert setup(place, path) == 2 and text in place.err, place.err
        assert len(place.err.strip().splitlines()[-1:]) == 1
    assert setup(place, fork, "--remove") == 2 and "fork of its own" in place.err
    assert place.prunekit("setup", "s1", "--remove") == 2 and "needs --into" in place.err
    assert setup(place, folder) == 0 and place.prunekit("setup", "s1", folder, "--force") == 2
    assert "clone of your own" in place.err


def test_a_patch_without_a_place(place: Place) -> None:
    """Exit code 4 names file and reason; the clone is as it was."""
    folder = cloned(place)
    edit(folder / ENGINE, "def parse(", "def parse_all(")
    git(folder, "commit", "--quiet", "-am", "own name")
    before = state(folder)
    assert setup(place, folder) == 4 and state(folder) == before
    assert "0004" in place.err and "parse is not there" in place.err and "nothing was set up" in place.err
