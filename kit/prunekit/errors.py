# SPDX-License-Identifier: AGPL-3.0-or-later
"""The tool's errors and exit codes.

0 done, 1 internal error, 2 something the user can fix, 3 drift found by `verify`, 4 a patch does not apply.
A message says what failed, where, and what to type next; it is printed without a traceback.
"""

from __future__ import annotations

import difflib
import errno
import re
from collections.abc import Iterable
from pathlib import Path

DONE, INTERNAL, USER, DRIFT, CONFLICT = range(5)


class PrunekitError(Exception):
    """Base of every error that the tool raises on purpose; `exit_code` is what the process ends with."""

    exit_code = INTERNAL


class UserError(PrunekitError):
    """Something the user can fix: a name, a file, a folder, the network."""

    exit_code = USER


class Unreachable(UserError):
    """A host did not answer or let nobody in: with `--source auto` the next source is tried."""


class DiskFull(UserError):
    """No room for a fork."""

    def __init__(self, path: Path | str) -> None:
        super().__init__(
            f"no space left on the disk of {path}: a fork needs about 40 MB; free some, or name another DIR"
        )


class DriftError(PrunekitError):
    """A fork is not what its pin, its series and its drop-ins make."""

    exit_code = DRIFT


class PatchConflict(PrunekitError):
    """A patch of the series does not apply."""

    exit_code = CONFLICT


def need_plain(path: Path) -> None:
    """Raise UserError for a path with a control character, such as a line end: git's lists of files cannot hold it."""
    if re.search(r"[\x00-\x1f\x7f]", str(path)):
        raise UserError(f"{str(path)!r} holds a control character or a line end: name another DIR")


def need_folder() -> None:
    """Raise UserError where the current folder has been removed."""
    try:
        Path.cwd()
    except OSError as error:
        raise UserError(f"the current folder cannot be used ({error.strerror}): cd into another one") from error


def nearest(name: str, known: Iterable[str]) -> str:
    """Return ": did you mean 'x'?" or, where nothing is near, " (known: a, b)"."""
    names = sorted(known)
    near = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    if near:
        return f": did you mean '{near[0]}'?"
    return f" (known: {', '.join(names) or 'none'})"


def from_os_error(error: OSError, path: Path) -> UserError | None:
    """Turn an operating system error about `path` that the user can fix into a message; None for any other."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return DiskFull(path)
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return UserError(f"cannot write {path}: {error.strerror}; name a DIR in a folder that is yours")
    if error.errno in (errno.ENOTDIR, errno.EEXIST, errno.ENAMETOOLONG, errno.ELOOP):
        return UserError(f"cannot use {path}: {error.strerror}; name another DIR")
    return None
