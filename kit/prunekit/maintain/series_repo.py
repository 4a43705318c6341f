# SPDX-License-Identifier: AGPL-3.0-or-later
"""A scratch repository that holds an upstream at its pin and the series as commits: where patches are worked on."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from prunekit.console import Report
from prunekit.fork import repository as fork
from prunekit.git import Repo
from prunekit.kit import Kit
from prunekit.patches.canonical import commit_series
from prunekit.patches.series import read_series
from prunekit.temporary import temporary
from prunekit.upstream.fetch import From, fetch
from prunekit.upstream.manifest import Manifest, read_manifest
from prunekit.upstream.pins import Upstream


@dataclass(frozen=True)
class Bench:
    """The repository, the commit of the pin, the patch files and their commits, in order."""

    repo: Repo
    upstream: Upstream
    root: str
    patches: list[Path]
    commits: list[str]
    folder: Path


@contextmanager
def scratch() -> Iterator[Path]:
    """Yield a temporary folder."""
    with temporary() as folder:
        yield folder


def root_of(kit: Kit, upstream: Upstream, origin: From, folder: Path, report: Report) -> tuple[Repo, str]:
    """Fetch the pin into `folder`; returns (repository, commit of the pin), the index holding it."""
    manifest: Manifest = read_manifest(kit.manifests / f"{upstream.name}.txt", upstream.tree)
    fetched = fetch(upstream, manifest, source=origin.source, mirror=origin.mirror, scratch=folder, report=report)
    return fork.start(folder / "bench", fetched.folder, manifest, upstream)


def set_up_bench(kit: Kit, upstream: Upstream, origin: From, folder: Path, report: Report) -> Bench:
    """Make the repository with the series on top of the pin.

    Raises PatchConflict where the series does not apply to its own pin.
    """
    repo, root = root_of(kit, upstream, origin, folder, report)
    patches = read_series(kit, upstream)
    return Bench(repo, upstream, root, patches, commit_series(repo, patches, root, report), folder)
