# SPDX-License-Identifier: AGPL-3.0-or-later
"""Commits as patches and patches as commits, so that the same change always makes the same bytes."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from prunekit import git_objects
from prunekit.git import Repo
from prunekit.patches.patch_file import read_hunks
from prunekit.patches.series import replay
from prunekit.text_file import read_text

# Each flag takes out something that differs between machines, versions of git, or days.
_STABLE = (
    "--stdout",
    "--zero-commit",  # the commit's own id says nothing: it depends on the parents
    "--no-signature",  # or the version of git ends every file
    "--full-index",  # 3-way needs whole blob ids, and abbreviations grow with the repository
    "--no-stat",
    "--keep-subject",
    "--no-numbered",
    "--no-renames",
    "--diff-algorithm=myers",
    "--unified=3",
    "--src-prefix=a/",
    "--dst-prefix=b/",
    "--no-ext-diff",
    "--no-textconv",
    "--no-color",
    "--no-notes",
    "--no-attach",
    "--no-base",
)
_LONGEST = 57  # what git format-patch cuts a name to, before ".patch"


@dataclass(frozen=True)
class Mail:
    """A patch file: subject, message (without it), date as written, files changed, lines added and removed."""

    path: Path
    subject: str
    message: str
    date: str
    files: tuple[str, ...]
    added: int
    removed: int

    @property
    def slug(self) -> str:
        """The name without number and ending."""
        return re.sub(r"^\d+-", "", self.path.stem)


def read_mail(path: Path) -> Mail:
    """Read a patch file; raises UserError for one that is no patch."""
    text = read_text(path)
    head, _, diff = text.partition("\ndiff --git ")
    fields, _, message = head.partition("\n\n")
    subject = re.search(r"^Subject: (.*(?:\n[ \t].*)*)", fields, re.MULTILINE)
    date = re.search(r"^Date: (.+)$", fields, re.MULTILINE)
    files = tuple(dict.fromkeys(hunk.path for hunk in read_hunks(path)))
    added, removed = (
        len(re.findall(rf"^{re.escape(sign)}(?!{re.escape(sign * 2)} )", diff, re.MULTILINE)) for sign in "+-"
    )
    title = re.sub(r"\n[ \t]+", " ", subject.group(1)) if subject else ""
    return Mail(path, title, message.strip(), date.group(1) if date else "", files, added, removed)


def commit_series(repo: Repo, patches: list[Path], root: str, report: Callable[[str], None]) -> list[str]:
    """Apply the patches to the index, which holds `root`, each with its own date; returns their commits in order.

    Raises PatchConflict.
    """
    commits, head = [], root
    for path in patches:
        date = read_mail(path).date
        dated = repo.with_env(GIT_AUTHOR_DATE=date) if date else repo
        head = replay(dated, [path], head, report)
        commits.append(head)
    return commits


def render(repo: Repo, commit: str) -> bytes:
    """Return a commit as a patch in canonical form."""
    return repo.run("format-patch", *_STABLE, "-1", commit).out


def file_name(repo: Repo, commit: str, number: int) -> str:
    """Return the name that git format-patch gives the patch at this place of the series."""
    return f"{number:04}-{repo.text('log', '-1', '--format=%f', commit)}"[:_LONGEST] + ".patch"


def export_series(repo: Repo, root: str, commits: list[str], old: list[Path]) -> dict[str, bytes]:
    """Return file name -> bytes of the series, in order.

    An old file is kept, name and bytes, where it makes the same change with the same message: an export that changes
    nothing makes no noise. A name is kept while the subject is the same and the order allows it.
    """
    names = {read_mail(path).slug: path for path in old}
    files: dict[str, bytes] = {}
    parent, last = root, ""
    for number, commit in enumerate(commits, start=1):
        name = file_name(repo, commit, number)
        kept = names.get(re.sub(r"^\d+-", "", name.removesuffix(".patch")))
        if kept is not None and kept.name > last:
            name = kept.name
        same = kept is not None and makes(repo, kept, parent, commit)
        files[name] = kept.read_bytes() if kept is not None and same else render(repo, commit)
        parent, last = commit, name
    return files


def makes(repo: Repo, patch: Path, parent: str, commit: str) -> bool:
    """Return whether a patch file is canonical for this commit: same bytes, author and date apart."""
    made = render(repo, commit)
    return patch.read_bytes() == made or _undated(patch.read_bytes()) == _undated(made)


def _undated(patch: bytes) -> bytes:
    """Return a patch without author and date, which say nothing about the change."""
    head, mark, diff = patch.partition(b"\ndiff --git ")
    return re.sub(rb"^(From|Date): .*$", b"", head, flags=re.MULTILINE) + mark + diff


def changed_files(repo: Repo, one: str, other: str) -> list[str]:
    """Return the paths that differ between two commits."""
    return [
        path
        for path in repo.text("diff-tree", "-r", "--name-only", "--no-renames", "-z", one, other).split("\0")
        if path
    ]


def text_at(repo: Repo, commit: str, path: str) -> str | None:
    """Return a file of a commit, or None where it is not there (or no text)."""
    entry = git_objects.files_of(repo, commit).get(path)
    if entry is None:
        return None
    try:
        return repo.run("cat-file", "blob", entry.blob).out.decode("utf-8")
    except UnicodeDecodeError:
        return None
