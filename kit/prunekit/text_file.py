# SPDX-License-Identifier: AGPL-3.0-or-later
"""Reading the kit's text files: whatever is wrong with one is an error with file and line."""

from __future__ import annotations

from pathlib import Path

from prunekit.errors import UserError

_LARGEST = 8 * 2**20  # bytes; the largest of the kit's own files has a fiftieth of it


def read_text(path: Path, fix: str = "restore the file") -> str:
    """Return a file's text, every line end "\\n"; raises UserError where it is no file, too large, or not UTF-8."""
    try:
        if path.exists() and not path.is_file():
            raise UserError(f"{path} is no plain file; {fix}")
        size = path.stat().st_size
        if size > _LARGEST:
            raise UserError(f"{path} has {size / 2**20:.0f} MB, more than any file of its kind; {fix}")
        content = path.read_bytes()
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}; {fix}") from error
    try:
        return content.decode("utf-8").replace("\r\n", "\n").replace("\r", "\n")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise UserError(f"{path}:{line}: not UTF-8 text (byte 0x{content[error.start]:02x}); {fix}") from error
