# SPDX-License-Identifier: AGPL-3.0-or-later
"""How pins and what becomes of them are shown."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from prunekit.console import Console
from prunekit.moves import Move
from prunekit.pins import Pins
from prunekit.update import Updated


def show_pins(pins: Pins, counts: dict[str, int], console: Console) -> None:
    """Show each pin: commit, release, date, tree, sdist, size of the series."""
    rows = []
    for it in pins.upstreams.values():
        sdist = it.sdist.sha256[:12] if it.sdist else "-"
        rows.append((it.name, it.release, it.commit[:12], it.date[:10], it.tree[:12], sdist, str(counts[it.name])))
    console.table(("upstream", "release", "commit", "date", "tree", "sdist", "patches"), rows)
    console.document({it.name: {**asdict(it), "patches": counts[it.name]} for it in pins.upstreams.values()})


def show_moves(moves: Sequence[Move], console: Console) -> None:
    """Show what happened to each patch, both sides of every conflict included."""
    rows = [(move.name, move.verdict, ", ".join(f"{path}: {v}" for path, v in move.files.items())) for move in moves]
    if rows:
        console.table(("patch", "verdict", "files"), rows)
    for move in moves:
        for it in move.conflicts:
            console.say(f"\n{move.name}, {it.path}: {it.reason}")
            console.say(f"--- the patch, at the old pin\n{it.ours or '(nothing to show)'}")
            console.say(f"--- upstream now\n{it.theirs or '(it is not there)'}")


def show_update(done: Updated, dry_run: bool, console: Console) -> None:
    """Show the result of an update."""
    show_moves(done.moves, console)
    for item in done.tried:
        console.say(f"{'passed' if item.passed else 'FAILED'}  {item.name}")
    if done.candidate.note:
        console.warn(done.candidate.note)
    if dry_run and done.good:
        console.say(f"dry run: {len(done.files)} files would change; nothing was written")
    console.document(document(done, dry_run))


def document(done: Updated, dry_run: bool) -> dict[str, Any]:
    """Return the result of an update for scripts."""
    old, new = done.old, done.candidate.upstream
    patches = [
        {"patch": m.name, "verdict": m.verdict, "files": m.files, "conflicts": [asdict(c) for c in m.conflicts]}
        for m in done.moves
    ]
    pins = {"from": {"release": old.release, "commit": old.commit}, "to": {**asdict(new)}}
    checks = [asdict(item) for item in done.tried]
    changed = sorted(done.files)
    return {
        "upstream": old.name,
        **pins,
        "good": done.good,
        "dry_run": dry_run,
        "patches": patches,
        "checks": checks,
        "changed": changed,
        "fork_tree": done.tree,
        "commit": done.commit,
    }
