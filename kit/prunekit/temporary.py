# SPDX-License-Identifier: AGPL-3.0-or-later
"""Temporary folders that do not outlive their process for long: those of killed runs go when the next one is made.

A folder is locked for as long as its process lives; the system gives the lock up however the process ends. It gets its
name after it is locked, so that nobody takes a folder that is just being made for a stale one.
"""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

from prunekit.errors import UserError

PREFIX = "prunekit-tool-"


class NoTemporary(UserError):
    """There is no room for temporary files."""

    def __init__(self, reason: str) -> None:
        place = tempfile.tempdir or os.environ.get("TMPDIR", "the folder for temporary files")
        super().__init__(
            f"cannot write temporary files in {place} ({reason}): set TMPDIR to a folder with room, then try again"
        )


@contextmanager
def temporary() -> Iterator[Path]:
    """Yield a new temporary folder, removed at the end. Raises NoTemporary."""
    try:
        parent = Path(tempfile.gettempdir()).resolve()
        _sweep(parent)
        folder, lock = _make(parent)
    except OSError as error:
        raise NoTemporary(error.strerror or str(error)) from error
    try:
        yield folder
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT) and str(folder) in str(error.filename or ""):
            raise NoTemporary(error.strerror or str(error)) from error
        raise
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(lock)


def _make(parent: Path) -> tuple[Path, int]:
    """Make a folder and lock it; returns (folder, the lock's handle)."""
    made = Path(tempfile.mkdtemp(prefix=f".{PREFIX}", dir=parent))
    lock = os.open(made, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    fcntl.flock(lock, fcntl.LOCK_EX)
    return made.rename(made.with_name(made.name[1:])), lock


@cache
def _sweep(parent: Path) -> None:
    """Remove the folders of this user's killed runs, once a process."""
    for path in parent.glob(f"{PREFIX}*"):
        try:
            handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
        except OSError:
            continue  # gone by now, somebody's file of that name, or another user's
        try:
            if os.fstat(handle).st_uid == os.geteuid():
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(path, ignore_errors=True)
        except OSError:
            continue  # its process lives
        finally:
            os.close(handle)
