# SPDX-License-Identifier: AGPL-3.0-or-later
"""Files written whole or not at all: a killed run leaves the old file or the new one, never half of one."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import json
import math
import os
import shutil
import tempfile
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

from .errors import Busy, PruneError

LOCK = ".lock"
SCRATCH = ".prunekit-"  # how the name of a file in the making begins
MOST_VALUES = 1_000_000  # of a YAML file: those of the largest network and data set are thousands


def check_yaml(flag: str, path: Path) -> None:
    """Refuse a YAML file that would never end: a pipe or a device, or anchors that, written out, fill the memory.

    What is no YAML, or is not there, is left to the reader.

    Raises:
        PruneError: naming the option and the file.
    """
    if path.exists() and not (path.is_file() or path.is_dir()):
        raise PruneError(f"{flag} {path}: neither a file nor a folder. Give a YAML file.")
    try:
        text = path.read_bytes()
        root = yaml.compose(text, Loader=yaml.SafeLoader) if b"&" in text and b"*" in text else None
        large = root is not None and _written_out(root, {}) > MOST_VALUES
    except (OSError, ValueError, RecursionError, yaml.YAMLError):
        return
    if large:
        raise PruneError(f"{flag} {path}: its anchors (&, *), written out, are more than {MOST_VALUES:,} values.")


def _written_out(node: yaml.Node, known: dict[int, float]) -> float:
    """How many values a node of YAML stands for; one that lies in itself stands for no end of them."""
    if id(node) not in known:
        known[id(node)] = math.inf
        pairs = node.value if isinstance(node, yaml.MappingNode) else ()
        inner = [part for pair in pairs for part in pair]
        inner += node.value if isinstance(node, yaml.SequenceNode) else []
        known[id(node)] = 1 + sum(_written_out(part, known) for part in inner)
    return known[id(node)]


def write_whole(target: Path, write: Callable[[Path], Any]) -> None:
    """Let `write` fill a scratch file beside `target`, then put it in place in one move.

    The scratch file keeps the target's suffix (writers look at it) and is removed when `write` fails.

    Raises:
        OSError: the place cannot be written to; what torch's archive writer says of it becomes one.
    """
    if target.is_dir():
        raise IsADirectoryError(errno.EISDIR, "a folder is there, where a file is to be written", str(target))
    target.parent.mkdir(parents=True, exist_ok=True)
    scratch = target.with_name(f"{SCRATCH}{os.getpid()}-{target.name}")
    try:
        write(scratch)
        with open(scratch, "rb") as handle:
            os.fsync(handle.fileno())
        os.replace(scratch, target)
    except RuntimeError as error:
        if "inline_container" not in str(error):
            raise
        raise OSError(f"{target} cannot be written: {str(error).splitlines()[0]}") from error
    finally:
        scratch.unlink(missing_ok=True)


def check_place(flag: str, target: Path, usual: str) -> None:
    """Refuse a place that a file cannot be written to, before the work whose result it is for.

    Args:
        flag: the option that named it.
        target: the file.
        usual: a name for it, where a folder was given.

    Raises:
        PruneError: a folder is there.
        OSError: its folder cannot be made or written to.
    """
    if target.is_dir():
        raise PruneError(f"{flag} {target}: a folder is there. Name a file: {flag} {target / usual}")
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryFile(dir=target.parent):
        pass


def copy_whole(source: Path, target: Path) -> None:
    """Copy a file, whole."""
    write_whole(target, lambda scratch: shutil.copyfile(source, scratch))


def write_text(target: Path, text: str) -> None:
    """Write a text file whole."""
    write_whole(target, lambda scratch: scratch.write_text(text, encoding="utf-8"))


def write_json(target: Path, value: Any) -> None:
    """Write a JSON file whole, keys in the order given."""
    write_text(target, json.dumps(value, indent=2) + "\n")


def digest_of(file: Path) -> str:
    """SHA-256 of a file, in hexadecimal."""
    with open(file, "rb") as handle:
        total = hashlib.sha256()
        while chunk := handle.read(1 << 20):
            total.update(chunk)
    return total.hexdigest()


def is_barren(place: Path, endings: Collection[str]) -> bool:
    """Whether a folder holds, at any depth, no file with one of these endings (without dots); a file is never barren.

    Upstreams find out that a data set has no images after minutes of other work.
    """
    return place.is_dir() and not any(file.suffix[1:].lower() in endings for file in place.rglob("*"))


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold a run folder against a second process; the kernel lets go when this one ends, however it ends.

    What a killed process was writing is swept away first.

    Raises:
        Busy: another process is working in it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    busy = Busy(f"{folder}: another process is working on this run. Wait for it, or stop it.")
    with open(folder / LOCK, "w", encoding="utf-8") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise busy from error
        if not _is_there(folder / LOCK, handle.fileno()):  # its holder has just removed it
            raise busy
        for scratch in (*folder.glob(SCRATCH + "*"), *folder.glob("plots/" + SCRATCH + "*")):
            shutil.rmtree(scratch) if scratch.is_dir() else scratch.unlink(missing_ok=True)
        yield


def _is_there(path: Path, handle: int) -> bool:
    """Whether the open file still is what lies at `path`."""
    return path.exists() and os.path.samestat(os.fstat(handle), path.stat())


def fresh(folder: Path) -> Path:
    """Clear what an interrupted attempt left behind in a folder; returns it, not there."""
    shutil.rmtree(folder, ignore_errors=True)
    return folder
