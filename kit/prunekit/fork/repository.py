# SPDX-License-Identifier: AGPL-3.0-or-later
"""The fork as a git repository: a root commit that is the upstream at its pin, and what setup remembers about it.

Identity, dates and order are fixed, so the same kit makes the same commit ids on every machine and from either source.
What setup remembers lies in `.git`, where it is in nobody's way and in no tree id.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from prunekit.errors import UserError
from prunekit.git import NO_CONVERSION, Repo
from prunekit.git_objects import Manifest, add_blobs, commit, stage
from prunekit.text_file import read_text
from prunekit.upstream.pins import Upstream

RECORD = ".git/prunekit.json"
# These end up in command lines, and a fork may come from anybody.
_SHA, _NAME = r"[0-9a-f]{40}", r"\w[\w./+@#=,-]*"
_SHAPES = dict.fromkeys(("target", "upstream", "release", "commit", "source"), _NAME)
_SHAPES |= dict.fromkeys(("root", "head", "tree"), _SHA)
_REF = r"[^\s~^:?*\[\\\x00-\x1f]+"  # what git can take for a name below refs/heads
_SHAPES |= {"branch": rf"(?!-){_REF}", "asked": rf"(?!-){_REF}", "was": rf"{_SHA}|refs/heads/{_REF}"}
_SHAPES |= {"date": r"[0-9][0-9T:+Z -]+", "tag": rf"((?!-){_REF})?", "sha256": r"([0-9a-f]{64})?"}
_NO_RECORD = (UserError, ValueError, TypeError, AttributeError, KeyError, RecursionError)
# What training and installing leave behind; not in the tree, so that upstream's files stay upstream's.
_EXCLUDED = "runs/\ndatasets/\nweights/\n*.pt\n*.onnx\n*.engine\n__pycache__/\n*.egg-info/\nbuild/\ndist/\n.venv/\n"


PIN = "refs/prunekit/pin"  # in a fork of another version than the pin: the pin's files, which the series is moved from


@dataclass(frozen=True)
class At:
    """A version other than the pin: what `--at` named, its date and tag, the tree id of its files as they were fetched.

    `sha256`: of the sdist that they come from, if they do. `known`: what the kit's table knew of the release.
    """

    asked: str
    date: str
    tag: str | None
    tree: str
    sha256: str | None
    known: str


@dataclass(frozen=True)
class Into:
    """A clone of the user's own that setup put its commits on: their branch, and what was checked out before."""

    branch: str
    was: str  # a ref, or a commit where none was checked out


@dataclass(frozen=True)
class Record:
    """What setup made: names, the pin, and the ids of the fork's root commit, last commit and tree.

    `at` is there where the fork is of another version than the kit's pin; release and commit are that version's then.
    `into`: where the fork is a clone of the user's own; `root` and the version are then the commit that was there.
    """

    target: str
    upstream: str
    release: str
    commit: str
    source: str
    root: str
    head: str
    tree: str
    at: At | None = None
    into: Into | None = None

    def version(self, pin: Upstream) -> Upstream:
        """Return the upstream as this fork has it: the kit's pin, or the version that `--at` named."""
        if self.at is None:
            return pin
        own = {"commit": self.commit, "release": self.release, "date": self.at.date, "tag": self.at.tag}
        return replace(pin, **own, tree=self.at.tree, sdist=None)  # type: ignore[arg-type]


def start(folder: Path, files: Path, manifest: Manifest, upstream: Upstream) -> tuple[Repo, str]:
    """Make a repository in `folder` whose one commit holds the manifest's files; returns (repository, commit)."""
    folder.mkdir(parents=True)
    Repo(folder).run("init", "--quiet", "--template=", "--initial-branch=main", ".")
    info = folder / ".git" / "info"
    info.mkdir(exist_ok=True)
    info.joinpath("attributes").write_text(NO_CONVERSION)
    info.joinpath("exclude").write_text(_EXCLUDED)
    repo = dated(Repo(folder), upstream)
    repo.run("config", "core.autocrlf", "false")
    add_blobs(repo, [files / path for path in manifest])
    stage(repo, manifest)
    return repo, commit(repo, root_message(upstream))


def root_message(upstream: Upstream) -> str:
    """Return the message of the commit that holds an upstream's files.

    It names the tree, not the commit: the commit of a release that came as an sdist may become known only later, and
    the fork stays the same.
    """
    return f"upstream {upstream.name} {upstream.release} (tree {upstream.tree})"


def keep_pin(repo: Repo, files: Path, manifest: Manifest, pin: Upstream) -> None:
    """Put the pin's files into the object store, under a ref of their own: the series is moved from them, and again."""
    add_blobs(repo, [files / path for path in manifest])
    repo.run("read-tree", "--empty")
    stage(repo, manifest)
    repo.run("update-ref", PIN, commit(dated(repo, pin), root_message(pin)))


def dated(repo: Repo, upstream: Upstream) -> Repo:
    """Return the repository with the pin's date for every commit."""
    return repo.with_env(GIT_AUTHOR_DATE=upstream.date, GIT_COMMITTER_DATE=upstream.date)


def finish(repo: Repo, record: Record) -> None:
    """Point the branch at the last commit, write the files out, remember what was made."""
    repo.run("update-ref", "refs/heads/main", record.head)
    repo.run("reset", "--quiet", "--hard", record.head)
    write_record(repo.folder, record)


def write_record(folder: Path, record: Record) -> None:
    """Write what is to be remembered about a fork, whole."""
    values = {key: value for key, value in asdict(record).items() if value is not None}
    write_whole(folder / RECORD, json.dumps(values, indent=2) + "\n")


def write_whole(path: Path, text: str) -> None:
    """Write a file whole; what lies where it is made, a link of somebody else's say, goes first."""
    fresh = path.with_name(f"{path.name}.new")
    fresh.unlink(missing_ok=True)
    with open(fresh, "x", encoding="utf-8") as file:
        file.write(text)
    fresh.replace(path)


def read_record(folder: Path) -> Record | None:
    """Return what setup remembers about a fork, or None where `folder` is no fork.

    Raises UserError where the record cannot be read.
    """
    path = folder / RECORD
    return record_in(path, f"move {folder} away and set it up again") if path.is_file() else None


def record_in(path: Path, fix: str, key: str = "") -> Record:
    """Return the record in a JSON file, or below a key of it; raises UserError, with `fix`, where there is none."""
    try:
        values = _json(path, key)
        at, into = values.get("at"), values.get("into")
        record = Record(**{**values, "at": At(**at) if at else None, "into": Into(**into) if into else None})
        parts = [asdict(part) for part in (record, record.at, record.into) if part]
        given = {key: "" if value is None else value for part in parts for key, value in part.items()}
        wrong = [key for key, shape in _SHAPES.items() if key in given and not re.fullmatch(shape, given[key])]
    except _NO_RECORD as error:
        raise UserError(f"{path} cannot be read; {fix}") from error
    if wrong:
        raise UserError(f"{path} has no valid '{wrong[0]}'; {fix}")
    return record


def texts_in(path: Path, fix: str, ids: Sequence[str], refs: Sequence[str] = (), key: str = "") -> dict[str, str]:
    """Return commit ids, and refs ("" for none), of a JSON file or below a key of it; raises UserError, with `fix`."""
    shapes = {**dict.fromkeys(ids, _SHA), **dict.fromkeys(refs, rf"(refs/heads/{_REF})?")}
    try:
        values = _json(path, key)
        wrong = [name for name, shape in shapes.items() if not re.fullmatch(shape, values.get(name) or "")]
    except _NO_RECORD as error:
        raise UserError(f"{path} cannot be read; {fix}") from error
    if wrong:
        raise UserError(f"{path} has no valid '{wrong[0]}'; {fix}")
    return {name: values.get(name) or "" for name in shapes}


def _json(path: Path, key: str) -> Any:
    """Return what a JSON file holds, or what is below a key of it."""
    values = json.loads(read_text(path, ""))
    return values[key] if key else values
