# SPDX-License-Identifier: AGPL-3.0-or-later
"""Blobs, the index and commits, without a working tree: what forks, series and moved pins are made with."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from prunekit.git import Repo


@dataclass(frozen=True)
class Entry:
    """One file: git mode ("100644" or "100755") and blob id (40 hex digits)."""

    mode: str
    blob: str


Manifest = Mapping[str, Entry]


def add_blobs(repo: Repo, files: list[Path]) -> list[str]:
    """Write files into the object store, byte for byte; returns their blob ids in order."""
    names = b"".join(os.fsencode(path) + b"\n" for path in files)
    return repo.text("hash-object", "-w", "--no-filters", "--stdin-paths", stdin=names).split()


def stage(repo: Repo, entries: Manifest) -> None:
    """Put entries into the index, over what is there."""
    rows = "".join(f"{entry.mode} {entry.blob}\t{path}\0" for path, entry in entries.items()).encode()
    repo.run("update-index", "-z", "--index-info", stdin=rows)


def commit(repo: Repo, message: str, parent: str | None = None) -> str:
    """Commit the index as it is; returns the commit id. Touches no branch."""
    parents = ("-p", parent) if parent else ()
    return repo.text("commit-tree", *parents, "-F", "-", repo.text("write-tree"), stdin=f"{message.strip()}\n".encode())


def files_of(repo: Repo, tree: str) -> dict[str, Entry]:
    """Return the plain files of a tree or commit by path."""
    rows = [row for row in repo.text("ls-tree", "-r", "-z", tree).split("\0") if row]
    found = {}
    for row in rows:
        head, path = row.split("\t", 1)
        mode, _, blob = head.split(" ")
        found[path] = Entry(mode, blob)
    return found
