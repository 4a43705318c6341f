# SPDX-License-Identifier: AGPL-3.0-or-later
"""The series: patches in the order of the `series` file, each one commit, applied to the index without fuzz."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path

from prunekit import git_objects
from prunekit.errors import PatchConflict, UserError
from prunekit.git import GitError, Repo
from prunekit.kit import Kit
from prunekit.patches.patch_file import Hunk, read_hunks
from prunekit.temporary import temporary
from prunekit.text_file import read_text
from prunekit.upstream.manifest import is_plain
from prunekit.upstream.pins import Upstream

_LONGEST = 200  # characters of a name
_FAILED = re.compile(r"error: patch failed: (.+):(\d+)")
_ANY_FILE = re.compile(r"error: (?:patch failed: )?([^:\n]+?)(?::\d+)?: ?(.*)")


def read_series(kit: Kit, upstream: Upstream) -> list[Path]:
    """Return the upstream's patches in order; none where it has no series.

    Raises UserError with file and line for a name that is no patch beside the series file.
    """
    series = kit.patches / upstream.name / "series"
    if not os.path.lexists(series):
        return []
    patches = []
    for number, line in enumerate(read_text(series).splitlines(), start=1):
        name = line.partition("#")[0].strip()
        if not name:
            continue
        if "/" in name or not is_plain(name) or len(name) > _LONGEST or not (series.parent / name).is_file():
            raise UserError(
                f"{series}:{number}: there is no patch '{name[:_LONGEST]}' in {series.parent}; "
                "correct the name, or restore it"
            )
        patches.append(series.parent / name)
    return patches


def replay(repo: Repo, patches: list[Path], head: str, report: Callable[[str], None]) -> str:
    """Apply the patches to the index, which holds `head`, one commit each; returns the last commit.

    Raises PatchConflict naming patch, file and hunk.
    """
    for patch in patches:
        report(patch.name)
        hunks = read_hunks(patch)
        try:
            repo.run("apply", "--cached", "--whitespace=nowarn", str(patch))
        except GitError as error:
            raise _conflict(patch, hunks, error) from error
        head = git_objects.commit(repo, _message(repo, patch), head)
    return head


def _message(repo: Repo, patch: Path) -> str:
    """Return the commit message of a mail patch: subject and text."""
    with temporary() as folder:
        text = Path(folder, "message")
        info = repo.text("mailinfo", "-k", "--encoding=UTF-8", str(text), f"{folder}/diff", stdin=patch.read_bytes())
        subject = re.search(r"^Subject: (.+)$", info, re.MULTILINE)
        return f"{subject.group(1) if subject else patch.stem}\n\n{text.read_text(encoding='utf-8')}"


def _conflict(patch: Path, hunks: list[Hunk], error: GitError) -> PatchConflict:
    """Return the error that names patch, file and hunk, and the command that shows the hunk."""
    failed = _FAILED.search(error.stderr)
    hunk = next((h for h in hunks if failed and (h.path, str(h.old_start)) == failed.groups()), None)
    if hunk:
        place, lines = f"{hunk.path}, hunk {hunk.number} (line {hunk.old_start})", f"{hunk.first},{hunk.last}p"
        return PatchConflict(f"{patch.name} does not apply: {place}; look at it: sed -n '{lines}' {patch}")
    said = _ANY_FILE.search(error.stderr)
    reason = f"{said.group(1)}: {said.group(2)}" if said else str(error)
    return PatchConflict(f"{patch.name} does not apply ({reason}); look at it: less {patch}")
