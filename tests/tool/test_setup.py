# SPDX-License-Identifier: AGPL-3.0-or-later
"""`prunekit setup` on a small upstream: what comes out, that it is always the same, that it is never made twice."""

from __future__ import annotations

import json
import os
import shutil
import stat
import sys
from pathlib import Path

import pytest
from prunekit.console import Console
from smallworld import FILES, MODULE, World, configure, git, make_sdist, sdist_keys

PATCHED = MODULE.replace("line 5\n", "line five\n").replace("line 20\n", "line 20\nhook()\n")


def test_fork_holds_upstream_series_and_dropins(world: World) -> None:
    """Every covered file at the pin, the patches' changes, the drop-ins where they belong, and nothing else."""
    assert world.setup() == 0, world.err
    expected = {
        **FILES,
        "pkg/module.py": PATCHED,
        "pkg/pruning/engine.py": "E = 1\n",
        "prune.py": "print('prune')\n",
        "pkg/kit/hook.py": "H = 1\n",
    }
    found = {
        path.relative_to(world.fork).as_posix(): path.read_bytes().decode()
        for path in world.fork.rglob("*")
        if path.is_file() and ".git" not in path.relative_to(world.fork).parts
    }
    assert found == expected
    assert (world.fork / "pkg" / "run.sh").stat().st_mode & stat.S_IXUSR
    assert world.beside() == ["fork"]


def test_history_reads_as_documentation(world: World) -> None:
    """Upstream at the pin, one commit for each patch with its text, one for the drop-ins; a clean tree on main."""
    assert world.setup() == 0
    subjects = git(world.fork, "log", "--format=%s", "--reverse").splitlines()
    assert subjects[:3] == [
        f"upstream small 1.0 (tree {world.tree})",
        "Patch first: what it does",
        "Patch second: what it does",
    ]
    assert len(subjects) == 4 and "prunekit" in subjects[3]
    assert "Why: because of second." in git(world.fork, "log", "-1", "--format=%b", "HEAD~1")
    assert git(world.fork, "rev-parse", "HEAD~3^{tree}") == world.tree
    assert git(world.fork, "status", "--porcelain") == ""
    assert git(world.fork, "symbolic-ref", "HEAD") == "refs/heads/main"
    assert git(world.fork, "remote") == ""
    git(world.fork, "fsck", "--full", "--strict")


def test_only_the_pin_is_fetched(world: World) -> None:
    """Neither history nor media come over the wire: the 300 kB film would be seen."""
    assert world.setup("--json") == 0
    assert json.loads(world.out)["fetched_bytes"] < 10_000


def test_same_ids_from_git_and_sdist_whatever_the_user_has_set(world: World) -> None:
    """Commit ids do not depend on the source, nor on the user's git configuration, environment or target name."""
    world.write_pins(sdist=sdist_keys(make_sdist(world.root / "links")))
    assert world.setup("--source", "git", "--json") == 0, world.err
    first = json.loads(world.out)
    shutil.rmtree(world.fork)
    hook = world.root / "hooks" / "reference-transaction"
    hook.parent.mkdir()
    hook.write_text("#!/bin/sh\nexit 1\n")
    hook.chmod(0o755)
    (world.root / "attributes").write_text("* text eol=crlf\n")
    (world.root / "templates" / "info").mkdir(parents=True)
    (world.root / "templates" / "info" / "exclude").write_text("*.py\n")
    configure(
        world,
        f"[core]\n autocrlf = true\n hooksPath = {hook.parent}\n attributesFile = {world.root}/attributes\n"
        f"[commit]\n gpgsign = true\n[user]\n name = me\n email = me@x\n[init]\n templateDir = {world.root}/templates\n"
        "[apply]\n whitespace = error\n[i18n]\n commitEncoding = latin1\n[diff]\n noprefix = true\n",
    )
    for source in ("git", "sdist"):
        assert world.prunekit("setup", "s2", world.fork, "--source", source, "--json") == 0, world.err
        again = json.loads(world.out)
        assert (again["head"], again["tree"]) == (first["head"], first["tree"])
        assert again["source"] == source
        assert (world.fork / "pkg" / "deep" / "table.csv").read_bytes() == FILES["pkg/deep/table.csv"].encode()
        shutil.rmtree(world.fork)


def test_git_variables_of_a_hook_do_not_leak_in(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Called from a git hook or alias, setup works on its own repository and leaves the caller's alone."""
    before = git(world.origin, "rev-parse", "HEAD")
    monkeypatch.setenv("GIT_DIR", str(world.origin / ".git"))
    monkeypatch.setenv("GIT_WORK_TREE", str(world.origin))
    monkeypatch.setenv("GIT_INDEX_FILE", str(world.root / "their-index"))
    assert world.setup() == 0, world.err
    for name in ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE"):
        monkeypatch.delenv(name)
    assert git(world.origin, "rev-parse", "HEAD") == before
    assert not (world.root / "their-index").exists()
    assert git(world.fork, "log", "--oneline").count("\n") == 3


def test_url_rewriting_of_the_user_counts(world: World) -> None:
    """`url.*.insteadOf` leads the fetch to a mirror, as the user's own git would go."""
    world.write_pins(url="https://upstream.invalid/small.git")
    configure(world, f'[url "{world.origin.as_uri()}"]\n insteadOf = https://upstream.invalid/small.git\n')
    assert world.setup("--source", "git") == 0, world.err


@pytest.mark.parametrize("as_url", [True, False])
def test_mirror(world: World, as_url: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """`--mirror` takes a URL or a folder, also one that is named from here."""
    world.write_pins(url="https://upstream.invalid/small.git")
    monkeypatch.chdir(world.root)
    assert world.setup("--mirror", world.origin.as_uri() if as_url else "origin") == 0, world.err


def test_second_run_touches_nothing(world: World) -> None:
    """A second run says so; not an inode, a time stamp or a byte is different, inside or beside."""
    assert world.setup() == 0
    git(world.fork, "status")  # settles the index's own time stamps
    before, beside = world.tree_of(world.fork), world.beside()
    assert world.setup() == 0
    assert "already set up" in world.out
    assert world.tree_of(world.fork) == before and world.beside() == beside


def test_second_run_under_another_name(world: World) -> None:
    """A fork of the same tree is named as it was set up, like `status` does; the commands are those asked for."""
    assert world.prunekit("setup", "s2", world.fork) == 0
    assert world.setup() == 0
    assert f"already set up: {world.fork} as s2 (the same tree as s1)" in world.out and "python prune.py" in world.out
    assert world.setup("--json") == 0
    told = json.loads(world.out)
    assert (told["status"], told["target"]) == ("already set up", "s2")
    assert world.prunekit("status", world.fork, "--json") == 0
    assert json.loads(world.out)[0]["target"] == "s2"


def test_second_run_works_without_network(world: World) -> None:
    """What is there needs no host."""
    assert world.setup() == 0
    shutil.rmtree(world.origin)
    assert world.setup() == 0, world.err


def test_closing_lines(world: World) -> None:
    """Setup ends with the commands to type next, the target's own among them."""
    assert world.setup() == 0
    closing = world.out[world.out.index("next:") :]
    assert "cd " in closing and "pip install --no-deps -e ." in closing and "python prune.py" in closing


def test_default_folder(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without DIR the fork goes to forks/TARGET."""
    monkeypatch.chdir(world.root)
    assert world.prunekit("setup", "s1") == 0
    assert (world.root / "forks" / "s1" / "prune.py").is_file()


def test_a_folder_within_a_fork_is_refused(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """README's `prunekit setup TARGET && cd forks/TARGET`, typed twice: one line, and the fork is as it was."""
    monkeypatch.chdir(world.root)
    assert world.prunekit("setup", "s1") == 0
    monkeypatch.chdir("forks/s1")
    before = world.tree_of(world.root / "forks")
    assert world.prunekit("setup", "s1") == 2
    assert "forks/s1 is a fork already, and" in world.err and "lies within it: nothing was set up." in world.err
    assert world.tree_of(world.root / "forks") == before


def test_a_target_that_there_is_not(world: World) -> None:
    """One line, and no step that failed before it."""
    assert world.prunekit("setup", "s9") == 2
    assert "unknown target 's9'" in world.err and "failed" not in world.out + world.err


def test_empty_folder_and_space_in_name(world: World) -> None:
    """An empty DIR is taken, and a name with a space is quoted in the closing lines."""
    folder = world.root / "my work" / "a fork"
    folder.mkdir(parents=True)
    assert world.prunekit("setup", "s1", folder) == 0, world.err
    assert (folder / "prune.py").is_file()
    assert "a fork'" in world.out


def test_json_is_one_document(world: World) -> None:
    """Standard output is JSON and nothing else; the steps go to standard error."""
    assert world.setup("--json") == 0
    document = json.loads(world.out)
    assert document["status"] == "created" and document["directory"] == str(world.fork)
    assert document["commit"] == world.commit
    for step in ("pin", "source", "fork", "series", "drop-ins", "verify"):
        assert f"done   {step}" in world.err


def test_leftovers_never_reach_a_fork(world: World) -> None:
    """Caches, hidden files and editors' leftovers among the drop-ins change no tree id."""
    assert world.setup("--json") == 0
    tree = json.loads(world.out)["tree"]
    for name in ("pruning/__pycache__/x.pyc", "pruning/.ruff_cache/y", "small/prune.py~", "small/prune.py.orig"):
        path = world.kit / "dropins" / name
        path.parent.mkdir(exist_ok=True)
        path.touch()
    (world.kit / "dropins" / "small" / "prune.py").chmod(0o755)
    other = world.root / "other"
    assert world.prunekit("setup", "s1", other, "--json") == 0
    assert json.loads(world.out)["tree"] == tree


def test_missing_series_is_an_empty_one(world: World) -> None:
    """An upstream without patches is a fork with drop-ins only."""
    shutil.rmtree(world.kit / "patches")
    assert world.setup() == 0, world.err
    assert (world.fork / "pkg" / "module.py").read_text() == MODULE


def test_fork_moves_freely(world: World) -> None:
    """A fork holds no path of the place where it was made."""
    assert world.setup() == 0
    moved = world.root / "elsewhere"
    world.fork.rename(moved)
    shutil.rmtree(world.origin)
    assert world.prunekit("verify", moved) == 0, world.err
    own = [
        path for path in (moved / ".git").rglob("*") if path.is_file() and str(world.root).encode() in path.read_bytes()
    ]
    assert own == []


def test_linked_folder(world: World, tmp_path: Path) -> None:
    """DIR behind a symbolic link: the fork is made in the real folder, the link stays."""
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    assert world.prunekit("setup", "s1", tmp_path / "link" / "fork") == 0, world.err
    assert (tmp_path / "real" / "fork" / "prune.py").is_file() and (tmp_path / "link").is_symlink()


def test_alone_it_says_what_to_type_next(world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a fork: how to make one. Beside one: the way into it. In it: no `cd`."""
    monkeypatch.chdir(tmp_path)
    assert world.prunekit() == 0, world.err
    assert "prunekit setup s1" in world.out and "prunekit demo v8" in world.out and not world.err
    folder = tmp_path / "forks/of mine"
    assert world.prunekit("setup", "s1", folder) == 0, world.err
    assert world.prunekit() == 0 and "cd 'forks/of mine' && python prune_one_shot.py --weights" in world.out
    monkeypatch.chdir(folder)
    assert world.prunekit() == 0 and "\npython prune_one_shot.py --weights" in world.out
    (folder / ".git/prunekit.json").write_text("{")
    assert world.prunekit() == 0 and "prunekit --help" in world.out


@pytest.mark.parametrize("plain", [True, False])
def test_no_color(plain: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """NO_COLOR: no escape at all on a terminal, so no spinner either; without it the head of a table is bold."""
    read, write = os.openpty()
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("NO_COLOR", "1") if plain else monkeypatch.delenv("NO_COLOR", raising=False)
    with os.fdopen(write, "w") as terminal, monkeypatch.context() as patch:
        patch.setattr(sys, "stdout", terminal)
        console = Console()
        with console.step("pin") as step:
            step.result = "here"
        console.table(("a", "b"), [("1", "2")])
        terminal.flush()
        said = b""
        while b"1  2" not in said:
            said += os.read(read, 10_000)
    os.close(read)
    assert b"here" in said and b"a  b" in said
    assert (b"\x1b" in said) == (not plain)
