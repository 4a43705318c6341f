# SPDX-License-Identifier: AGPL-3.0-or-later
"""A clone's files from one commit to another: nothing that no commit holds is lost, nothing outside it is written."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from pinworld import git, outside, tree
from prunekit.errors import UserError
from prunekit.fork import checkout

ENGINE = "a\nb\n"
REF = "refs/heads/prunekit"


def committed(folder: Path) -> str:
    """Commit everything; returns the commit."""
    git(folder, "add", "-A")
    git(folder, "commit", "--quiet", "-m", "x")
    return git(folder, "rev-parse", "HEAD")


def two(tmp_path: Path) -> tuple[Path, str, str]:
    """A clone at its first commit; the second, on a branch, changes engine.py and adds pruning/x.py."""
    folder = tmp_path / "clone"
    folder.mkdir()
    git(folder, "init", "--quiet")
    (folder / "engine.py").write_text(ENGINE)
    (folder / "other.py").write_text("1\n")
    old = committed(folder)
    (folder / "engine.py").write_text("a\nHOOK\nb\n")
    (folder / "pruning").mkdir()
    (folder / "pruning/x.py").write_text("x\n")
    new = committed(folder)
    git(folder, "branch", "prunekit")
    git(folder, "reset", "--quiet", "--hard", old)
    return folder, old, new


@pytest.mark.parametrize("flag", ["skip-worktree", "assume-unchanged"])
def test_an_edit_that_git_was_told_not_to_see(tmp_path: Path, flag: str) -> None:
    """It is refused as any other; a mark without an edit is no obstacle."""
    folder, old, new = two(tmp_path)
    git(folder, "update-index", f"--{flag}", "engine.py", "other.py")
    (folder / "other.py").write_text("not prunekit's\n")
    (folder / "engine.py").write_text("mine\n")
    with pytest.raises(UserError, match=r"engine.py\): git -C .* update-index --no-skip-worktree -- engine.py"):
        checkout.switch(folder, old, new, REF)
    with pytest.raises(UserError, match="told not to see"):
        checkout.need_seen(folder, old, new, old)
    assert (folder / "engine.py").read_text() == "mine\n" and not (folder / "pruning").exists()
    (folder / "engine.py").write_text(ENGINE)
    checkout.switch(folder, old, new, REF)
    assert "HOOK" in (folder / "engine.py").read_text() and (folder / "other.py").read_text() == "not prunekit's\n"


def test_a_split_index_and_a_disk_that_is_full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The index is whole in the clone; where it cannot be written, no lock stays."""
    folder, old, new = two(tmp_path)
    git(folder, "update-index", "--split-index")
    checkout.switch(folder, old, new, REF)
    assert git(folder, "status", "--porcelain") == ""

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(OSError, match="No space"):
        checkout.put_index(folder, "--reset", old)
    assert not (folder / ".git/index.lock").exists()


def test_links_and_submodules(tmp_path: Path) -> None:
    """The user's branch may hold them by now, or a folder where a file was, and the reverse: as git has them."""
    folder, old, new = two(tmp_path)
    (folder / "other.py").unlink()
    (folder / "other.py").mkdir()
    (folder / "other.py/in.py").write_text("2\n")
    os.symlink("engine.py", folder / "link.py")
    git(folder, "add", "-A")
    git(folder, "update-index", "--add", "--cacheinfo", f"160000,{old},sub")
    git(folder, "commit", "--quiet", "-m", "mine")
    mine = git(folder, "rev-parse", "HEAD")
    git(folder, "checkout", "--quiet", "prunekit")
    for _ in range(2):
        checkout.switch(folder, new, mine, "refs/heads/main")
        assert git(folder, "status", "--porcelain") == "" and os.readlink(folder / "link.py") == "engine.py"
        assert (folder / "other.py/in.py").is_file() and (folder / "sub").is_dir() and not (folder / "pruning").exists()
        checkout.switch(folder, mine, new, REF)
        assert git(folder, "status", "--porcelain") == "" and (folder / "other.py").read_text() == "1\n"
        assert not os.path.lexists(folder / "link.py") and not (folder / "sub").exists()


def _linked(folder: Path) -> None:
    (folder.parent / "elsewhere").mkdir()
    os.symlink("../elsewhere", folder / "pruning")


IN_THE_WAY: dict[str, tuple[Callable[[Path], object], str]] = {
    "file": (lambda it: (it / "pruning").write_text("mine\n"), "pruning is a file"),
    "link": (_linked, "pruning is a link"),
    "folder": (lambda it: (it / "pruning/x.py/mine").mkdir(parents=True) or (it / "pruning/x.py/y").touch(), "way"),
}


@pytest.mark.parametrize("case", IN_THE_WAY)
def test_something_in_the_way(tmp_path: Path, case: str) -> None:
    """Refused before the first file is written."""
    folder, old, new = two(tmp_path)
    make, said = IN_THE_WAY[case]
    make(folder)
    before = git(folder, "status", "--porcelain")
    with pytest.raises(UserError, match=said):
        checkout.switch(folder, old, new, REF)
    assert (folder / "engine.py").read_text() == ENGINE and git(folder, "status", "--porcelain") == before


def test_nothing_outside_the_clone_is_written(tmp_path: Path) -> None:
    """Neither by `..` or `.git` in a tree, nor through a link of the tree's own, nor through one left beside a file."""
    folder, old, new = two(tmp_path)
    (tmp_path / "elsewhere").mkdir()
    link, blob = (git(folder, "hash-object", "-w", "--stdin", stdin=text) for text in ("../elsewhere", "evil\n"))
    inner = tree(folder, ("100644", "EVIL", blob))
    for rows in ([("120000", "a", link), ("40000", "a", inner)], [("40000", ".GIT", inner)]):
        bad = git(folder, "commit-tree", "-p", old, "-m", "bad", tree(folder, *rows))
        with pytest.raises(UserError, match="no place for a file"):
            checkout.put_files(folder, old, bad)
    with pytest.raises(UserError, match="no place for a file"):
        checkout.switch(folder, old, outside(folder, old), REF)
    os.symlink("../elsewhere/EVIL", folder / ".engine.py.prunekit-new")
    checkout.switch(folder, old, new, REF)
    assert list((tmp_path / "elsewhere").iterdir()) == [] and not (tmp_path / "EVIL").exists()
