# SPDX-License-Identifier: AGPL-3.0-or-later
"""What a user has added to a fork since setup, and how it is kept when the fork is set up again."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from prunekit import git_objects
from prunekit.fork import repository as fork
from prunekit.fork.reading import PLAIN_DIFF, reading
from prunekit.git import GitError, Repo


@dataclass(frozen=True)
class LocalWork:
    """Commits on top of setup's, tracked files changed or missing, untracked files (ignored ones too)."""

    commits: tuple[str, ...]
    changed: tuple[str, ...]
    untracked: tuple[str, ...]

    def __bool__(self) -> bool:
        """True where something would be lost with the fork's code; run outputs are counted apart."""
        return bool(self.commits or self.changed)

    def describe(self) -> str:
        """Return one line that says how much there is."""
        parts = [_count(len(self.commits), "own commit"), _count(len(self.changed), "changed file")]
        parts.append(
            _count(len(self.untracked), "file") + " that git does not track or ignores" if self.untracked else ""
        )
        return ", ".join(part for part in parts if part) or "no local work"


def local_work(directory: Path, record: fork.Record) -> LocalWork:
    """Compare a fork with what setup made; reads only."""
    with reading(directory) as repo:
        commits = repo.text("log", "--format=%h %s", f"{record.head}..HEAD").splitlines()
        changed = repo.text("diff", "--name-only", *PLAIN_DIFF, "-z", "HEAD", "--").split("\0")
        untracked = repo.text("ls-files", "--others", "-z").split("\0")
    kept = tuple(path for path in untracked if path and "__pycache__" not in path and ".egg-info/" not in path)
    return LocalWork(tuple(commits), tuple(path for path in changed if path), kept)


def holds(directory: Path, record: fork.Record) -> bool:
    """Return whether what is checked out stands on setup's last commit."""
    with reading(directory) as repo:
        return repo.run("merge-base", "--is-ancestor", record.head, "HEAD", check=False).status == 0


def keep_as_branch(old: Path, new: Repo, name: str) -> str | None:
    """Bring the old fork's commits and changes to tracked files into the new one as a branch; only reads the old one.

    Returns the branch, or None where the old repository is too damaged to read (its folder is kept all the same).
    """
    branch = f"refs/heads/{name}"
    try:
        with reading(old) as room:
            new.run("fetch", "--quiet", "--no-tags", room.env["GIT_DIR"], f"+HEAD:{branch}")
        index = new.with_env(GIT_INDEX_FILE=str(new.folder / ".git" / "backup-index"), GIT_WORK_TREE=str(old))
        index = index.with_env(GIT_DIR=str(new.folder / ".git"))
        index.run("read-tree", branch)
        changed = index.run("diff-files", "--name-only", *PLAIN_DIFF, "-z").out
        index.run("update-index", "--remove", "-z", "--stdin", stdin=changed)
        if index.text("write-tree") != new.text("rev-parse", f"{branch}^{{tree}}"):
            new.run(
                "update-ref",
                branch,
                git_objects.commit(index, f"local changes kept by prunekit setup --force ({name})", branch),
            )
        (new.folder / ".git" / "backup-index").unlink()
    except GitError:
        return None
    return name


def _count(number: int, what: str) -> str:
    """Return "3 changed files", or nothing for 0."""
    return f"{number} {what}{'s' if number != 1 else ''}" if number else ""
