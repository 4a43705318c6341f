# SPDX-License-Identifier: AGPL-3.0-or-later
"""`setup --into DIR --remove`: the clone without what setup put there, and with everything that the user made since.

Where nothing was made on top, the clone goes back to where it was, and the branch goes. Where something was, history is
not rewritten: one more commit takes prunekit's lines and files out again.
"""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from pathlib import Path

from prunekit import git_objects
from prunekit.console import Console
from prunekit.errors import UserError
from prunekit.fork import repository as fork
from prunekit.fork.checkout import put_back, switch
from prunekit.fork.clone import bring, held, own_git
from prunekit.fork.into import forget, tip_of
from prunekit.fork.local_changes import holds
from prunekit.fork.reading import head_ref, reading
from prunekit.git import Repo
from prunekit.porting.file import merge
from prunekit.upstream.manifest import Entry

_MESSAGE = """prunekit: taken out

`prunekit setup --into DIR --remove`: what prunekit put into {count} files is gone,
what was changed there since is kept.
"""


@dataclass(frozen=True)
class Removed:
    """What `--remove` did: the branch or commit that is checked out now, the commit that it made, what stays."""

    directory: Path
    on: str
    commit: str
    kept: tuple[str, ...]


def take_out(directory: Path, target_upstream: str, console: Console) -> Removed:
    """Take prunekit out of a clone; raises UserError, and changes nothing then."""
    with held(directory):
        record = fork.read_record(directory)
        if record is None or record.into is None:
            what = "is a fork of its own: remove its folder" if record else "has nothing of prunekit's to take out"
            raise UserError(f"{directory} {what}")
        if record.upstream != target_upstream:
            raise UserError(f"{directory} was set up as {record.target}: type that in place of the target")
        with console.step("remove") as step:
            removed = _take_out(directory, record, record.into)
            step.result = f"on {removed.on}"
        forget(directory)
        return removed


def _take_out(directory: Path, record: fork.Record, into: fork.Into) -> Removed:
    """Choose the way: back, one more commit, or only the branch."""
    tip, ref = tip_of(directory, into.branch), f"refs/heads/{into.branch}"
    with reading(directory) as repo:
        head = repo.text("rev-parse", "HEAD")
        is_below = bool(tip) and repo.run("merge-base", "--is-ancestor", record.head, tip, check=False).status == 0
    on = head_ref(directory)
    if not holds(directory, record):
        if is_below and tip != record.head:
            typed = shlex.join(["git", "-C", str(directory), "switch", into.branch])
            raise UserError(
                f"the branch {into.branch} of {directory} has commits of your own on top of prunekit's: {typed}, "
                "then again; or delete the branch"
            )
        return _only_the_branch(directory, record, on or head, head, tip)
    if head == record.head and on in (ref, ""):
        back, there = _back(directory, record, into)
        switch(directory, head, back, there)
        _delete(directory, ref, record.head)
        return Removed(directory, there.removeprefix("refs/heads/") or back, "", ())
    commit, kept = _one_more(directory, record, head)
    if on != ref and tip == record.head:
        _delete(directory, ref, record.head)
    return Removed(directory, on.removeprefix("refs/heads/") or commit, commit, kept)


def _delete(directory: Path, ref: str, tip: str) -> None:
    """Delete a branch that is still where it was."""
    own_git(directory).run("update-ref", "-d", ref, tip)


def _only_the_branch(directory: Path, record: fork.Record, on: str, head: str, tip: str) -> Removed:
    """Delete the branch where it is as setup made it; what a killed setup has written of it goes back."""
    assert record.into is not None
    kept: tuple[str, ...] = ()
    if on == record.into.was and head == record.root:
        with reading(directory) as repo:
            made = repo.run("cat-file", "-e", f"{record.head}^{{commit}}", check=False).status == 0
        own = put_back(directory, record.root, record.head) if made else []
        kept = tuple(f"{path}, which you have changed" for path in own)
    if tip == record.head:
        _delete(directory, f"refs/heads/{record.into.branch}", tip)
    elif tip:
        kept += (f"the branch {record.into.branch}, which is no longer as setup made it",)
    return Removed(directory, on.removeprefix("refs/heads/"), "", kept)


def _back(directory: Path, record: fork.Record, into: fork.Into) -> tuple[str, str]:
    """Return (commit, ref) that were checked out before setup; where that branch is gone, the commit alone."""
    if not into.was.startswith("refs/heads/"):
        return into.was, ""
    tip = tip_of(directory, into.was.removeprefix("refs/heads/"))
    return (tip, into.was) if tip else (record.root, "")


def _one_more(directory: Path, record: fork.Record, head: str) -> tuple[str, tuple[str, ...]]:
    """Commit, on top of HEAD, its files without prunekit's; files and index follow. Returns (commit, what stays)."""
    with reading(directory) as repo:
        own = repo.with_env(GIT_INDEX_FILE=f"{repo.env['GIT_DIR']}/own-index")
        own.run("read-tree", head)
        kept = []
        sides = [git_objects.files_of(repo, it) for it in (record.root, record.head, head)]
        paths = sorted(path for path in sides[0].keys() | sides[1].keys() if sides[0].get(path) != sides[1].get(path))
        for path in paths:
            before, put, now = (side.get(path) for side in sides)
            entry = _without(own, directory, path, before, put, now)
            if entry is None:
                own.run("rm", "--quiet", "--cached", "--ignore-unmatch", "--", path)
            elif entry != now:
                git_objects.stage(own, {path: entry})
            if before is None and entry is not None:
                kept.append(f"{path}, which you have changed")
        commit = git_objects.commit(own, _MESSAGE.format(count=len(paths)), head)
        bring(repo, directory)
    on = head_ref(directory)
    switch(directory, head, commit, on)
    if on:
        own_git(directory).run("update-ref", "-m", "prunekit: taken out", on, commit)
    return commit, tuple(kept)


def _without(
    repo: Repo, directory: Path, path: str, before: Entry | None, put: Entry | None, now: Entry | None
) -> Entry | None:
    """Return a file of HEAD without what setup put into it; raises UserError where the user's lines overlap ours."""
    if now == put or now is None or put is None:
        return before if now == put else now
    if before is None:
        return now
    texts = [repo.run("cat-file", "blob", it.blob).out.decode("utf-8", "surrogateescape") for it in (put, before, now)]
    made = merge(*texts)
    if made is None:
        raise UserError(
            f"{directory / path} has changes of yours in the lines that prunekit put there: take these lines out "
            "by hand (`prunekit diff` shows them), commit, then again"
        )
    data = made.encode("utf-8", "surrogateescape")
    return Entry(now.mode, repo.text("hash-object", "-w", "--stdin", "--no-filters", stdin=data))
