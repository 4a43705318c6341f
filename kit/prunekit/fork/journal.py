# SPDX-License-Identifier: AGPL-3.0-or-later
"""What is left to be done of an upgrade once everything of it is made: from the first file that is written on.

It lies in the fork's `.git`, and a fork may come from anybody: ids are ids, or it is not followed.
"""

from __future__ import annotations

import json
import shlex
from dataclasses import asdict, dataclass
from pathlib import Path

from prunekit.errors import UserError
from prunekit.fork import repository as fork
from prunekit.fork.reading import head_ref

PATH = ".git/prunekit-upgrade.json"


@dataclass(frozen=True)
class Journal:
    """Files go from commit `work` to `result`, the branch `ref` ("": HEAD alone) from `tip` to `head`."""

    work: str
    result: str
    tip: str
    head: str
    ref: str = ""


def write(directory: Path, steps: Journal, record: fork.Record) -> None:
    """Write it whole. `record`: what is to be remembered about the fork then."""
    fork.write_whole(directory / PATH, json.dumps({"record": asdict(record), "steps": asdict(steps)}))


def read(directory: Path) -> tuple[Journal, fork.Record] | None:
    """Return what is left to be done, None where nothing is; raises UserError for a file that says something else."""
    path = directory / PATH
    if not path.is_file():
        return None
    fix = f"move the file away; {shlex.quote(str(directory))} is then as its upgrade was killed"
    ids = ("work", "result", "tip", "head")
    return Journal(**fork.texts_in(path, fix, ids, ("ref",), "steps")), fork.record_in(path, fix, "record")


def remove(directory: Path) -> None:
    """Remove it: everything is done."""
    (directory / PATH).unlink(missing_ok=True)


def need_place(directory: Path, steps: Journal, head: str) -> None:
    """Raise UserError unless the branch is checked out that the journal names, at its commit before or after.

    `head`: the commit that is checked out.
    """
    git = ["git", "-C", str(directory)]
    if head_ref(directory) != steps.ref:
        branch = ["switch", steps.ref.removeprefix("refs/heads/")] if steps.ref else ["switch", "--detach", steps.tip]
        typed = shlex.join([*git, *branch])
        raise UserError(f"{directory} is on another branch than when its upgrade was killed: {typed}, then again")
    if head not in (steps.tip, steps.head):
        typed = shlex.join([*git, "reset", "--soft", steps.tip])
        raise UserError(
            f"{directory} is at another commit than when its upgrade was killed: {typed} (files stay as they are), "
            "then again"
        )
