# SPDX-License-Identifier: AGPL-3.0-or-later
"""Another version of an upstream: its files, verified, and the pin it would have. By git, or a release's sdist."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from pathlib import Path

from prunekit.console import Report
from prunekit.errors import Unreachable, UserError
from prunekit.git import Repo
from prunekit.upstream.fetch import From, fetch
from prunekit.upstream.fetch_sdist import download_release, members_of, unpack
from prunekit.upstream.history import head_of, history, resolve
from prunekit.upstream.manifest import Entry, Manifest, blob_id, is_plain, tree_id
from prunekit.upstream.pins import UNRESOLVED, Sdist, Upstream

_RELEASE = re.compile(r"v?(\d+(?:\.\d+)+[\w.]*)")
_COMMIT = re.compile(r"[+-][0-9a-f]{12}$")  # what the name of a pin that is no release ends in


@dataclass(frozen=True)
class Candidate:
    """The pin as it would be, its manifest, the folder with its files; `note` is what a person should know."""

    upstream: Upstream
    manifest: Manifest
    folder: Path
    note: str = ""


def find_candidate(
    upstream: Upstream, old: Manifest, to: str | None, origin: From, commit: str | None, scratch: Path, report: Report
) -> Candidate:
    """Return the version that `to` names (the newest commit without it): by git, or by sdist where git cannot.

    Raises Unreachable or UserError.
    """
    if origin.source == "sdist":
        return from_sdist(upstream, old, to, commit, scratch, report)
    try:
        return _from_git(upstream, old, to, origin, scratch, report)
    except UserError as error:
        release = _RELEASE.fullmatch(to or "")
        if origin.source == "git" or upstream.project is None or release is None:
            raise
        found = from_sdist(upstream, old, to, commit, scratch / "sdist-only", report)
        return replace(found, note=f"{error}; took the sdist instead. {found.note}")


def _from_git(
    upstream: Upstream, old: Manifest, to: str | None, origin: From, scratch: Path, report: Report
) -> Candidate:
    """Take the files that the commit holds, less those that its own release's sdist lacks."""
    url = origin.mirror or upstream.url
    repo = history(upstream, url, report)
    commit = resolve(repo, upstream, to) if to else head_of(repo)
    tag = tag_of(repo, to, commit)
    asked = _RELEASE.fullmatch(to or "")
    release = asked or _RELEASE.fullmatch(tag or "")
    name = _name(upstream, commit, release)
    date = repo.text("log", "-1", "--format=%cI", commit)
    new = replace(upstream, commit=commit, date=date, release=name, tag=tag, sdist=None)
    every, left_out, note = rows_at(repo, upstream, commit, upstream.covers), _left_out(repo, upstream, old), ""
    manifest: Manifest = {path: entry for path, entry in every.items() if path not in left_out}
    if upstream.project and release:
        version = release.group(1)
        try:
            new, manifest = _with_sdist(new, upstream.project, version, every, scratch / "release", report)
        except UserError as error:
            if asked and not isinstance(error, Unreachable):
                raise
            note = f"{error}: the pin goes without an sdist"
    new = replace(new, tree=tree_id(manifest))
    fetched = fetch(new, manifest, source="git", mirror=origin.mirror, scratch=scratch, report=report)
    return Candidate(new, manifest, fetched.folder, note)


def _name(upstream: Upstream, commit: str, release: re.Match[str] | None) -> str:
    """Return what the pin calls its release: the old one's name and the commit, where the commit is no release."""
    if release is not None:
        return _plain(release.group(1) if upstream.project else release.group())
    return _plain(f"{_COMMIT.sub('', upstream.release)}+{commit[:12]}")


def release_of(last: str, commit: str, tag: str | None) -> str:
    """Return what a new pin calls its release: its tag, or the last tag before it and the commit."""
    return _plain(tag or f"{last}+{commit[:12]}")


def from_sdist(
    upstream: Upstream, old: Manifest, to: str | None, commit: str | None, scratch: Path, report: Report
) -> Candidate:
    """Take a release's sdist; the commit id is the one given, or marked as unresolved: never invented."""
    release = _RELEASE.fullmatch(to or "")
    if upstream.project is None or release is None:
        raise UserError(f"{upstream.name}: name a release that has an sdist: --to X.Y.Z")
    archive, sha256 = download_release(upstream.project, release.group(1), scratch, report)
    members = members_of(archive)
    covered = {path: data for path, (data, _) in members.items() if _covers(upstream, path)}
    manifest = {p: Entry(old[p].mode if p in old else "100644", blob_id(data)) for p, data in sorted(covered.items())}
    newest = datetime.fromtimestamp(max(when for _, when in members.values()), timezone.utc)
    tagged = upstream.tag or "+" in upstream.release  # a pin that is a commit says nothing about its upstream's tags
    new = replace(
        upstream,
        commit=commit or UNRESOLVED,
        release=release.group(1),
        tree=tree_id(manifest),
        date=newest.isoformat(timespec="seconds"),
        tag=f"v{release.group(1)}" if tagged else None,
        sdist=Sdist(upstream.project, release.group(1), sha256),
    )
    unpack(archive, scratch / "files", manifest)
    note = "" if commit else "the commit id is unresolved: `--commit ID` gives it, once you have looked it up"
    return Candidate(new, manifest, scratch / "files", note)


def _with_sdist(
    new: Upstream, project: str, version: str, manifest: Manifest, scratch: Path, report: Report
) -> tuple[Upstream, Manifest]:
    """Return pin and manifest with the release's sdist, and only files that both hold.

    Raises UserError where they hold a file differently: then that commit is not the release.
    """
    archive, sha256 = download_release(project, version, scratch, report)
    members = members_of(archive)
    both = {path: entry for path, entry in manifest.items() if path in members}
    wrong = [path for path, entry in both.items() if blob_id(members[path][0]) != entry.blob]
    if wrong:
        raise UserError(
            f"commit {new.commit[:12]} is not {project} {version}: {wrong[0]} differs from the sdist "
            f"(and {len(wrong) - 1} more); name the release's commit: --to COMMIT"
        )
    return replace(new, sdist=Sdist(project, version, sha256)), both


def rows_at(repo: Repo, upstream: Upstream, commit: str, covers: Sequence[str]) -> dict[str, Entry]:
    """Return the plain covered files of a commit; raises UserError where there are none."""
    rows = repo.text("ls-tree", "-r", "-z", commit, "--", *covers).split("\0")
    found = {}
    for row in filter(None, rows):
        head, path = row.split("\t", 1)
        mode, _, blob = head.split(" ")
        if mode in ("100644", "100755") and is_plain(path):
            found[path] = Entry(mode, blob)
    if not found:
        raise UserError(f"commit {commit[:12]} of {upstream.name} holds none of {', '.join(covers)}")
    return found


def _left_out(repo: Repo, upstream: Upstream, old: Manifest) -> set[str]:
    """Return the covered files of the old commit that its manifest leaves out: notebooks, say. They stay out.

    Where the new pin has an sdist, that decides instead.
    """
    there = repo.run("cat-file", "-e", f"{upstream.commit}^{{commit}}", check=False).status == 0
    if not there:
        return set()
    return rows_at(repo, upstream, upstream.commit, upstream.covers).keys() - old.keys()


def tag_of(repo: Repo, to: str | None, commit: str) -> str | None:
    """Return the tag that names the commit, if there is one."""
    tags = repo.text("tag", "--points-at", commit).split()
    return next((tag for tag in tags if tag in (to, f"v{to}")), tags[0] if tags else None)


def _plain(name: str) -> str:
    """Return a release name as the pin file takes it."""
    return re.sub(r"[^A-Za-z0-9._-]", "-", name)


def _covers(upstream: Upstream, path: str) -> bool:
    """Return whether a path is covered by the pin."""
    return any(path == cover or (cover.endswith("/") and path.startswith(cover)) for cover in upstream.covers)
