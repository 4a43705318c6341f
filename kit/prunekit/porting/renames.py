# SPDX-License-Identifier: AGPL-3.0-or-later
"""A file that upstream no longer has: its new name where git finds one, else the files that hold its functions now."""

from __future__ import annotations

from collections.abc import Iterable

from prunekit.git import Repo
from prunekit.porting.syntax_blocks import parse


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
    text = repo.run("cat-file", "blob", f"{commit}:{path}", check=False).out.decode("utf-8", "replace")
    try:
        return set(parse(text).scopes)
    except (SyntaxError, ValueError):
        return set()


def moved_to(repo: Repo, old: str, new: str, path: str, scopes: Iterable[str]) -> str:
    """Return, in words, where functions stand now that a file no longer has: in the file itself, or in another one.

    A place counts where it is new: a mixin or base class that came to hold the function, a module it was moved to.
    """
    there = _scopes(repo, new, path)
    found = [_new_place(repo, old, new, path, name) for name in sorted(set(scopes) - there)]
    return "".join(f"; {it}" for it in found if it)


def _new_place(repo: Repo, old: str, new: str, path: str, name: str) -> str:
    """Return where one function or class stands now, or nothing."""
    bare = name.rpartition(".")[2]
    words = ("diff-tree", "-r", "-z", "--no-renames", "--name-only", "--pickaxe-regex")
    rows = repo.text(*words, rf"-S(def|class)[ \t]+{bare}[^A-Za-z0-9_]", old, new).split("\0")
    files = [path, *(it for it in rows if it.endswith(".py") and it != path)]
    places = []
    for file in files:
        known = _scopes(repo, old, file)
        fresh = [it for it in _scopes(repo, new, file) - known if it.rpartition(".")[2] == bare]
        places += [(it != name, f"{name} is in {file} now" + (f", as {it}" if it != name else "")) for it in fresh]
    return min(places, default=(False, ""))[1]
