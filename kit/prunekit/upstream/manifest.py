# SPDX-License-Identifier: AGPL-3.0-or-later
"""The list of an upstream's files at its pin: mode, git blob id and path, as `git ls-tree -r` prints them.

The pin names the id of the git tree that these rows make, so a changed row is noticed before a byte is compared.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from pathlib import Path

from prunekit.errors import UserError
from prunekit.git_objects import Entry, Manifest
from prunekit.text_file import read_text

_ROW = re.compile(r"(100644|100755) blob ([0-9a-f]{40})\t(.+)")


def blob_id(content: bytes) -> str:
    """Return git's id of a file with this content."""
    return _object_id("blob", content)


def tree_id(manifest: Manifest) -> str:
    """Return git's id of the tree that holds exactly these files."""
    top: dict[str, Entry | dict[str, Entry]] = {}
    for path, entry in manifest.items():
        name, _, rest = path.partition("/")
        if rest:
            below = top.setdefault(name, {})
            assert isinstance(below, dict), f"{name} is a file and a folder"
            below[rest] = entry
        else:
            top[name] = entry
    return _object_id(
        "tree", b"".join(_tree_row(name, top[name]) for name in sorted(top, key=lambda n: _order(n, top)))
    )


def read_manifest(path: Path, tree: str) -> dict[str, Entry]:
    """Read a manifest and check it against the pin's tree id.

    Raises UserError naming file and line of a malformed row, or the file where the rows do not make `tree`.
    """
    if not path.exists():
        raise UserError(f"{path} is missing: install the kit again, or restore the file with git")
    rows: dict[str, Entry] = {}
    for number, line in enumerate(read_text(path).splitlines(), start=1):
        match = _ROW.fullmatch(line)
        if match is None or not is_plain(match.group(3)):
            raise UserError(f"{path}:{number}: not a `git ls-tree` row of a plain file: {line!r}; restore the file")
        rows[match.group(3)] = Entry(match.group(1), match.group(2))
    if tree_id(rows) != tree:
        raise UserError(f"{path}: its rows make tree {tree_id(rows)}, the pin says {tree}; restore the file with git")
    return rows


def is_plain(path: str) -> bool:
    """Return whether a path stays below the folder it is joined to, and out of `.git`."""
    return path.isprintable() and "\\" not in path and is_below(path)


def is_below(path: str) -> bool:
    """Return the same, for a name that may hold any character, as those of a user's own files may."""
    return not any(part in ("", ".", "..") or part.lower() == ".git" for part in path.split("/"))


def _order(name: str, top: Mapping[str, object]) -> bytes:
    """Git sorts a folder as if its name ended in a slash."""
    return (name + ("/" if isinstance(top[name], dict) else "")).encode()


def _tree_row(name: str, below: Entry | dict[str, Entry]) -> bytes:
    """Return one row of a git tree object."""
    mode, oid = ("40000", tree_id(below)) if isinstance(below, dict) else (below.mode, below.blob)
    return f"{mode} {name}".encode() + b"\0" + bytes.fromhex(oid)


def _object_id(kind: str, content: bytes) -> str:
    """Return git's SHA-1 id of an object."""
    return hashlib.sha1(f"{kind} {len(content)}".encode() + b"\0" + content, usedforsecurity=False).hexdigest()
