# SPDX-License-Identifier: AGPL-3.0-or-later
"""The kit and the fork as they would be with another pin, made aside and tested before a byte is written."""

from __future__ import annotations

import shutil
from dataclasses import asdict, replace
from pathlib import Path

from prunekit import git_objects
from prunekit.errors import UserError
from prunekit.fork import repository as fork
from prunekit.fork.compose import compose
from prunekit.kit import PINS, Kit
from prunekit.maintain.edit_series import series_files
from prunekit.maintain.series_repo import Bench
from prunekit.patches.series import read_series
from prunekit.upstream.manifest import Manifest, read_manifest
from prunekit.upstream.new_pin import Candidate
from prunekit.upstream.pin_rewrite import rewrite
from prunekit.upstream.pins import Pins, Target, Upstream, read_pins


def root_commit(bench: Bench, candidate: Candidate) -> str:
    """Commit the candidate's files in the bench's repository; returns the commit. The index holds it then."""
    new, repo = candidate.upstream, fork.dated(bench.repo, candidate.upstream)
    git_objects.add_blobs(repo, [candidate.folder / path for path in candidate.manifest])
    repo.run("read-tree", "--empty")
    git_objects.stage(repo, candidate.manifest)
    return git_objects.commit(repo, fork.root_message(new))


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
    own = {f"sdist.{key}": value for key, value in asdict(sdist).items()} if sdist else {"sdist": None}
    files: dict[str, bytes | None] = dict(series_files(kit, new, patches))
    text = kit.pins.read_bytes().decode()  # not read_text, which would turn every line end into another
    wanted = {PINS: rewrite(text, new.name, {**values, **own}).encode()}
    wanted[f"manifests/{new.name}.txt"] = rows_of(candidate.manifest)
    files.update({path: data for path, data in wanted.items() if (kit.root / path).read_bytes() != data})
    return files


def need_as_wanted(kit: Kit, trial: Kit, new: Upstream) -> None:
    """Read a changed kit back, whole: the one upstream is as wanted, the others and all targets are as they were.

    Raises UserError that says where it is not; nothing has been written then.
    """
    before, after = read_pins(kit.pins), _read_back(trial)
    expected = {**before.upstreams, new.name: new}
    wrong = [name for name, it in expected.items() if after.upstreams.get(name) != it]
    targets = [name for name, it in before.targets.items() if not _same_target(it, after.targets.get(name), new)]
    if wrong or targets or after.upstreams.keys() != expected.keys():
        raise UserError(
            f"{PINS} cannot be rewritten: {', '.join([*wrong, *targets]) or 'the list of upstreams'} would be another "
            "than it is to be; nothing was written. Write each of its keys on a line of its own, without anchors (&, *)"
        )


def _read_back(trial: Kit) -> Pins:
    """Return the pins of a changed kit, having read its manifests and series, too."""
    try:
        pins = read_pins(trial.pins)
        for it in pins.upstreams.values():
            read_manifest(trial.manifests / f"{it.name}.txt", it.tree)
            read_series(trial, it)
    except UserError as error:
        raise UserError(f"the kit as it would be cannot be read ({error}); nothing was written") from error
    return pins


def _same_target(old: Target, new: Target | None, upstream: Upstream) -> bool:
    """Return whether a target is what it was, its upstream's pin apart."""
    wanted = replace(old, upstream=upstream) if old.upstream.name == upstream.name else old
    return new == wanted


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
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_bytes(data)
    return Kit(folder, kit.dropins)
