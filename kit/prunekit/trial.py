# SPDX-License-Identifier: AGPL-3.0-or-later
"""The kit and the fork as they would be with another pin, made aside and tested before a byte is written."""

from __future__ import annotations

import shutil
from pathlib import Path

from prunekit import fork, gitobjects
from prunekit.candidate import Candidate
from prunekit.kitdir import PINS, Kit
from prunekit.manifest import Manifest
from prunekit.patchwork import series_files
from prunekit.pinfile import rewrite
from prunekit.verify import compose
from prunekit.workbench import Bench


def root_commit(bench: Bench, candidate: Candidate) -> str:
    """Commit the candidate's files in the bench's repository; returns the commit. The index holds it then."""
    new, repo = candidate.upstream, fork.dated(bench.repo, candidate.upstream)
    gitobjects.add_blobs(repo, [candidate.folder / path for path in candidate.manifest])
    repo.run("read-tree", "--empty")
    gitobjects.stage(repo, candidate.manifest)
    return gitobjects.commit(repo, f"upstream {new.name} {new.release} ({new.commit})")


def make_fork(kit: Kit, candidate: Candidate, folder: Path) -> tuple[Path, str]:
    """Make the fork of a candidate, as setup would; returns (folder, tree id)."""
    repo, root = fork.start(folder, candidate.folder, candidate.manifest, candidate.upstream)
    composed = compose(repo, kit, candidate.upstream, root, lambda _: None)
    new = candidate.upstream
    fork.finish(
        repo, fork.Record(new.name, new.name, new.release, new.commit, "git", root, composed.head, composed.tree)
    )
    return folder, composed.tree


def new_files(kit: Kit, candidate: Candidate, patches: dict[str, bytes]) -> dict[str, bytes | None]:
    """Return what changes in the kit: pin, manifest, patches."""
    new = candidate.upstream
    values = {"commit": new.commit, "date": new.date, "release": new.release, "tree": new.tree, "tag": new.tag}
    sdist = new.sdist
    values.update({"sdist.version": sdist.version, "sdist.sha256": sdist.sha256} if sdist else {"sdist": None})
    files: dict[str, bytes | None] = dict(series_files(kit, new, patches))
    wanted = {PINS: rewrite(kit.pins.read_text(encoding="utf-8"), new.name, values).encode()}
    wanted[f"manifests/{new.name}.txt"] = rows_of(candidate.manifest)
    files.update({path: data for path, data in wanted.items() if (kit.root / path).read_bytes() != data})
    return files


def rows_of(manifest: Manifest) -> bytes:
    """Return a manifest as `git ls-tree -r` prints it."""
    return "".join(
        f"{entry.mode} blob {entry.blob}\t{path}\n"
        for path, entry in sorted(manifest.items(), key=lambda i: i[0].encode())
    ).encode()


def trial_kit(kit: Kit, files: dict[str, bytes | None], folder: Path) -> Kit:
    """Return a copy of the kit with these files, in which nothing is committed."""
    folder.mkdir(parents=True)
    shutil.copy(kit.pins, folder / PINS)
    for name in ("manifests", "patches"):
        shutil.copytree(kit.root / name, folder / name)
    for path, data in files.items():
        if data is None:
            (folder / path).unlink()
        else:
            (folder / path).write_bytes(data)
    return Kit(folder, kit.dropins)
