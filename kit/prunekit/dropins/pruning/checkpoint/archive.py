# SPDX-License-Identifier: AGPL-3.0-or-later
"""Is a checkpoint's archive one that every reader understands alike?

torch reads the record `data.pkl` below the first entry's folder and compares names without regard to case; others take
the last entry of a name, or believe the local headers. A file in which they would find different things is refused.
"""

from __future__ import annotations

import os
import zipfile
from pathlib import Path
from typing import IO

from ..errors import PruneError

_LOCAL, _END = b"PK\x03\x04", b"PK\x05\x06"
_END_SIZE = 22  # bytes of the end record without a comment
_LOCAL_SIZE = 30  # bytes of a local header before its name


class Damaged(PruneError):
    """A checkpoint that nothing can read; `reason` is what its reader says of it."""

    def __init__(self, message: str, reason: str) -> None:
        super().__init__(message)
        self.reason = reason


def require_plain(path: str | Path, file: IO[bytes]) -> None:
    """Refuse what is no archive of torch's, or one that can be read in two ways; the file is left at its start.

    Raises:
        PruneError: naming the file and what is wrong with it.
    """
    file.seek(0)
    if file.read(4) != _LOCAL or not zipfile.is_zipfile(file):
        raise Damaged(
            f"{path}: not a torch checkpoint, or a damaged one (no zip archive, as torch writes since 1.6). Copy it "
            "again, or save it again with a current torch.",
            "PytorchStreamReader failed reading zip archive",
        )
    try:
        with zipfile.ZipFile(file) as archive:
            wrong = _ambiguous(archive, file)
    except (zipfile.BadZipFile, OSError, UnicodeDecodeError, ValueError) as error:
        said = f"{path}: damaged checkpoint ({error}). Copy it again, or use another one."
        raise Damaged(said, str(error)) from error
    if wrong:
        raise PruneError(f"{path}: not a checkpoint as torch writes it: {wrong}: refused, also with --trust.")
    file.seek(0)


def _ambiguous(archive: zipfile.ZipFile, file: IO[bytes]) -> str:
    """What two readers would see differently, or ""."""
    entries = archive.infolist()
    names = [entry.orig_filename for entry in entries]
    if len({name.lower() for name in names}) != len(names):
        return "two entries have one name"
    tops = {name.partition("/")[0].lower() for name in names}
    if len(tops) != 1 or any("/" not in name or "\\" in name or "\0" in name for name in names):
        return "its entries lie in more than one folder"
    if sum(name.lower().endswith("/data.pkl") for name in names) != 1:
        return "it has none, or more than one, data.pkl"
    if not _ends_plainly(archive, file):
        return "something follows its end, or stands before its beginning"
    if any(_local_name(file, entry) != entry.orig_filename for entry in entries):
        return "the headers of its entries contradict each other"
    return ""


def _ends_plainly(archive: zipfile.ZipFile, file: IO[bytes]) -> bool:
    """The archive is the whole file: it begins at byte 0, and its end record is the last thing in it."""
    file.seek(-_END_SIZE, os.SEEK_END)
    return file.read(4) == _END and not archive.comment and min(e.header_offset for e in archive.infolist()) == 0


def _local_name(file: IO[bytes], entry: zipfile.ZipInfo) -> str:
    """The name that an entry's local header has."""
    file.seek(entry.header_offset)
    header = file.read(_LOCAL_SIZE)
    if header[:4] != _LOCAL:
        return ""
    length = int.from_bytes(header[26:28], "little")
    return file.read(length).decode("utf-8" if entry.flag_bits & 0x800 else "cp437")
