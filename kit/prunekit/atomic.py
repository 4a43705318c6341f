# SPDX-License-Identifier: AGPL-3.0-or-later
"""A folder that appears whole or not at all: a lock beside it, a staging folder beside it, one rename.

Both names begin with `.prunekit-<name of DIR>`. A killed run leaves an unlocked lock file and a staging folder; the
next run in the same place takes both over and removes them, so nothing needs cleaning by hand.
"""

from __future__ import annotations

import fcntl
import os
import re
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from prunekit.errors import UserError, from_os_error, need_plain


@contextmanager
def claimed(directory: Path) -> Iterator[Path]:
    """Hold the right to make `directory`, and yield an empty staging folder on the same file system.

    Raises UserError where another setup is at work or nothing can be made there. What stays in the staging folder
    is removed at the end, and so are the folders above `directory` that were made for it, if they are empty.
    """
    need_plain(directory)
    with _mendable(directory):
        made = _make_parents(directory.parent)
    try:
        with _locked(directory):
            with _mendable(directory):
                staging = _make_staging(directory)
            try:
                yield staging
            finally:
                remove(staging)
    finally:
        _remove_empty(made)


@contextmanager
def _mendable(directory: Path) -> Iterator[None]:
    """Turn whatever the system says against making `directory` into a UserError: another DIR may do."""
    try:
        yield
    except OSError as error:
        other = UserError(f"cannot make {directory}: {error.strerror or error}; name a DIR in another folder")
        raise from_os_error(error, directory) or other from error


def free_name(directory: Path) -> Path:
    """Return the first of DIR.backup-1, DIR.backup-2, ... that does not exist."""
    number = 1
    while (backup := directory.with_name(f"{directory.name}.backup-{number}")).exists():
        number += 1
    return backup


def remove(folder: Path) -> None:
    """Remove a folder; a git process of a killed run may still write into it for a moment, so try a few times."""
    for _ in range(5):
        shutil.rmtree(folder, ignore_errors=True)
        if not folder.exists():
            return


def _prefix(directory: Path) -> str:
    """Return the start of the names beside `directory`."""
    return f".prunekit-{directory.name}"


def _make_staging(directory: Path) -> Path:
    """Make a new staging folder, after those of killed runs are gone."""
    _remove_stale(directory)
    staging = directory.with_name(f"{_prefix(directory)}.stage-{os.getpid()}-{secrets.token_hex(4)}")
    staging.mkdir()
    return staging


def _remove_stale(directory: Path) -> None:
    """Remove the staging folders of killed runs; the lock is ours, so nobody is at work in them."""
    stale = re.compile(re.escape(_prefix(directory)) + r"\.stage-\d+-[0-9a-f]{8}")
    for path in directory.parent.iterdir():
        if stale.fullmatch(path.name):
            remove(path)


@contextmanager
def _locked(directory: Path) -> Iterator[None]:
    """Hold an exclusive lock; the system gives it up when the process ends, however that happens."""
    path = directory.with_name(f"{_prefix(directory)}.lock")
    with _mendable(directory):
        handle = _lock(path, directory)
    try:
        yield
    finally:
        path.unlink(missing_ok=True)
        os.close(handle)


def _lock(path: Path, directory: Path) -> int:
    """Return the open, locked lock file; raises UserError where another process has it."""
    while True:
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(handle)
            raise UserError(f"another setup is at work on {directory}: wait for it, or name another DIR") from None
        if path.exists() and os.fstat(handle).st_ino == path.stat().st_ino:
            return handle
        os.close(handle)  # the other run had unlinked the file between our open and our lock


def _make_parents(parent: Path) -> list[Path]:
    """Make the folder and those above it; returns the ones that were missing, deepest first."""
    missing = [path for path in (parent, *parent.parents) if not path.exists()]
    parent.mkdir(parents=True, exist_ok=True)
    return missing


def _remove_empty(folders: list[Path]) -> None:
    """Remove the folders that are empty."""
    for folder in folders:
        try:
            folder.rmdir()
        except OSError:
            return
