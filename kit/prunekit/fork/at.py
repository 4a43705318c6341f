# SPDX-License-Identifier: AGPL-3.0-or-later
"""`setup --at`: the version of an upstream that a release, a commit or a branch names, with the ids of its files.

The kit pins no other version than its own, so nothing is there to hold these files against: what the fetch brought is
recorded, and said. git checks a commit's files by the commit's id; of an sdist the sha256 is kept.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from pathlib import Path

from prunekit.console import Report
from prunekit.errors import Unreachable, UserError, nearest
from prunekit.fork import repository as fork
from prunekit.fork.compatibility import read_rows, series_digest
from prunekit.fork.occupied import is_commit
from prunekit.git import Repo
from prunekit.kit import Kit
from prunekit.upstream.fetch import Fetched
from prunekit.upstream.fetch_git import Absent, fetch_git, ids_of
from prunekit.upstream.fetch_sdist import releases
from prunekit.upstream.history import history, resolve
from prunekit.upstream.manifest import Manifest, tree_id
from prunekit.upstream.new_pin import Candidate, from_sdist, rows_at
from prunekit.upstream.pins import UNRESOLVED, Upstream

_RELEASE = re.compile(r"v?(\d+(?:\.\d+)+[\w.]*)")
_REF = re.compile(r"(?!-)[^\s~^:?*\[\\\x00-\x1f]+")  # what git can take for a branch, a tag or a commit
_VERSION = re.compile(r"^__version__ = [\"']([\w.]+)[\"']", re.MULTILINE)
_FULL = 40


@dataclass(frozen=True)
class Origin:
    """Where files come from (`source`, `mirror` as typed), and the pin's own files, which came first."""

    source: str
    mirror: str | None
    pin: Fetched


def is_pin(upstream: Upstream, at: str) -> bool:
    """Return whether a version that the user named is the kit's pin."""
    return at in (upstream.release, f"v{upstream.release}", upstream.tag) or (
        is_commit(at) and upstream.commit.startswith(at)
    )


def need_version(upstream: Upstream, at: str, source: str) -> None:
    """Raise UserError for what can be no version, a release that is too old, or one that the source cannot give."""
    if not _REF.fullmatch(at) or ".." in at:
        raise UserError(f"--at '{at}' is no release, commit or branch of {upstream.name}")
    release = _RELEASE.fullmatch(at)
    if release:
        _need_young(upstream, release.group(1), at)
    if source == "sdist" and (release is None or upstream.project is None):
        what = "releases only" if upstream.project else f"nothing of {upstream.name}, which publishes none"
        raise UserError(f"--at {at}: --source sdist has {what}; use --source git")


def find_version(
    upstream: Upstream, pinned: Manifest, at: str, origin: Origin, scratch: Path, report: Report
) -> Candidate:
    """Return the version that `at` names, its files below `folder`.

    Raises UserError where there is none, naming the nearest release, or where it is too old; Unreachable.
    """
    release = _RELEASE.fullmatch(at)
    can_sdist = release is not None and upstream.project is not None and origin.source != "git"
    if can_sdist and (origin.source == "sdist" or origin.pin.how == "sdist"):
        return _by_sdist(upstream, pinned, at, scratch, report)
    found = _by_name(upstream, at, origin, scratch / "names")
    if found is None and can_sdist:
        return _by_sdist(upstream, pinned, at, scratch, report)
    commit, tag = found or (_by_history(upstream, at, origin, report), None)
    return _by_git(upstream, pinned, at, (commit, tag), origin, scratch, report)


def known_of(kit: Kit, upstream: Upstream, release: str) -> str:
    """Return, in one line, what the kit's table knows of a release: tested end to end, places only, never tried."""
    plain = re.match(r"\d+(\.\d+)*", release)
    base = plain.group() if plain else ""
    rows = {row.release: row for row in read_rows(kit, upstream.name)}
    row = rows.get(base)
    what = "this release" if base == release else f"{base}, on which it is based,"
    if row is None:
        near = _nearest_release(release, list(rows))
        return "this release was never tried" + (f"; the nearest that was: {near}" if near else "")
    series = "" if row.series == series_digest(kit, upstream) else ", with an earlier state of the kit"
    if not row.passed:
        return f"{what} was tried and failed{series}: {row.reason.splitlines()[0][:120]}"
    if row.smoke in ("walk", "full"):
        return f"{what} was tested end to end (train, prune, fine-tune, kill, resume, validate){series}"
    return f"of {what} only the places of the patches were tried, no training{series}"


def record_of(candidate: Candidate, at: str, known: str) -> fork.At:
    """Return what the fork remembers of its version."""
    new = candidate.upstream
    return fork.At(at, new.date, new.tag, new.tree, new.sdist.sha256 if new.sdist else None, known)


def _by_name(upstream: Upstream, at: str, origin: Origin, folder: Path) -> tuple[str, str | None] | None:
    """Return (commit, tag) of a name that the host has, or of a whole commit id; None where it has no such name."""
    tags, branch = (f"refs/tags/{at}", f"refs/tags/v{at}"), f"refs/heads/{at}"
    ids = ids_of(upstream, origin.mirror or upstream.url, (*tags, *(f"{tag}^{{}}" for tag in tags), branch), folder)
    for name in (*tags, branch):
        if name in ids:
            tag = name.removeprefix("refs/tags/") if name in tags else None
            return ids.get(f"{name}^{{}}", ids[name]), tag
    return (at, None) if is_commit(at) and len(at) == _FULL else None


def _by_history(upstream: Upstream, at: str, origin: Origin, report: Report) -> str:
    """Return the commit that a short id, or the subject of a commit without a tag, names; raises UserError."""
    if not is_commit(at) and _RELEASE.fullmatch(at) is None:
        raise UserError(f"{upstream.name} has no branch, tag or release '{at}': `git ls-remote URL` lists what it has")
    repo = history(upstream, origin.mirror or upstream.url, report)
    try:
        return resolve(repo, upstream, at)
    except UserError as error:
        tags = repo.text("tag", "--list").split()
        raise UserError(f"{error}{nearest(at, tags) if tags else ''}".replace("--to", "--at")) from error


def _by_git(
    upstream: Upstream,
    pinned: Manifest,
    at: str,
    found: tuple[str, str | None],
    origin: Origin,
    scratch: Path,
    report: Report,
) -> Candidate:
    """Fetch a commit; its files, less those of the kinds that the pin's manifest leaves out."""
    commit, tag = found
    url = origin.mirror or upstream.url
    try:
        folder = fetch_git(replace(upstream, commit=commit, tag=tag), url, scratch / "version", report).folder
    except Absent as error:
        raise UserError(f"{url} has no commit {commit} of {upstream.name}: check --at, or name a --mirror") from error
    repo, left_out = Repo(folder), _left_out(upstream, pinned, origin)
    manifest = {
        path: entry for path, entry in rows_at(repo, upstream, commit, upstream.covers).items() if path not in left_out
    }
    release = _RELEASE.fullmatch(at)
    version = version_in(folder, upstream)
    if version:
        _need_young(upstream, version, at)
    name = release.group(1) if release else f"{version or upstream.release}-{commit[:12]}"
    own = {"commit": commit, "tag": tag, "release": name, "date": repo.text("log", "-1", "--format=%cI", commit)}
    return Candidate(replace(upstream, **own, tree=tree_id(manifest), sdist=None), manifest, folder)  # type: ignore[arg-type]


def _by_sdist(upstream: Upstream, pinned: Manifest, at: str, scratch: Path, report: Report) -> Candidate:
    """Take a release's sdist; raises UserError naming the nearest release where the index has no such one."""
    assert upstream.project is not None
    release = at.removeprefix("v")
    try:
        return from_sdist(upstream, pinned, release, None, scratch / "release", report)
    except Unreachable:
        there = releases(upstream.project)
        if release in there:
            raise
        near = _nearest_release(release, there)
        raise UserError(f"{upstream.project} has no release {release}: the nearest is {near}") from None


def _left_out(upstream: Upstream, pinned: Manifest, origin: Origin) -> set[str]:
    """Return the covered files of the pin's commit that its manifest leaves out: notebooks, say. They stay out."""
    if origin.pin.how != "git":
        return set()
    return rows_at(Repo(origin.pin.folder), upstream, origin.pin.commit, upstream.covers).keys() - pinned.keys()


def version_in(folder: Path, upstream: Upstream) -> str:
    """Return the version that the upstream's package says it has, or nothing."""
    file = folder / upstream.engine.partition("/")[0] / "__init__.py"
    found = _VERSION.search(file.read_text(encoding="utf-8", errors="replace")) if file.is_file() else None
    return found.group(1) if found else ""


def _need_young(upstream: Upstream, release: str, at: str) -> None:
    """Raise UserError for a release before the first that the series can be moved to."""
    if is_too_old(upstream, release):
        said = "" if release in at else f", which is {release},"
        raise UserError(
            f"--at {at}{said} is too old: {upstream.oldest} is the first release of {upstream.name} that works"
        )


def is_too_old(upstream: Upstream, release: str) -> bool:
    """Return whether a release is from before the first that the series can be moved to."""
    return upstream.oldest is not None and _numbers(release) < _numbers(upstream.oldest)


def _numbers(release: str) -> tuple[int, ...]:
    """Return a release as three numbers."""
    found = [int(part) for part in re.findall(r"\d+", release)[:3]]
    return tuple(found + [0] * (3 - len(found)))


def _nearest_release(release: str, every: list[str]) -> str:
    """Return the release of a list that is nearest by number, or nothing for an empty list."""
    first, second, third = _numbers(release)
    plain = [other for other in every if re.fullmatch(r"\d+(\.\d+)*", other)]

    def distance(other: str) -> tuple[int, int, int]:
        one, two, three = _numbers(other)
        return abs(one - first), abs(two - second), abs(three - third)

    return min(plain, key=distance, default="")


def unpinned(candidate: Candidate) -> str:
    """Return the line that says what nothing of the kit vouches for."""
    new = candidate.upstream
    by = f"its sdist, sha256 {new.sdist.sha256[:12]}" if new.sdist else f"commit {new.commit[:12]}"
    commit = " and its commit id is not known" if new.commit == UNRESOLVED else ""
    return (
        f"{new.name} {new.release} is not pinned by the kit{commit}: its {len(candidate.manifest)} files are held "
        f"against the blob ids that this fetch computed from {by} (tree {new.tree[:12]})"
    )
