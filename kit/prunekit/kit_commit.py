# SPDX-License-Identifier: AGPL-3.0-or-later
"""Writing the kit's own files: pins, manifests and patches change together or not at all.

A journal in the kit's .git names the files and the commit, which is made before the first of them is touched. A killed
run leaves it; the next command that writes, or `prunekit pins recover`, finishes what it began. Nothing else does.
"""

from __future__ import annotations

import difflib
import itertools
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from prunekit.errors import UserError
from prunekit.git import GitError, Repo
from prunekit.kit import Kit
from prunekit.temporary import temporary

_JOURNAL = "prunekit-writing.json"
Files = Mapping[str, bytes | None]  # path below the kit's root -> content, or None for a file to remove


def dirty(kit: Kit, *paths: str) -> list[str]:
    """Return the files below these paths that differ from the kit's last commit, untracked ones included.

    Raises UserError where the kit is no git checkout.
    """
    repo = _repo(kit).with_env(GIT_OPTIONAL_LOCKS="0")  # or looking writes the index
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


def unfinished(kit: Kit) -> str:
    """Return what to say where an update was killed while it wrote, or nothing; changes nothing."""
    journal = _journal(kit)
    if journal is None or not journal.is_file():
        return ""
    return (
        "an update was killed while it wrote, so pins, manifests and patches may not fit each other: "
        "`prunekit pins recover` finishes it and keeps what you have edited since"
    )


def recover(kit: Kit) -> list[str]:
    """Finish an update that was killed while it wrote: it had passed its checks, and its commit was made.

    What has been edited since stays: merged into the update's file where both fit, else beside it (FILE.yours), never
    thrown away. Returns what a person should know. Every step may be killed, and is gone on with by the next call.
    """
    journal = _journal(kit)
    if journal is None:
        return []
    for half in journal.parent.glob(f".{_JOURNAL}.prunekit-*"):
        half.unlink()
    if not journal.is_file():
        return []
    repo = _repo(kit)
    lock = journal.with_name("index.lock")
    if lock.is_file() and lock.stat().st_mtime >= journal.stat().st_mtime:
        lock.unlink()  # of a git that was killed with the run that left the journal
    notes = _finish(kit, repo, journal, json.loads(journal.read_text()))
    journal.unlink(missing_ok=True)
    return notes


def _finish(kit: Kit, repo: Repo, journal: Path, plan: dict[str, Any]) -> list[str]:
    """Write what a journal names, on top of whatever has been committed since; returns what to say."""
    head, made, paths = repo.text("rev-parse", "HEAD"), plan["made"], plan["paths"]
    for path in paths:
        for half in (kit.root / path).parent.glob(".*.prunekit-*"):
            half.unlink()
    if repo.run("merge-base", "--is-ancestor", made, head, check=False).status == 0:
        return []  # killed after its commit
    if head != plan["head"]:
        touched = repo.text("diff-tree", "-r", "--name-only", plan["head"], head, "--", *paths).splitlines()
        if touched:
            said = f"an update was killed while it wrote, and commits since have changed {touched[0]}: it is given up"
            return [f"{said}. Look at `git -C {kit.root} status`, and run it again"]
        files = {path: _blob(repo, made, path) for path in paths}
        message = repo.text("log", "-1", "--format=%B", made) + "\n"
        made = _make_commit(repo, files, message, head, journal.with_name("prunekit-index"))
        _put(journal, json.dumps({"head": head, "made": made, "paths": paths}).encode())
    sides = {path: (_blob(repo, head, path), _blob(repo, made, path)) for path in paths}
    notes = [note for path, (old, new) in sides.items() if (note := _finish_file(kit, repo, path, old, new))]
    repo.run("reset", "--quiet", made, "--", *paths)
    repo.run("update-ref", "-m", "prunekit pins recover", "HEAD", made, head)
    return [f"finished the update that was killed while it wrote: {made[:12]}", *notes]


def _finish_file(kit: Kit, repo: Repo, path: str, old: bytes | None, new: bytes | None) -> str:
    """Write one file of a killed update, or what it makes together with an edit made since; returns what to say."""
    file = kit.root / path
    now = file.read_bytes() if file.is_file() else None
    if now in (old, new):
        _put(file, new)
        return ""
    if now is None or new is None or old is None:
        return f"{path} is as you have left it, not as the update would: git -C {kit.root} diff -- {path}"
    merged = _merged(now, old, new)
    if merged is None and _nearer(now, new, old):
        return f"{path}: your edit of the update's own lines stays: git -C {kit.root} diff -- {path}"
    if merged is not None:
        _put(file, merged)
        return f"{path} holds the update and your edit: git -C {kit.root} diff -- {path}"
    beside = _beside(file, now)
    _put(beside, now)
    _put(file, new)
    return f"{path} is the update's: your edit is of the same lines, and lies in {beside.relative_to(kit.root)}"


def _beside(file: Path, content: bytes) -> Path:
    """Return FILE.yours, or FILE.yours-2 and so on: the first that is free, or holds the same already."""
    names = (f"{file.name}.yours{f'-{number}' if number > 1 else ''}" for number in itertools.count(1))
    places = (file.with_name(name) for name in names)
    return next(it for it in places if not os.path.lexists(it) or (it.is_file() and it.read_bytes() == content))


def _merged(now: bytes, old: bytes, new: bytes) -> bytes | None:
    """Return git's 3-way merge, or None where it conflicts."""
    with temporary() as folder:
        for kind, data in (("now", now), ("old", old), ("new", new)):
            (folder / kind).write_bytes(data)
        done = Repo(folder).run("merge-file", "-p", "now", "old", "new", check=False)
    return None if done.status else done.out


def _nearer(now: bytes, one: bytes, other: bytes) -> bool:
    """Return whether a file is an edit of one version rather than of the other."""
    shares = [difflib.SequenceMatcher(None, it.splitlines(), now.splitlines()).ratio() for it in (one, other)]
    return shares[0] >= shares[1]


def _undo(kit: Kit, repo: Repo, journal: Path, files: Files, head: str) -> None:
    """Put back what a run has written that ends before its commit: its own bytes only."""
    if repo.text("rev-parse", "HEAD") == head:
        for path, content in files.items():
            file, old = kit.root / path, _blob(repo, head, path)
            if (file.read_bytes() if file.is_file() else None) == content:
                _put(file, old)
        repo.run("reset", "--quiet", head, "--", *files)
    journal.unlink(missing_ok=True)


def _blob(repo: Repo, commit: str, path: str) -> bytes | None:
    """Return a file of a commit, or None where it has none."""
    done = repo.run("cat-file", "blob", f"{commit}:{path}", check=False)
    return None if done.status else done.out


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
    _put(journal, json.dumps({"head": head, "made": made, "paths": sorted(files)}).encode())
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
        _undo(kit, repo, journal, files, head)
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
