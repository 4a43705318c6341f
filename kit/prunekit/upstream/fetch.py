# SPDX-License-Identifier: AGPL-3.0-or-later
"""From a pin to verified bytes: git or the sdist yields the files, the manifest's blob ids decide whether they pass."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from prunekit.console import Console, Report
from prunekit.errors import Unreachable, UserError
from prunekit.upstream.fetch_git import Absent, fetch_git
from prunekit.upstream.fetch_sdist import fetch_sdist
from prunekit.upstream.manifest import Manifest, blob_id
from prunekit.upstream.pins import UNRESOLVED, Upstream

SOURCES = ("auto", "git", "sdist")


@dataclass(frozen=True)
class From:
    """Where upstream files come from: "auto", "git" or "sdist", and another git URL."""

    source: str = "auto"
    mirror: str | None = None


@dataclass(frozen=True)
class Fetched:
    """Verified files below `folder`; `how` is "git" or "sdist", `size` the bytes that came over the wire.

    `commit` holds them, by git; else it is the pin's, which may be unresolved.
    """

    folder: Path
    how: str
    size: int
    notes: tuple[str, ...]
    commit: str


def fetch(
    upstream: Upstream, manifest: Manifest, *, source: str, mirror: str | None, scratch: Path, report: Report
) -> Fetched:
    """Fetch the pin's files into `scratch` and check each against its blob id.

    Raises UserError for a host that cannot be reached, a pin that is gone, or a wrong byte (naming the file).
    """
    fetched = _fetch(upstream, manifest, source, mirror, scratch, report)
    report(f"checking {len(manifest)} files")
    check_files(fetched.folder, manifest, origin=f"{upstream.name} from {fetched.how}")
    return fetched


def fetch_said(upstream: Upstream, manifest: Manifest, origin: From, scratch: Path, console: Console) -> Fetched:
    """Fetch as `fetch` does, as a step of a command: what came from where is shown, notes are warnings."""
    with console.step("source") as step:
        where = {"source": origin.source, "mirror": origin.mirror}
        fetched = fetch(upstream, manifest, **where, scratch=scratch, report=step.report)  # type: ignore[arg-type]
        step.result = f"{fetched.how}, {fetched.size / 1e6:.1f} MB fetched, {len(manifest)} blob ids checked"
    for note in fetched.notes:
        console.warn(note)
    return fetched


def check_files(folder: Path, manifest: Manifest, origin: str) -> None:
    """Raise UserError naming the first files below `folder` that are missing or not what the manifest says."""
    wrong = [path for path, entry in manifest.items() if _blob_of(folder / path) != entry.blob]
    if wrong:
        more = f" and {len(wrong) - 3} more" if len(wrong) > 3 else ""
        raise UserError(
            f"{origin} is not what the pin says: {', '.join(wrong[:3])}{more}; "
            "nothing was set up. Try the other source (--source git or --source sdist), or another --mirror"
        )


def _fetch(
    upstream: Upstream, manifest: Manifest, source: str, mirror: str | None, scratch: Path, report: Report
) -> Fetched:
    """Choose the source: git first, and the sdist where no git host gives the pin out."""
    if source == "sdist":
        if mirror:
            raise UserError(
                "--mirror names a git repository: leave it out with --source sdist (pip has its own settings)"
            )
        return _from_sdist(upstream, manifest, scratch, report, ())
    if upstream.commit == UNRESOLVED and upstream.tag is None:
        if source == "git":
            raise UserError(f"the pin of {upstream.name} has no commit id and no tag: use --source sdist")
        return _from_sdist(upstream, manifest, scratch, report, ())
    try:
        found = fetch_git(upstream, mirror or upstream.url, scratch, report)
        return Fetched(found.folder, "git", found.size, found.notes, found.commit)
    except Unreachable as error:
        if source == "git" and mirror and upstream.sdist:
            raise Unreachable(f"{error}; check --mirror, or add --source auto to take the sdist then") from error
        if source == "git" or upstream.sdist is None:
            raise
        why = error.what if isinstance(error, Absent) else str(error)  # advice is for who is left without
        try:
            return _from_sdist(upstream, manifest, scratch, report, (f"{why}; took the sdist instead",))
        except Unreachable as second:
            raise Unreachable(f"neither source can be had. git: {error}. sdist: {second}") from second


def _from_sdist(
    upstream: Upstream, manifest: Manifest, scratch: Path, report: Report, notes: tuple[str, ...]
) -> Fetched:
    """Take the files from the release's sdist."""
    if upstream.sdist is None:
        raise UserError(f"{upstream.name} publishes no sdist of its pin: use --source git")
    folder, size = fetch_sdist(upstream.sdist, manifest, scratch, report)
    return Fetched(folder, "sdist", size, notes, upstream.commit)


def _blob_of(path: Path) -> str | None:
    """Return the blob id of a plain file, or None where there is none."""
    return blob_id(path.read_bytes()) if path.is_file() and not path.is_symlink() else None
