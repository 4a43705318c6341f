# SPDX-License-Identifier: AGPL-3.0-or-later
"""Conflicts that were resolved by hand, remembered: as git's rerere, but as small diffs in the repository.

rerere keeps whole files, which are upstream's; here a file is a diff with its context, `resolved/<upstream>/*.diff`.
Each conflict leaves two: the file at the new pin as a person has made it, and the same file at the old pin, so that the
way back is known, too. One that was resolved in a rebase that has not ended yet waits in the kit's .git.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from prunekit.git import Repo
from prunekit.kit import Kit
from prunekit.porting.anchors import Refused
from prunekit.porting.line_edits import edits
from prunekit.porting.python_file import check_merged
from prunekit.temporary import temporary
from prunekit.upstream.manifest import blob_id

FOLDER, _WAITING = "resolved", "prunekit-resolved"


@dataclass(frozen=True)
class Memory:
    """What is remembered of one upstream: the diffs, by file name."""

    diffs: dict[str, bytes]

    def recall(self, patch: str, path: str, old: str, new: str, target: str) -> str | None:
        """Return `target` as a person once made it for this patch, or None.

        The very same file needs no check: a person has decided. In another one the diff must apply without fuzz and
        mean there what the patch means at its pin.
        """
        mine = [it for it in self.diffs.values() if it.startswith(_head(patch, path))]
        same = f"index {_blob(target)}..".encode()
        for diff in sorted(mine, key=lambda it: same not in it):
            made = _apply(diff, path, target)
            if made is not None and (same in diff or _means_the_same(path, old, new, target, made)):
                return made
        return None


def load(kit: Kit, upstream: str) -> Memory:
    """Return what the repository and unfinished rebases remember of an upstream."""
    folders = [kit.root / FOLDER / upstream, *_waiting(kit, upstream)]
    files = [path for folder in folders for path in sorted(folder.glob("*.diff"))]
    return Memory({path.name: path.read_bytes() for path in files})


def remember(kit: Kit, upstream: str, patch: str, sides: Iterable[tuple[str, str, str]]) -> None:
    """Keep (path, file without the patch, file with it) of one conflict until its rebase is written."""
    for folder in _waiting(kit, upstream):
        folder.mkdir(parents=True, exist_ok=True)
        for path, old, new in sides:
            if old != new:
                key = hashlib.sha256(f"{path} {_blob(old)}".encode()).hexdigest()[:12]
                (folder / f"{_slug(patch)[:40]}-{key}.diff").write_bytes(_head(patch, path) + _diff(path, old, new))


def waiting(kit: Kit, upstream: str) -> dict[str, bytes]:
    """Return the files that a rebase brings into the repository: path below the kit's root -> content."""
    found = [path for folder in _waiting(kit, upstream) for path in sorted(folder.glob("*.diff"))]
    below = Path(FOLDER, upstream)
    fresh = [path for path in found if not (kit.root / below / path.name).is_file()]
    return {str(below / path.name): path.read_bytes() for path in fresh}


def forget_waiting(kit: Kit, upstream: str) -> None:
    """Remove what waited: it is in the repository by now."""
    for folder in _waiting(kit, upstream):
        for path in folder.glob("*.diff"):
            path.unlink()


def _waiting(kit: Kit, upstream: str) -> list[Path]:
    """Return the folder in the kit's .git; none where the kit is no checkout."""
    done = Repo(kit.root).run("rev-parse", "--absolute-git-dir", check=False)
    return [Path(done.out.decode().strip()) / _WAITING / upstream] if done.status == 0 else []


def _slug(patch: str) -> str:
    """Return a patch's name without number and ending: the number may change."""
    return re.sub(r"^\d+-|\.patch$", "", patch)


def _head(patch: str, path: str) -> bytes:
    """Return the first lines of a diff: what it belongs to."""
    return f"patch: {_slug(patch)}\npath: {path}\n\n".encode()


def _blob(text: str) -> str:
    """Return git's id of a text."""
    return blob_id(_bytes(text))


def _bytes(text: str) -> bytes:
    """Return a text as the bytes that it was."""
    return text.encode("utf-8", "surrogateescape")


def _diff(path: str, old: str, new: str) -> bytes:
    """Return a file's change as git's diff, with whole blob ids."""
    with temporary() as folder:
        repo = Repo(folder)
        repo.run("init", "--quiet", "--template=", ".")
        ids = [repo.text("hash-object", "-w", "--stdin", "--no-filters", stdin=_bytes(it)) for it in (old, new)]
        text = repo.run("diff", "--full-index", "--no-ext-diff", "--no-color", *ids).out
    for side, blob in (("a", ids[0]), ("b", ids[1])):
        text = text.replace(f"{side}/{blob}".encode(), f"{side}/{path}".encode())
    return text


def _apply(diff: bytes, path: str, target: str) -> str | None:
    """Return the file with a diff applied, its context found as it is, or None."""
    with temporary() as folder:
        file = folder / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(_bytes(target))
        done = Repo(folder).run("apply", "--whitespace=nowarn", "-", stdin=diff, check=False)
        return None if done.status else file.read_bytes().decode("utf-8", "surrogateescape")


def _means_the_same(path: str, old: str, new: str, target: str, made: str) -> bool:
    """Return whether a remembered change means in another file what the patch means at its pin."""
    if not path.endswith(".py") or len(edits(old, new)) != len(edits(target, made)):
        return False
    try:
        check_merged(old, new, target, made)
    except Refused:
        return False
    return True
