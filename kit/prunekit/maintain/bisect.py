# SPDX-License-Identifier: AGPL-3.0-or-later
"""`prunekit why`: the first upstream commit at which a patch has no place; `pins check`: what is coming."""

from __future__ import annotations

import itertools
import re
from dataclasses import dataclass, replace
from datetime import datetime, timezone

from prunekit.console import Report
from prunekit.errors import UserError
from prunekit.git import Repo
from prunekit.kit import Kit
from prunekit.maintain.edit_series import find_patch, pick
from prunekit.maintain.probe import Probe
from prunekit.maintain.series_repo import scratch, set_up_bench
from prunekit.porting.file import FAILED
from prunekit.porting.memory import load
from prunekit.porting.series import Conflict, text_of
from prunekit.porting.syntax_blocks import changed_scopes
from prunekit.upstream.fetch import From
from prunekit.upstream.history import commits_between, head_of, history, resolve
from prunekit.upstream.pins import UNRESOLVED, Upstream, read_pins

_MOST = 60  # lines of an upstream hunk that are shown
_NUMBER = re.compile(r"\d+(?:\.\d+)+")


@dataclass(frozen=True)
class Why:
    """Where a patch breaks: commit ("" where it does not), subject, upstream's diff of our files, both sides.

    `touching` commits change the files, `tried` of them were looked at. `older`: the wish was to go back, and the
    commit is the one that made the patch's place, which is missing before it.
    """

    patch: str
    onto: str
    verdict: str
    commit: str
    subject: str
    diff: str
    conflicts: tuple[Conflict, ...]
    touching: int
    tried: int
    older: bool = False


@dataclass(frozen=True)
class Risk:
    """One patch: commits since the pin that touch its files, and its functions; its fate today."""

    patch: str
    commits: int
    functions: int
    verdict: str


@dataclass(frozen=True)
class Ahead:
    """What has moved upstream since the pin."""

    upstream: str
    head: str
    commits: int
    releases: tuple[str, ...]
    risks: tuple[Risk, ...]
    date: str = ""  # of the pin
    days: int = 0  # since then


def why(kit: Kit, name: str, onto: str, origin: From, report: Report) -> Why:
    """Find the first commit from the pin on the way to `onto` at which the patch has no certain place.

    Bisects over the commits that touch its files, so about log2 of them are looked at, without a checkout.
    """
    item = find_patch(kit, name)
    (upstream,) = pick(read_pins(kit.pins), item.upstream)
    repo = history(upstream, origin.mirror or upstream.url, report)
    upstream = _resolved(upstream, repo)
    target = resolve(repo, upstream, onto)
    with scratch() as folder:
        bench = set_up_bench(kit, upstream, origin, folder, report)
        probe, number = Probe(bench, repo), item.number - 1
        files = probe.files(number)
        rows, older = commits_between(repo, upstream.commit, target, *files), False
        if not rows:
            rows, older = commits_between(repo, target, upstream.commit, *files)[::-1], True
        verdict, conflicts = probe.verdict(number, target)
        if verdict != FAILED:
            return Why(item.mail.path.name, target, verdict, "", "", "", (), len(rows), 1)
        if not rows:
            raise UserError(f"no commit between the pin and {onto} touches {' '.join(files)}: nothing to blame")
        states = [commit for commit, _ in rows]
        states = [*states[1:], target] if older else states  # going back, a commit is undone in the one before it
        first, tried = _first_bad(probe, number, states, report)
        conflicts = probe.verdict(number, states[first])[1]
        words = ("show", "--format=", "--no-ext-diff", "--no-renames", "--unified=3", rows[first][0], "--", *files)
        diff = repo.text(*words).splitlines()
        shown = "\n".join(_near(diff, [c.ours for c in conflicts]))
        commit, subject = rows[first]
        name, told = item.mail.path.name, tuple(conflicts)
        return Why(name, target, FAILED, commit, subject, shown, told, len(rows), tried + 1, older)


def check(kit: Kit, upstream: Upstream, to: str | None, origin: From, report: Report) -> Ahead:
    """Return what has happened upstream since the pin, and what it means for each patch."""
    repo = history(upstream, origin.mirror or upstream.url, report)
    upstream = _resolved(upstream, repo)
    head = resolve(repo, upstream, to) if to else head_of(repo)
    rows = commits_between(repo, upstream.commit, head)
    subjects = [subject for _, subject in rows if upstream.name in subject or subject.startswith("v")]
    releases = tuple(dict.fromkeys(n for subject in subjects for n in _NUMBER.findall(subject)))
    days = _days_since(upstream.date)
    if not rows:
        return Ahead(upstream.name, head, 0, (), (), upstream.date, days)
    with scratch() as folder:
        bench = set_up_bench(kit, upstream, origin, folder, report)
        probe = Probe(bench, repo, memory=load(kit, upstream.name))
        risks = [_risk(probe, upstream, number, head, report) for number in range(len(probe.bench.commits))]
    order = sorted(
        risks, key=lambda r: (r.verdict == FAILED, r.verdict == "re-anchored", r.functions, r.commits), reverse=True
    )
    return Ahead(upstream.name, head, len(rows), releases, tuple(order), upstream.date, days)


def _risk(probe: Probe, upstream: Upstream, number: int, head: str, report: Report) -> Risk:
    """Count the commits that touch a patch's files and functions, and try it on the newest."""
    name = probe.bench.patches[number].name
    every, close = set(), set()
    for path in probe.files(number):
        ours = probe.scopes(number, path)
        for commit, _ in commits_between(probe.history, upstream.commit, head, path):
            report(f"{name[:4]} {commit[:12]}")
            every.add(commit)
            sides = (text_of(probe.history, f"{commit}^", path), text_of(probe.history, commit, path))
            if ours & changed_scopes(*sides) or not ours:
                close.add(commit)
    return Risk(name, len(every), len(close), probe.verdict(number, head)[0])


def _first_bad(probe: Probe, number: int, commits: list[str], report: Report) -> tuple[int, int]:
    """Return the index of the first commit at which the patch fails, and how many were looked at; the last one does."""
    low, high, tried = 0, len(commits) - 1, 0
    while low < high:
        middle, tried = (low + high) // 2, tried + 1
        report(f"{commits[middle][:12]}, {high - low} commits left")
        if probe.verdict(number, commits[middle])[0] == FAILED:
            high = middle
        else:
            low = middle + 1
    return low, tried


def _near(diff: list[str], ours: list[str]) -> list[str]:
    """Return the hunks of a long diff that hold a line of ours, or its first lines."""
    wanted = {line[1:].strip() for text in ours for line in text.splitlines() if line[1:].strip()}
    starts = [n for n, line in enumerate(diff) if line.startswith("@@")] + [len(diff)]
    hunks = [diff[a:b] for a, b in itertools.pairwise(starts)]
    hits = [hunk for hunk in hunks if any(line[1:].strip() in wanted for line in hunk[1:])]
    return ([line for hunk in hits for line in hunk] or diff)[:_MOST]


def _days_since(date: str) -> int:
    """Return the whole days since a date."""
    return (datetime.now(timezone.utc) - datetime.fromisoformat(date.replace("Z", "+00:00"))).days


def _resolved(upstream: Upstream, repo: Repo) -> Upstream:
    """Return the upstream with its commit: the pin's, or what its tag names; UserError where there is neither."""
    if upstream.commit != UNRESOLVED:
        return upstream
    done = repo.run("rev-parse", "--verify", "--quiet", f"refs/tags/{upstream.tag}^{{commit}}", check=False)
    if done.status:
        raise UserError(
            f"the pin of {upstream.name} ({upstream.release}, {_days_since(upstream.date)} days old) has no commit id "
            f"yet, and this repository has no tag {upstream.tag or 'for it'}: name one that has it with --mirror URL"
        )
    return replace(upstream, commit=done.out.decode().strip())
