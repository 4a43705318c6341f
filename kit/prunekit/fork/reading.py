# SPDX-License-Identifier: AGPL-3.0-or-later
"""A fork's commits and files, read through a git folder of our own, so that nothing in the fork says what git runs.

A repository's own configuration and attributes can name programs: filters, textconv, signature checkers, a "remote"
that is asked for missing objects. Forks are copied and handed on. So the objects are looked up where they lie, HEAD and
the index are copied as data, and configuration, attributes and hooks are ours.
"""

from __future__ import annotations

import os
import pwd
import re
import shlex
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from prunekit.errors import UserError, need_plain
from prunekit.git import NO_CONVERSION, GitError, Repo
from prunekit.temporary import NoTemporary, temporary

_SHA = re.compile(r"[0-9a-f]{40}")
_REF = re.compile(r"ref: (refs/[^\s\0]+)")
# What git has found out about the disk; everything else in a fork's configuration is ignored.
_OF_THE_DISK = ("core.fileMode", "core.symlinks", "core.ignoreCase", "core.precomposeUnicode")
# A submodule would be looked into with its own configuration.
PLAIN_DIFF = ("--no-ext-diff", "--no-textconv", "--no-renames", "--ignore-submodules=all")
_LONGEST = 2**20  # bytes of a configuration or a list of refs that is worth reading


@contextmanager
def reading(directory: Path) -> Iterator[Repo]:
    """Yield a repository that has the fork's objects, HEAD, index and files; it writes into a scratch folder.

    Raises GitError where HEAD cannot be read, UserError where the folder may not be.
    """
    need_plain(directory)
    with temporary() as folder:
        try:
            repo = _room(directory, folder)
        except PermissionError as error:
            raise UserError(f"cannot read {error.filename or directory}: {error.strerror}; it must be yours") from error
        except OSError as error:
            raise NoTemporary(error.strerror or str(error)) from error
        yield repo


def foreign_owner(directory: Path) -> str:
    """Return what to know about a fork of another user: git refuses to work there. "" where it is ours."""
    owner = (directory / ".git").stat().st_uid
    if owner in (os.geteuid(), int(os.environ.get("SUDO_UID", "-1") if os.geteuid() == 0 else "-1")):
        return ""
    try:
        name = pwd.getpwuid(owner).pw_name
    except KeyError:
        name = f"uid {owner}"
    return (
        f"{directory} belongs to another user ({name}), so git itself refuses to work there; if you trust it, "
        f"type: git config --global --add safe.directory {shlex.quote(str(directory))}"
    )


def head_ref(directory: Path) -> str:
    """Return the branch that is checked out, as a ref, or "" where a commit is."""
    ref = _REF.fullmatch(_text(directory / ".git" / "HEAD").strip())
    return ref[1] if ref else ""


def _room(directory: Path, folder: Path) -> Repo:
    """Make the git folder below `folder`."""
    source, room = directory / ".git", folder / "git"
    for name in ("objects/info", "refs", "info"):
        (room / name).mkdir(parents=True)
    (room / "HEAD").write_text(f"{_head(source)}\n")
    (room / "objects" / "info" / "alternates").write_bytes(os.fsencode(source / "objects") + b"\n")
    (room / "info" / "attributes").write_text(NO_CONVERSION)
    (room / "config").write_text(own_config(source, folder))
    for path in (source / "index", source / "shallow", *source.glob("sharedindex.*")):
        if path.is_file():
            shutil.copy2(path, room / path.name)  # a newer time would hide an edit of the second it was written in
    return Repo(folder).with_env(
        GIT_DIR=str(room), GIT_WORK_TREE=str(directory), GIT_OPTIONAL_LOCKS="0", GIT_NO_LAZY_FETCH="1"
    )


def own_config(source: Path, folder: Path) -> str:
    """Return our own configuration, with what that in the git folder `source` says about the disk; raises GitError.

    `folder`: any folder in which git can be run.
    """
    rows = "[core]\n\trepositoryFormatVersion = 0\n\tbare = false\n"
    path = source / "config"
    if not _text(path):
        return rows
    asked = ("config", "--file", str(path), "--no-includes", "--type=bool")
    for key in _OF_THE_DISK:
        done = Repo(folder).run(*asked, "--get", key, check=False)
        if done.status > 1:
            raise GitError("git config", done.err)
        if done.status == 0:
            rows += f"\t{key.partition('.')[2]} = {done.out.decode().strip()}\n"
    return rows


def _head(source: Path) -> str:
    """Return the commit that HEAD names, read as text. Raises GitError."""
    said = _text(source / "HEAD").strip()
    for _ in range(5):  # as many as git follows
        if _SHA.fullmatch(said):
            return said
        ref = _REF.fullmatch(said)
        if ref is None or ".." in ref[1]:
            break
        said = _text(source / ref[1]).strip() or _packed(source, ref[1])
    raise GitError("git rev-parse HEAD", f"fatal: {source / 'HEAD'} names no commit")


def _packed(source: Path, ref: str) -> str:
    """Return the commit of a packed ref, or ""."""
    rows = (row.partition(" ") for row in _text(source / "packed-refs").splitlines())
    return next((commit for commit, _, name in rows if name == ref), "")


def _text(path: Path) -> str:
    """Return a small plain file's text; "" for anything else."""
    if not path.is_file() or path.stat().st_size > _LONGEST:
        return ""
    return path.read_bytes().decode("utf-8", "surrogateescape")
