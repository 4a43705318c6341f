# SPDX-License-Identifier: AGPL-3.0-or-later
"""An upstream's history without its files, kept between runs: commits and trees only, a blob when one is looked at."""

from __future__ import annotations

import difflib
import hashlib
import os
import re
from pathlib import Path

from prunekit.console import Report
from prunekit.errors import Unreachable, UserError
from prunekit.git import GitError, Repo
from prunekit.upstream.pins import Upstream

_RELEASE = re.compile(r"v?\d+(\.\d+)+\S*")


def history(upstream: Upstream, url: str, report: Report) -> Repo:
    """Return a bare repository that holds the history of all branches; fetched each time, blobless where the host can.

    Raises Unreachable.
    """
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "prunekit"
    folder = cache / f"{upstream.name}-{hashlib.sha256(url.encode()).hexdigest()[:12]}.git"
    folder.mkdir(parents=True, exist_ok=True)
    repo = Repo(folder, fetching=True)
    repo.run("init", "--quiet", "--bare", "--template=", ".")
    repo.run("config", "remote.origin.url", url)
    repo.run("config", "remote.origin.promisor", "true")
    repo.run("config", "remote.origin.partialclonefilter", "blob:none")
    refs = ("+refs/heads/*:refs/heads/*", "+refs/tags/*:refs/tags/*")
    try:
        repo.watch("fetch", "--progress", "--prune", "--no-tags", "--filter=blob:none", "origin", *refs, report=report)
    except GitError as error:
        raise Unreachable(
            f"the history of {upstream.name} cannot be fetched from {url} ({error}); try --mirror URL"
        ) from error
    return repo


def resolve(repo: Repo, upstream: Upstream, wanted: str) -> str:
    """Return the commit that a commit id, tag, branch or release names.

    A release without a tag is the one commit whose subject names it. Raises UserError where there is none, or several.
    """
    for name in (f"refs/tags/{wanted}", f"refs/tags/v{wanted}", f"refs/heads/{wanted}", wanted):
        done = repo.run("rev-parse", "--verify", "--quiet", "--end-of-options", f"{name}^{{commit}}", check=False)
        if done.status == 0:
            return done.out.decode().strip()
    if _RELEASE.fullmatch(wanted):
        pattern = re.compile(rf"(?<![\w.]){re.escape(wanted)}(?![\w.]*\d)")
        rows = (row.split(" ", 1) for row in repo.text("log", "--all", "--format=%H %s").splitlines())
        hits = [commit for commit, subject in rows if pattern.search(subject)]
        if len(hits) == 1:
            return hits[0]
        if hits:
            raise UserError(f"{len(hits)} commits of {upstream.name} name {wanted}: say which: --to COMMIT")
    names = repo.text("for-each-ref", "--format=%(refname:lstrip=2)", "refs/heads", "refs/tags").split()
    near = difflib.get_close_matches(wanted, names, n=3, cutoff=0.3) or names[-3:]
    said = f": there is {', '.join(near)}" if near else ""
    raise UserError(f"{upstream.name} has no commit, branch, tag or release '{wanted}'{said}")


def head_of(repo: Repo) -> str:
    """Return the newest commit of the main branch."""
    for name in ("main", "master"):
        done = repo.run("rev-parse", "--verify", "--quiet", f"refs/heads/{name}", check=False)
        if done.status == 0:
            return done.out.decode().strip()
    return repo.text("rev-list", "-1", "--all")


def commits_between(repo: Repo, old: str, new: str, *paths: str) -> list[tuple[str, str]]:
    """Return (commit, subject) from old to new along the main line, oldest first; those that touch `paths`."""
    words = ("log", "--first-parent", "--reverse", "--format=%H %s", f"{old}..{new}", "--", *paths)
    return [(row[:40], row[41:]) for row in repo.text(*words).splitlines()]
