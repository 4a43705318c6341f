# SPDX-License-Identifier: AGPL-3.0-or-later
"""A fork that somebody else has prepared: nothing that it names is run, whatever command looks at it."""

from __future__ import annotations

import itertools
import json
import os
import shlex
import subprocess
from pathlib import Path

import pytest
from prunekit.cli import show_forks
from prunekit.errors import UserError
from prunekit.fork import occupied
from prunekit.fork import repository as fork
from smallworld import World, git, write

LOOKS = (
    ("status",),
    ("status", "--json"),
    ("verify",),
    ("diff",),
    ("diff", "--stat"),
    ("diff", "--json"),
    ("diff", "--from", "upstream"),
)
PROGRAMS = (
    "filter.evil.clean",
    "filter.evil.smudge",
    "filter.evil.process",
    "diff.evil.textconv",
    "diff.evil.command",
    "diff.external",
    "merge.evil.driver",
    "core.fsmonitor",
    "core.pager",
    "pager.diff",
    "pager.log",
    "core.editor",
    "sequence.editor",
    "core.sshCommand",
    "core.gitProxy",
    "core.askPass",
    "core.alternateRefsCommand",
    "credential.helper",
    "gpg.program",
    "gpg.ssh.program",
    "uploadpack.packObjectsHook",
    "interactive.diffFilter",
)
SETTINGS = {
    "filter.evil.required": "true",
    "log.showSignature": "true",
    "commit.gpgSign": "true",
    "protocol.ext.allow": "always",
    "remote.origin.promisor": "true",
    "remote.origin.partialclonefilter": "blob:none",
    "extensions.partialClone": "origin",
    "core.repositoryFormatVersion": "1",
    "submodule.recurse": "true",
    "diff.submodule": "log",
}


@pytest.fixture
def canary(world: World) -> Path:
    """A program that leaves a mark beside the fork, once the fork is there."""
    assert world.setup() == 0
    program = world.root / "evil.sh"
    program.write_text(f'#!/bin/sh\ntouch \'{world.root}/ran\'\n[ $# -gt 0 ] && [ -f "$1" ] && cat "$1" || cat\n')
    program.chmod(0o755)
    return program


def ran(world: World) -> bool:
    """Return whether something of the fork's was run since the last look."""
    mark = world.root / "ran"
    there = mark.exists()
    mark.unlink(missing_ok=True)
    return there


def poison(world: World, program: Path) -> None:
    """Let everything in the fork that can name a program name this one."""
    write(world.fork, {"pkg/__init__.py": "VERSION = 3\n", "-evil.txt": "x", "--output=x": "x"})
    git(world.fork, "add", "--", "-evil.txt")
    git(world.fork, "commit", "--quiet", "-m", "signed\x1b]0;title\x07")
    signed = git(world.fork, "cat-file", "commit", "HEAD").replace("\n\n", "\ngpgsig -----BEGIN\n -----END\n\n", 1)
    commit = git(world.fork, "hash-object", "-t", "commit", "-w", "--stdin", stdin=signed + "\n")
    git(world.fork, "update-ref", "HEAD", commit)
    submodule(world, program)
    for attributes in (".gitattributes", ".git/info/attributes"):
        write(world.fork, {attributes: "* filter=evil diff=evil merge=evil\n"})
    hooks = world.fork / ".git" / "hooks"
    hooks.mkdir(exist_ok=True)
    for name in ("post-index-change", "reference-transaction", "post-checkout", "pre-commit", "fsmonitor-watchman"):
        (hooks / name).symlink_to(program)
    values = {**dict.fromkeys(PROGRAMS, str(program)), **SETTINGS, "remote.origin.url": f"ext::{program} x"}
    for key, value in {**values, "core.hooksPath": str(hooks)}.items():
        subprocess.run(["git", "config", "--file", str(world.fork / ".git" / "config"), key, value], check=True)


def submodule(world: World, program: Path) -> None:
    """Put a repository with a configuration of its own into the fork's index."""
    inner = world.fork / "inner"
    inner.mkdir()
    git(inner, "init", "--quiet")
    write(inner, {"x.txt": "x"})
    git(inner, "add", ".")
    git(inner, "commit", "--quiet", "-m", "inner")
    git(world.fork, "update-index", "--add", "--cacheinfo", f"160000,{git(inner, 'rev-parse', 'HEAD')},inner")
    git(world.fork, "commit", "--quiet", "-m", "a submodule")
    for key in ("core.fsmonitor", "filter.evil.clean", "diff.external"):
        git(inner, "config", key, str(program))
    write(inner, {".gitattributes": "* filter=evil\n", "x.txt": "changed"})


def test_the_canary_sings(world: World, canary: Path) -> None:
    """Plain git does run what the fork names: the tests below would notice."""
    poison(world, canary)
    subprocess.run(["git", "status"], cwd=world.fork, capture_output=True, check=False)
    assert ran(world)


def test_nothing_of_a_fork_is_run(world: World, canary: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Filters, textconv, external diff, fsmonitor, hooks, pagers, signatures, submodules: whatever the command."""
    poison(world, canary)
    for words in LOOKS:
        assert world.prunekit(*words, world.fork) in (0, 3), world.err
        assert not ran(world), words
        assert "Traceback" not in world.err and "\x1b" not in world.out + world.err
    monkeypatch.chdir(world.fork)
    for words in (*LOOKS, ("doctor", "--offline"), ("list",), ("setup", "s1", "."), ("setup", "s2", ".", "--json")):
        world.prunekit(*words)
        assert not ran(world), words
    monkeypatch.chdir(world.root)
    assert world.setup("--force") == 0, world.err
    assert not ran(world)
    assert git(world.fork, "show", "backup-1:pkg/__init__.py") == "VERSION = 3"


@pytest.mark.parametrize("what", ["HEAD", "HEAD:pkg/__init__.py"])
def test_missing_objects_are_not_asked_for(world: World, canary: Path, what: str) -> None:
    """A "promisor remote" is a command line of the fork's own; what is missing is damage instead."""
    poison(world, canary)
    git_dir = world.fork / ".git"
    asked = ["git", "-C", str(git_dir), "--git-dir=.", "rev-parse", what]
    found = subprocess.run(asked, capture_output=True, check=True)
    oid = found.stdout.decode().strip()
    (git_dir / "objects" / oid[:2] / oid[2:]).unlink()
    ran(world)
    for words in LOOKS:
        assert world.prunekit(*words, world.fork) in (0, 1, 2, 3), world.err
        assert not ran(world) and "Traceback" not in world.err
    assert world.setup() in (0, 2) and world.setup("--force") == 0, world.err
    assert not ran(world)


def test_what_setup_remembers_is_checked(world: World, canary: Path) -> None:
    """The record's ids and names end up in command lines: one that is neither is an error in one line."""
    mark, path = world.root / "ran", world.fork / fork.RECORD
    record = json.loads(path.read_text())
    evil = (f"--output={mark}", f"--upload-pack={mark}", f"$({mark})", "", 3, None, ["x"], "a\nb")
    for key, value in itertools.product(("root", "head", "tree", "target", "upstream", "release", "commit"), evil):
        path.write_text(json.dumps({**record, key: value}))
        for words in (("status",), ("verify",), ("diff",), ("setup", "s1")):
            assert world.prunekit(*words, world.fork) == 2, (key, value)
            lines = [line for line in world.err.splitlines() if not line.startswith("failed")]
            assert len(lines) == 1 and "prunekit.json" in lines[0], world.err
    assert not ran(world)


def test_what_it_remembers_of_a_clone_or_version_is_checked(world: World) -> None:
    """The same for what is nested in the record: a branch, what was checked out, a version's date, tag and tree."""
    path, sha = world.fork / fork.RECORD, "1" * 40
    path.parent.mkdir(parents=True)
    names = {**dict.fromkeys(("target", "upstream", "release", "commit", "source"), "x")}
    at = {"asked": "1.0", "date": "2024-01-02T03:04:05+02:00", "tag": None, "tree": sha, "sha256": None, "known": "x"}
    record = {**names, "root": sha, "head": sha, "tree": sha, "at": at, "into": {"branch": "b", "was": sha}}
    path.write_text(json.dumps(record))
    assert fork.read_record(world.fork) is not None
    evil = ("--output=x", "a b", "refs/heads/-x\n", "a:b", 3, ["x"], {}, "a\nb")
    for part, value in itertools.product(("at", "into"), evil):
        for key in record[part].keys() - {"known"}:  # type: ignore[attr-defined]
            path.write_text(json.dumps({**record, part: {**record[part], key: value}}))  # type: ignore[dict-item]
            with pytest.raises(UserError, match=r"prunekit\.json"):
                fork.read_record(world.fork)


def test_commands_to_type_are_quoted(tmp_path: Path) -> None:
    """A branch may be called what a shell would run; it comes with the fork."""
    sha, branch = "1" * 40, "x;touch${IFS}/tmp/pwn"
    at = fork.At(branch, "2024-01-02T03:04:05+02:00", None, sha, None, "x")
    record = fork.Record("s1", "small", "1.0", sha, "git", sha, sha, sha, at)
    assert f"--at {shlex.quote(branch)} --force" in show_forks._anew(record, "forks/s1")
    assert occupied._asked(record) == f"--at {shlex.quote(branch)}"


@pytest.mark.parametrize(
    "text", [b"", b"[]", b"3", b"{}", b"\xff\xfe", b"[" * 10**5, b"{" * 10**7, b'{"target": "s1"}'], ids=range(8)
)
def test_a_record_of_another_shape(world: World, text: bytes) -> None:
    """No record, in one line."""
    (world.fork / ".git").mkdir(parents=True)
    (world.fork / fork.RECORD).write_bytes(text)
    assert world.prunekit("status", world.fork) == 2
    assert "cannot be read" in world.err and world.err.count("\n") == 1, world.err


def test_a_branch_is_read_as_text(world: World, canary: Path) -> None:
    """Refs that begin with a dash, or that lead outside, are no commits."""
    for head in ("ref: refs/heads/--output={mark}", "ref: ../../../etc/passwd", "ref: refs/../x", "x", "ref: refs/a b"):
        (world.fork / ".git" / "HEAD").write_text(head.format(mark=world.root / "ran") + "\n")
        for words in LOOKS:
            assert world.prunekit(*words, world.fork) in (0, 1, 3)
            assert "Traceback" not in world.err
    assert not ran(world)


def test_a_fork_on_a_packed_branch(world: World) -> None:
    """Packed refs, another branch, a detached HEAD, a split index: read as git does."""
    assert world.setup() == 0
    git(world.fork, "checkout", "--quiet", "-b", "mine")
    git(world.fork, "pack-refs", "--all")
    git(world.fork, "update-index", "--split-index")
    for prepare in ([], ["checkout", "--quiet", "--detach"]):
        if prepare:
            git(world.fork, *prepare)
        assert world.prunekit("status", world.fork, "--json") == 0
        assert json.loads(world.out)[0]["state"] == "as set up"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a folder away")
def test_a_fork_of_another_user(world: World) -> None:
    """It is what it is, not "damaged"; said is whose it is, and what to type for git itself to work there."""
    assert world.setup() == 0
    subprocess.run(["chown", "-R", "nobody", str(world.fork)], check=True)
    for words in (("status",), ("verify",), ("diff",), ("setup", "s1")):
        assert world.prunekit(*words, world.fork) == 0, world.err
        assert "belongs to another user (nobody)" in world.err
        assert f"git config --global --add safe.directory {world.fork}" in world.err
        assert "damaged" not in world.out + world.err
    write(world.fork, {"pkg/__init__.py": "VERSION = 4\n"})
    assert world.setup("--force") == 0 and git(world.fork, "show", "backup-1:pkg/__init__.py") == "VERSION = 4"
