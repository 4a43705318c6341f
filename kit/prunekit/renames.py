# SPDX-License-Identifier: AGPL-3.0-or-later
"""A file that upstream no longer has: its new name where git finds one, else the files that hold its functions now."""

from __future__ import annotations

from collections.abc import Iterable

from prunekit.gitrepo import Repo
from prunekit.syntax import parse


def renamed(repo: Repo, old: str, new: str, path: str) -> str | None:
    """Return the name under which commit `new` has the file of `old`, as git sees it (half of its lines at least)."""
    words = ("diff-tree", "-r", "-z", "-l0", "--find-renames=50%", "--diff-filter=R", "--name-status")
    rows = repo.text(*words, old, new).split("\0")
    return dict(zip(rows[1::3], rows[2::3], strict=False)).get(path)


def holders(repo: Repo, old: str, new: str, scopes: Iterable[str]) -> list[str]:
    """Return the Python files that `new` has and `old` has not, in which all these functions and classes stand."""
    words = ("diff-tree", "-r", "-z", "--no-renames", "--diff-filter=A", "--name-only")
    added = [path for path in repo.text(*words, old, new).split("\0") if path.endswith(".py")]
    wanted = set(scopes)
    return [path for path in added if wanted and wanted <= _scopes(repo, new, path)]


def _scopes(repo: Repo, commit: str, path: str) -> set[str]:
    """Return the qualified names of a file's functions and classes."""
    text = repo.run("cat-file", "blob", f"{commit}:{path}").out.decode("utf-8", "replace")
    try:
        return set(parse(text).scopes)
    except (SyntaxError, ValueError):
        return set()
