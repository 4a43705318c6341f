# SPDX-License-Identifier: AGPL-3.0-or-later
"""Is a fork what its pin, its series and its drop-ins make? Made anew in a scratch object store and compared byte for byte."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from prunekit import fork
from prunekit.errors import UserError
from prunekit.gitrepo import GitError, Repo
from prunekit.kitdir import Kit
from prunekit.manifest import Entry, blob_id
from prunekit.overlay import commit_dropins
from prunekit.pins import Upstream
from prunekit.series import read_series, replay


@dataclass(frozen=True)
class Composed:
    """What pin, series and drop-ins make: last commit, its tree, number of patches and drop-ins."""

    head: str
    tree: str
    patches: int
    dropins: int


@dataclass(frozen=True)
class Drift:
    """A file that differs; `what` is "modified", "missing", "added" or "mode"."""

    path: str
    what: str


def compose(repo: Repo, kit: Kit, upstream: Upstream, root: str, report: Callable[[str], None]) -> Composed:
    """Make the series and the drop-ins on top of `root`, which the index holds; touches no branch and no file."""
    patches = read_series(kit, upstream)
    head = replay(repo, patches, root, report)
    head, count = commit_dropins(repo, kit, upstream, head)
    return Composed(head, repo.text("rev-parse", f"{head}^{{tree}}"), len(patches), count)


def expected(directory: Path, kit: Kit, upstream: Upstream) -> tuple[Composed, dict[str, Entry]] | None:
    """Return what the kit makes of a fork's pin, and its files; None where the fork does not hold the pin's files.

    Writes nothing into the fork.
    """
    with _scratch(directory, upstream) as repo:
        try:
            repo.run("read-tree", upstream.tree)
            message = f"upstream {upstream.name} {upstream.release} ({upstream.commit})"
            root = fork.commit(repo, message)
        except GitError:
            return None
        composed = compose(repo, kit, upstream, root, lambda _: None)
        return composed, fork.files_of(repo, composed.head)


def drift(directory: Path, kit: Kit, upstream: Upstream) -> list[Drift]:
    """Return every file of the fork that is not what the kit makes; untracked files are the user's own and never count.

    Raises UserError where the fork does not hold the pin's files at all.
    """
    made = expected(directory, kit, upstream)
    if made is None:
        raise UserError(
            f"{directory} does not hold {upstream.name} at {upstream.commit[:12]}: it was made from another pin, or its "
            "objects are damaged; set it up anew with --force (the old one is kept)"
        )
    files = made[1]
    found = [Drift(path, what) for path, entry in files.items() if (what := _compare(directory / path, entry))]
    own = fork.files_of(Repo(directory), "HEAD")
    return sorted([*found, *(Drift(path, "added") for path in own.keys() - files.keys())], key=lambda item: item.path)


def _compare(path: Path, entry: Entry) -> str:
    """Return what is wrong with one file, or an empty string."""
    if path.is_symlink() or not path.is_file():
        return "modified" if path.is_symlink() or path.exists() else "missing"
    if blob_id(path.read_bytes()) != entry.blob:
        return "modified"
    return "" if bool(path.stat().st_mode & 0o100) == (entry.mode == "100755") else "mode"


@contextmanager
def _scratch(directory: Path, upstream: Upstream) -> Iterator[Repo]:
    """Yield the fork's repository with index and new objects in a temporary folder."""
    with tempfile.TemporaryDirectory(prefix="prunekit-") as folder:
        objects = Path(folder, "objects")
        objects.mkdir()
        repo = Repo(directory).with_env(
            GIT_INDEX_FILE=os.path.join(folder, "index"),
            GIT_OBJECT_DIRECTORY=str(objects),
            GIT_ALTERNATE_OBJECT_DIRECTORIES=str(directory / ".git" / "objects"),
        )
        yield fork.dated(repo, upstream)
