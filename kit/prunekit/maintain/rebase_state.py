# SPDX-License-Identifier: AGPL-3.0-or-later
"""What a rebase remembers, to go on after a kill: a file in its folder, and the folder's place in the kit's .git.

Everything else (the patches as commits, upstream old and new, what is placed already) is in the folder's repository.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from prunekit import git_objects
from prunekit.errors import UserError
from prunekit.git import Repo
from prunekit.kit import Kit
from prunekit.maintain.series_repo import Bench
from prunekit.upstream.new_pin import Candidate
from prunekit.upstream.pins import Sdist, Upstream

BRANCH, OLD = "refs/heads/series", "refs/prunekit/old"
_STATE, _POINTER = "prunekit-rebase.json", "prunekit-rebase-{}.json"


@dataclass
class State:
    """A rebase: old pin as commit `root` with the patches' `commits` on it, new pin as commit `target`.

    `head` is the last commit that is placed, `rows` what became of each patch so far ([name, verdict]). `stopped` says
    that the patch after those waits for the user.
    """

    upstream: str
    series: str
    root: str
    commits: list[str]
    names: list[str]
    target: str
    new: dict[str, Any]
    head: str
    rows: list[list[str]] = field(default_factory=list)
    stopped: bool = False


def pin_of(values: Mapping[str, Any]) -> Upstream:
    """Return the pin that a state holds."""
    sdist = Sdist(**values["sdist"]) if values["sdist"] else None
    return Upstream(**{**values, "covers": tuple(values["covers"]), "sdist": sdist})


def save(folder: Path, state: State) -> None:
    """Write the state, whole."""
    _write(folder / ".git" / _STATE, asdict(state))


def load(folder: Path) -> State | None:
    """Return the state of a rebase in a folder, or None where there is none."""
    path = folder / ".git" / _STATE
    return State(**json.loads(path.read_text())) if path.is_file() else None


def point(kit: Kit, name: str, folder: Path) -> None:
    """Remember in the kit where the rebase of an upstream lies."""
    _write(_pointer(kit, name), {"folder": str(folder)})


def folder_of(kit: Kit, name: str) -> Path | None:
    """Return where the rebase of an upstream lies, or None where none is under way."""
    path = _pointer(kit, name)
    return Path(json.loads(path.read_text())["folder"]) if path.is_file() else None


def forget(kit: Kit, name: str) -> None:
    """Forget a rebase."""
    _pointer(kit, name).unlink(missing_ok=True)


def under_way(kit: Kit) -> list[str]:
    """Return the upstreams that have a rebase under way."""
    head, tail = _POINTER.split("{}")
    found = [path.name for path in _git_folder(kit).glob(_POINTER.format("*"))]
    return sorted(name.removeprefix(head).removesuffix(tail) for name in found)


def candidate_of(repo: Repo, state: State, scratch: Path) -> Candidate:
    """Return the new pin with its files written out again."""
    own = repo.with_env(GIT_INDEX_FILE=str(scratch.with_name("index")))
    own.run("read-tree", state.target)
    scratch.mkdir(parents=True)
    own.run("checkout-index", "--all", f"--prefix={scratch}/")
    return Candidate(pin_of(state.new), git_objects.files_of(repo, state.target), scratch)


def bench_of(repo: Repo, state: State, upstream: Upstream, patches: list[Path]) -> Bench:
    """Return the rebase's repository as a bench."""
    return Bench(repo, upstream, state.root, patches, state.commits, repo.folder)


def _pointer(kit: Kit, name: str) -> Path:
    """Return the file that remembers the folder."""
    return _git_folder(kit) / _POINTER.format(name)


def _git_folder(kit: Kit) -> Path:
    """Return the kit's .git; raises UserError where it is no checkout."""
    done = Repo(kit.root).run("rev-parse", "--absolute-git-dir", check=False)
    if done.status:
        raise UserError(f"{kit.root} is no git checkout of the kit, and a series is rebased only in one: --kit DIR")
    return Path(done.out.decode().strip())


def _write(path: Path, value: Any) -> None:
    """Write JSON, whole."""
    aside = path.with_name(f".{path.name}.{os.getpid()}")
    aside.write_text(json.dumps(value, indent=1) + "\n")
    os.replace(aside, path)
