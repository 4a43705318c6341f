# SPDX-License-Identifier: AGPL-3.0-or-later
"""Writing the kit's own files: pins, manifests and patches change together or not at all.

A journal in the kit's .git names the files before the first of them is touched. A killed run leaves it, and the next
command puts the files back to what the last commit says: the old pin before the commit, the new one after it.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path

from prunekit.errors import UserError
from prunekit.gitrepo import GitError, Repo
from prunekit.kitdir import Kit

_JOURNAL = "prunekit-writing.json"
Files = Mapping[str, bytes | None]  # path below the kit's root -> content, or None for a file to remove


def dirty(kit: Kit, *paths: str) -> list[str]:
    """Return the files below these paths that differ from the kit's last commit, untracked ones included.

    Raises UserError where the kit is no git checkout.
    """
    repo = _repo(kit)
    listed = repo.text("status", "--porcelain", "--untracked-files=all", "-z", "--no-renames", "--", *paths)
    return [row[3:] for row in listed.split("\0") if row]


def need_clean(kit: Kit, *paths: str) -> None:
    """Raise UserError naming the first file that has changes which no commit holds."""
    found = dirty(kit, *paths)
    if found:
        raise UserError(
            f"{found[0]} has changes that no commit holds{f' (and {len(found) - 1} more)' if len(found) > 1 else ''}: "
            f"commit them, or put them away (git -C {kit.root} stash), then run the command again; nothing was written"
        )


def recover(kit: Kit) -> None:
    """Finish what a killed run left: every file that it named is as the kit's last commit says, or gone."""
    journal = _journal(kit)
    if journal is None:
        return
    for half in journal.parent.glob(f".{_JOURNAL}.prunekit-*"):
        half.unlink()
    if not journal.is_file():
        return
    repo = _repo(kit)
    lock = journal.with_name("index.lock")
    if lock.is_file() and lock.stat().st_mtime >= journal.stat().st_mtime:
        lock.unlink()  # of a git that was killed with the run that left the journal
    try:
        paths = list(json.loads(journal.read_text()))
    except ValueError:
        paths = []  # killed while it was being written, before any file was touched
    for path in paths:
        for half in (kit.root / path).parent.glob(".*.prunekit-*"):
            half.unlink()
        if repo.run("cat-file", "-e", f"HEAD:{path}", check=False).status:
            (kit.root / path).unlink(missing_ok=True)
            repo.run("rm", "--quiet", "--cached", "--ignore-unmatch", "--", path)
        else:
            repo.run("checkout", "--quiet", "HEAD", "--", path)
    journal.unlink(missing_ok=True)


def write(kit: Kit, files: Files) -> None:
    """Write the files into the working tree, each whole; leaves committing to the user."""
    for path, content in files.items():
        _put(kit.root / path, content)


def commit(kit: Kit, files: Files, message: str) -> str:
    """Write the files and commit exactly them; returns the commit id. Whatever happens, all or none of it is there."""
    repo, journal = _repo(kit), _journal(kit)
    assert journal is not None
    head = repo.text("rev-parse", "HEAD")
    made = _make_commit(repo, files, message, head, journal.with_name("prunekit-index"))
    _put(journal, json.dumps(sorted(files)).encode())
    try:
        write(kit, files)
        present = [path for path, content in files.items() if content is not None]
        gone = [path for path, content in files.items() if content is None]
        repo.run("update-index", "--add", "--", *present)
        if gone:
            repo.run("update-index", "--force-remove", "--", *gone)
        repo.run("update-ref", "-m", "prunekit pins update", "HEAD", made, head)
        journal.unlink()
    except BaseException:
        recover(kit)
        raise
    return made


def _make_commit(repo: Repo, files: Files, message: str, head: str, index: Path) -> str:
    """Return a commit on top of `head` with these files changed; no branch and no file moves."""
    aside = repo.with_env(GIT_INDEX_FILE=str(index))
    index.with_name(f"{index.name}.lock").unlink(missing_ok=True)  # of a killed run
    try:
        aside.run("read-tree", head)
        rows = []
        for path, content in files.items():
            blob = (
                repo.text("hash-object", "-w", "--stdin", "--no-filters", stdin=content)
                if content is not None
                else "0" * 40
            )
            rows.append(f"{'100644' if content is not None else '0'} {blob}\t{path}\0")
        aside.run("update-index", "-z", "--index-info", stdin="".join(rows).encode())
        person = _person(repo)
        return aside.with_env(**person).text(
            "commit-tree", "-p", head, "-F", "-", aside.text("write-tree"), stdin=message.encode()
        )
    finally:
        index.unlink(missing_ok=True)


def _person(repo: Repo) -> dict[str, str]:
    """Return the user's own name for the commit, where git knows one: it is their repository."""
    asked = Repo(repo.folder, fetching=True)
    name, email = (asked.run("config", f"user.{key}", check=False).out.decode().strip() for key in ("name", "email"))
    if not name or not email:
        return {}
    return {
        f"GIT_{who}_{what}": value
        for who in ("AUTHOR", "COMMITTER")
        for what, value in (("NAME", name), ("EMAIL", email))
    }


def _put(path: Path, content: bytes | None) -> None:
    """Write or remove one file, whole."""
    if content is None:
        path.unlink(missing_ok=True)
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f".{path.name}.prunekit-{os.getpid()}")
    aside.write_bytes(content)
    os.replace(aside, path)


def _repo(kit: Kit) -> Repo:
    """Return the kit's own repository; raises UserError where there is none."""
    repo = Repo(kit.root)
    try:
        top = repo.text("rev-parse", "--show-toplevel")
    except GitError:
        top = ""
    if not top or Path(top).resolve() != kit.root:
        raise UserError(
            f"{kit.root} is no git checkout of the kit, and pins and patches change only in one; name it: --kit DIR"
        )
    return repo


def _journal(kit: Kit) -> Path | None:
    """Return where the journal lies, or None where the kit is no checkout."""
    folder = Repo(kit.root).run("rev-parse", "--absolute-git-dir", check=False)
    return Path(folder.out.decode().strip()) / _JOURNAL if folder.status == 0 else None
