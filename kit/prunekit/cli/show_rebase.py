# SPDX-License-Identifier: AGPL-3.0-or-later
"""How a rebase is shown: what is placed, where it stopped, both sides, what to type next."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

from prunekit.cli.show_pins import document, say_tried, show_moves
from prunekit.console import Console
from prunekit.errors import CONFLICT, DONE
from prunekit.maintain.rebase import Rebased
from prunekit.porting.series import Move


def show_rebase(done: Rebased, console: Console) -> int:
    """Show how a rebase command ended; returns the exit code."""
    for note in done.notes:
        console.warn(note)
    if done.rows:
        console.table(("patch", "verdict"), [(name, verdict) for name, verdict in done.rows])
    if done.stopped:
        return _show_stop(done, done.stopped, console)
    if done.updated is None:
        console.document({"folder": str(done.folder), "done": True, "patches": done.rows})
        return DONE
    say_tried(done.updated.tried, console)
    if not done.updated.good:
        console.fail(
            f"the checks fail on {done.updated.candidate.upstream.release}; nothing was written. The series is in "
            f"{done.folder}: amend its commits and --continue, or --abort"
        )
    console.document({"folder": str(done.folder), "done": done.updated.good, **document(done.updated, False)})
    return DONE if done.updated.good else CONFLICT


def _show_stop(done: Rebased, move: Move, console: Console) -> int:
    """Show the patch that stopped."""
    show_moves([move], console)
    files = " ".join(it.path for it in move.conflicts)
    console.fail(
        f"{move.name} stopped. Resolve {files} in {done.folder}, then: git -C {done.folder} add {files} && "
        "prunekit rebase --continue; or leave the patch out: --skip; or give it up: --abort"
    )
    conflicts = [asdict(it) for it in move.conflicts]
    console.document(
        {"folder": str(done.folder), "done": False, "patches": done.rows, "stopped": move.name, "conflicts": conflicts}
    )
    return CONFLICT


def show_abort(folder: Path, console: Console) -> int:
    """Show that a rebase was given up."""
    console.say(f"the rebase in {folder} is given up; pins and patches are as they were")
    console.document({"folder": str(folder), "done": False})
    return DONE
