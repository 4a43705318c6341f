# SPDX-License-Identifier: AGPL-3.0-or-later
"""What was raised, as one line for the user: what is wrong, and what to type next.

`PruneError` says so itself. What upstreams, libraries and the system raise is told apart here by kind. What nobody
expected is said in one line, too; its traceback goes into a file that the line names, so that a bug stays visible.
"""

from __future__ import annotations

import os
import pickle
import re
import tempfile
import traceback
import zipfile
from pathlib import Path

import torch
import yaml

from .errors import PruneError

LONGEST = 600  # characters of a message
SHORT_OF_MEMORY = (
    "out of memory",
    "not enough memory",
    "can't allocate memory",
    "invalid buffer size",
    "storage size calculation",
)
COLOURS = re.compile(r"\x1b\[[0-9;]*m")
READ_HINT = "Is it the right file, and whole?"


def one_line(text: object, longest: int = LONGEST) -> str:
    """Any text in one printable line: line breaks become spaces, other control characters are escaped."""
    flat = " ".join(COLOURS.sub("", str(text)).split())
    shown = "".join(sign if sign.isprintable() else sign.encode("unicode_escape").decode() for sign in flat)
    return shown if len(shown) <= longest else shown[: longest - 3] + "..."


def reason_of(error: BaseException) -> str:
    """An exception in a few words: its message, or its type where that says nothing; a missing key is called one."""
    text = one_line(error, 200)
    if isinstance(error, KeyError):
        return f"no {text}"
    return text if len(text) > 3 else f"{type(error).__name__}{f': {text}' if text else ''}"


def explained(error: BaseException) -> str:
    """One line for whatever ended a script."""
    if isinstance(error, PruneError):
        return one_line(error)
    known = _known(error)
    return one_line(known) if known else _unexpected(error)


def _known(error: BaseException) -> str | None:
    """What the user can do about an error that is not ours; None if that is not clear."""
    if isinstance(error, (torch.OutOfMemoryError, MemoryError)) or _short_of_memory(error):
        return f"{reason_of(error)} Give a smaller --batch or --imgsz (--img-size), then go on with --resume."
    if isinstance(error, (zipfile.BadZipFile, pickle.UnpicklingError, EOFError)):
        return f"a file that was given is damaged ({reason_of(error)}). Copy it again, or use another one."
    if isinstance(error, RecursionError):
        return f"a file that was given is nested too deeply, or refers to itself. {READ_HINT}"
    if isinstance(error, UnicodeError):
        return f"a file or a name that was given is not UTF-8 text ({reason_of(error)}). {READ_HINT}"
    if isinstance(error, yaml.YAMLError):
        return f"a file that was given is not the YAML that is expected ({reason_of(error)}). {READ_HINT}"
    if isinstance(error, RuntimeError) and "Symlink loop" in str(error):  # pathlib, before Python 3.13
        return f"{error}: a link that leads to itself. Remove it, or give another place."
    if isinstance(error, (FileNotFoundError, NotADirectoryError, IsADirectoryError)):
        return f"{error} (is it named rightly? A folder and a file cannot stand for each other)"
    if isinstance(error, OSError):
        return f"{error} (is the place writable, and the disk not full?)"
    return None


def _short_of_memory(error: BaseException) -> bool:
    return isinstance(error, RuntimeError) and any(text in str(error).lower() for text in SHORT_OF_MEMORY)


def _unexpected(error: BaseException) -> str:
    """The line for an error that nobody expected, with the file that its traceback is in."""
    frames = traceback.extract_tb(error.__traceback__)
    where = f"{Path(frames[-1].filename).name}, line {frames[-1].lineno}" if frames else "prunekit"
    kept = _logged(error)
    return (
        f"{type(error).__name__}: {one_line(error, 300)} (in {where}). An option or a file is probably not what is "
        f"expected there; if they are right, please report it with {kept}"
    )


def _logged(error: BaseException) -> str:
    """Write the traceback into a file of the system's folder for temporary files; what to call it in a message."""
    text = "".join(traceback.format_exception(type(error), error, error.__traceback__))
    try:
        handle, name = tempfile.mkstemp(prefix="pruning-error-", suffix=".log")
        with os.fdopen(handle, "w", encoding="utf-8", errors="backslashreplace") as file:
            file.write(text)
        return name
    except OSError:  # a full disk may be what ended the run
        return "the command that was typed (its traceback could not be written)"
