# SPDX-License-Identifier: AGPL-3.0-or-later
"""Folders for temporary files that do not outlive a killed run: the next run removes them.

Each holds a lock that its process has taken; the kernel lets go of it when the process ends, however it ends.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

PREFIX, LOCK = "prunekit-", ".in-use"


class Scratch:
    """A folder in the system's place for temporary files, there for as long as this object (or its process) lives."""

    def __init__(self) -> None:
        sweep()
        self._folder = tempfile.TemporaryDirectory(prefix=PREFIX, ignore_cleanup_errors=True)
        self.name = self._folder.name
        self._lock = _held(Path(self.name))

    def close(self) -> None:
        """Remove it now."""
        self._folder.cleanup()
        os.close(self._lock)


@contextmanager
def temporary_folder() -> Iterator[str]:
    """A folder for temporary files, removed at the end."""
    made = Scratch()
    try:
        yield made.name
    finally:
        made.close()


def _held(folder: Path) -> int:
    """Take the lock of a new folder; it gets its name only when it is held, so `sweep` never finds it free."""
    handle = os.open(folder / f"{LOCK}.new", os.O_RDWR | os.O_CREAT, 0o600)
    fcntl.flock(handle, fcntl.LOCK_EX)
    os.rename(folder / f"{LOCK}.new", folder / LOCK)
    return handle


def sweep() -> None:
    """Remove the folders of this kind whose process has ended."""
    for lock in Path(tempfile.gettempdir()).glob(f"{PREFIX}*/{LOCK}"):
        try:
            if lock.parent.is_symlink() or lock.stat().st_uid != os.getuid():
                continue
            handle = os.open(lock, os.O_RDWR | os.O_NOFOLLOW)
        except OSError:
            continue
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(lock.parent, ignore_errors=True)
        except OSError:  # in use
            pass
        finally:
            os.close(handle)
