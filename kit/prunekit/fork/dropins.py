# SPDX-License-Identifier: AGPL-3.0-or-later
"""Drop-ins: files that a fork gets as they are, in one commit. They are copied, never imported."""

from __future__ import annotations

from pathlib import Path

from prunekit import git_objects
from prunekit.errors import UserError
from prunekit.git import Repo
from prunekit.kit import Kit
from prunekit.upstream.manifest import Entry
from prunekit.upstream.pins import Upstream

_ENGINE = "pruning"
_LEFTOVERS = (".pyc", ".pyo", ".orig", ".rej", ".swp", "~")
_MESSAGE = """prunekit: the pruning engine, the adapter of {name} and the scripts

{count} files, copied from the kit; edit them there.
"""


def dropins(kit: Kit, upstream: Upstream) -> dict[str, Path]:
    """Return path in the fork -> file of the kit: the engine below `engine`, the upstream's own files at the root.

    Raises UserError for a link, or where both bring the same path.
    """
    engine = {f"{upstream.engine}/{path}": file for path, file in _files(kit.dropins / _ENGINE).items()}
    own = _files(kit.dropins / upstream.name)
    twice = sorted(engine.keys() & own.keys())
    if twice:
        raise UserError(
            f"the drop-ins hold {twice[0]} twice: in {kit.dropins / _ENGINE} and {kit.dropins / upstream.name}"
        )
    return dict(sorted({**engine, **own}.items()))


def commit_dropins(repo: Repo, kit: Kit, upstream: Upstream, head: str) -> tuple[str, int]:
    """Put the drop-ins on top of `head`, which the index holds; returns (last commit, number of files).

    Raises UserError where a drop-in would overwrite a file of upstream.
    """
    files = dropins(kit, upstream)
    if not files:
        return head, 0
    there = sorted(files.keys() & git_objects.files_of(repo, head).keys())
    if there:
        raise UserError(f"the drop-in {files[there[0]]} would overwrite upstream's {there[0]}; give it another name")
    blobs = git_objects.add_blobs(repo, list(files.values()))
    # Always mode 644: an installation by pip does not keep the executable bit, and the tree id must not depend on it.
    git_objects.stage(repo, {path: Entry("100644", blob) for path, blob in zip(files, blobs, strict=True)})
    return git_objects.commit(repo, _MESSAGE.format(name=upstream.name, count=len(files)), head), len(files)


def _files(root: Path) -> dict[str, Path]:
    """Return the files below a folder by relative path, without caches, hidden files and editors' leftovers."""
    found = {}
    for file in sorted(root.rglob("*")) if root.is_dir() else []:
        path = file.relative_to(root)
        if any(part.startswith(".") or part == "__pycache__" for part in path.parts) or path.name.endswith(_LEFTOVERS):
            continue
        if file.is_symlink():
            raise UserError(f"the drop-in {file} is a link: put the file itself there")
        if file.is_file():
            found[path.as_posix()] = file
    return found
