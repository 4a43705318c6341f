# SPDX-License-Identifier: AGPL-3.0-or-later
"""What a fork is made of, put together: the series on the pin, or moved to another version, and the drop-ins on top."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from prunekit import git_objects
from prunekit.console import Report
from prunekit.errors import PatchConflict, UserError
from prunekit.fork import repository as fork
from prunekit.fork.dropins import commit_dropins
from prunekit.git import Repo
from prunekit.kit import Kit
from prunekit.patches.canonical import commit_series
from prunekit.patches.series import read_series, replay
from prunekit.porting.file import ABSORBED, FAILED
from prunekit.porting.series import Move, move_series
from prunekit.temporary import temporary
from prunekit.upstream.pins import Upstream

OLDER = "older"  # beside the series: lines of patches in the form that versions before the pin need


@dataclass(frozen=True)
class Composed:
    """What pin, series and drop-ins make: last commit, its tree, number of patches and drop-ins."""

    head: str
    tree: str
    patches: int
    dropins: int


def compose(repo: Repo, kit: Kit, upstream: Upstream, root: str, report: Callable[[str], None]) -> Composed:
    """Make the series and the drop-ins on top of `root`, which the index holds; touches no branch and no file."""
    patches = read_series(kit, upstream)
    head = replay(repo, patches, root, report)
    head, count = commit_dropins(repo, kit, upstream, head)
    return Composed(head, repo.text("rev-parse", f"{head}^{{tree}}"), len(patches), count)


def compose_moved(
    repo: Repo, kit: Kit, pin: Upstream, version: Upstream, report: Report, base: str | None = None
) -> tuple[Composed, list[Move]]:
    """Make the series, moved from the pin to another version, and the drop-ins; touches no branch and no file.

    The repository must hold both trees. `base`: the commit to stand on, whose tree the version's is; else one is made.
    Raises PatchConflict naming the first patch that has no certain place.
    """
    patches, names = read_series(kit, pin), [path.name for path in read_series(kit, pin)]
    moves, head = _moved(repo, pin, version, patches, names, report, base)
    with temporary() as folder:
        if older := older_patches(kit, pin, patches, moves, folder):
            moves, head = _moved(repo, pin, version, older, names, report, base)
    _need_places(moves, version, base)
    head = [head, *(move.commit for move in moves if move.commit)][-1]
    repo.run("read-tree", head)
    head, count = commit_dropins(fork.dated(repo, version), kit, version, head)
    patched = sum(move.verdict != ABSORBED for move in moves)
    return Composed(head, repo.text("rev-parse", f"{head}^{{tree}}"), patched, count), moves


def older_patches(kit: Kit, pin: Upstream, patches: Sequence[Path], moves: Iterable[Move], folder: Path) -> list[Path]:
    """Return the patches, those without a place in the form for older versions; none where no such form may help."""
    bad = {move.name for move in moves if move.verdict == FAILED}
    older = {old for old in _older(kit, pin) if any(name.startswith(old[0]) for name in bad)}
    return [_in_older_form(path, older, folder) for path in patches] if older else []


def _moved(
    repo: Repo,
    pin: Upstream,
    version: Upstream,
    patches: list[Path],
    names: list[str],
    report: Report,
    base: str | None,
) -> tuple[list[Move], str]:
    """Apply the patches at the pin and move them; returns (moves, commit with the version's files)."""
    root = _root(fork.dated(repo, pin), pin)
    commits = commit_series(fork.dated(repo, pin), patches, root, report)
    report(f"from {pin.release} to {version.release}")
    target = base or _root(fork.dated(repo, version), version)
    return move_series(fork.dated(repo, version), root, commits, names, target), target


def _root(repo: Repo, version: Upstream) -> str:
    """Commit a version's files, by the tree that the repository holds; the index holds it then."""
    repo.run("read-tree", version.tree)
    return git_objects.commit(repo, fork.root_message(version))


def _older(kit: Kit, pin: Upstream) -> set[tuple[str, str, str]]:
    """Return (number of the patch, its line, the line for older versions) of the `older` file; raises UserError."""
    path = kit.patches / pin.name / OLDER
    rows = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
    found = set()
    for number, row in enumerate(rows, start=1):
        if not row.strip() or row.startswith("#"):
            continue
        parts = [part.strip() for part in row.split(" | ")]
        if len(parts) != 3:
            raise UserError(f"{path}:{number}: not `number | line | line for older versions`; restore the file")
        found.add((parts[0], parts[1], parts[2]))
    return found


def _in_older_form(patch: Path, older: set[tuple[str, str, str]], folder: Path) -> Path:
    """Return the patch with its lines for older versions, as a file in `folder`; one without any as it is."""
    own = [(line, instead) for number, line, instead in older if patch.name.startswith(number)]
    if not own:
        return patch
    text = patch.read_text(encoding="utf-8")
    for line, instead in own:
        text = text.replace(line, instead)
    made = folder / patch.name
    made.write_text(text, encoding="utf-8")
    return made


def _need_places(moves: list[Move], version: Upstream, base: str | None) -> None:
    """Raise PatchConflict for the first patch without a place."""
    for move in moves:
        if move.verdict == FAILED:
            why = f" ({move.conflicts[0].path}: {move.conflicts[0].reason})" if move.conflicts else ""
            other = "Take another version (docs/compatibility.md lists those that were tried)"
            own = "Put that place back as upstream has it, commit, then try again"
            raise PatchConflict(
                f"{move.name} has no certain place in {version.name} {version.release}{why}; nothing was set up. "
                f"{own if base else other}"
            )
