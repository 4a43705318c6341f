# SPDX-License-Identifier: AGPL-3.0-or-later
"""How pins and what becomes of them are shown."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from prunekit.console import Console
from prunekit.maintain.bisect import Ahead, Why
from prunekit.maintain.new_upstream import Added
from prunekit.maintain.update import Updated
from prunekit.porting.series import Move
from prunekit.process import Tried
from prunekit.upstream.manifest import Entry, blob_id, tree_id
from prunekit.upstream.pins import Pins, Upstream


def show_pins(pins: Pins, counts: dict[str, int], console: Console) -> None:
    """Show each pin: commit, release, date, tree, sdist, size of the series."""
    rows = []
    for it in pins.upstreams.values():
        sdist = it.sdist.sha256[:12] if it.sdist else "-"
        rows.append((it.name, it.release, it.commit[:12], it.date[:10], it.tree[:12], sdist, str(counts[it.name])))
    console.table(("upstream", "release", "commit", "date", "tree", "sdist", "patches"), rows)
    console.document({it.name: {**asdict(it), "patches": counts[it.name]} for it in pins.upstreams.values()})


def show_frozen(found: Sequence[tuple[Upstream, list[Path], dict[str, Path]]], console: Console) -> None:
    """Show each upstream's ids: two kits that print the same make the same forks."""
    document = {}
    for it, patches, files in found:
        tree = tree_id({path: Entry("100644", blob_id(file.read_bytes())) for path, file in files.items()})
        ids = {"commit": it.commit, "tree": it.tree, "sdist": it.sdist.sha256 if it.sdist else "-", "drop-ins": tree}
        rows = {**ids, **{path.name: blob_id(path.read_bytes()) for path in patches}}
        document[it.name] = rows
        console.say(f"{it.name} {it.release}")
        for name, value in rows.items():
            console.say(f"  {value:<64}  {name}")
    console.document(document)


def show_moves(moves: Sequence[Move], console: Console) -> None:
    """Show what happened to each patch, both sides of every conflict included."""
    rows = [(move.name, move.verdict, ", ".join(f"{path}: {v}" for path, v in move.files.items())) for move in moves]
    if rows:
        console.table(("patch", "verdict", "files"), rows)
    for move in moves:
        for note in move.notes:
            console.say(f"{move.name}, {note}")
        for it in move.conflicts:
            console.say(f"\n{move.name}, {it.path}: {it.reason}")
            console.say(f"--- the patch, at the old pin\n{it.ours or '(nothing to show)'}")
            console.say(f"--- upstream now\n{it.theirs or '(it is not there)'}")


def show_update(done: Updated, dry_run: bool, console: Console) -> None:
    """Show the result of an update."""
    show_moves(done.moves, console)
    say_tried(done.tried, console)
    if done.candidate.note:
        console.warn(done.candidate.note)
    if dry_run and done.good:
        _show_dry(done, console)
    console.document(document(done, dry_run))


def _show_dry(done: Updated, console: Console) -> None:
    """Say what a real run would write: the pin's lines, the other files, or why it would not get so far."""
    console.say(f"dry run: {len(done.files)} files would change, in one commit; nothing was written")
    console.say(done.pin_change.rstrip())
    for path, data in sorted(done.files.items()):
        console.say(f"{'remove' if data is None else 'write '} {path}")
    if done.blocked:
        console.warn(f"a real run would stop: {done.blocked}")


def show_added(done: Added, console: Console) -> None:
    """Show a new pin, and what to do next."""
    it = done.upstream
    console.say(f"{it.name} {it.release} ({it.commit[:12]}), {done.files} files: {', '.join(it.covers)}")
    if done.commit:
        console.say(f"written in {done.commit[:12]}: {', '.join(done.changed)}")
        console.say("next (CONTRIBUTING.md, Add an upstream; a whole example is in tests/families/toy):")
        console.say(f"  prunekit patches checkout {it.name}    # a commit a patch: AMP off, BN-L1, structure kept")
        console.say(f"  prunekit patches export series/{it.name}")
        console.say(f"  kit/prunekit/dropins/{it.name}/    # adapter, hooks, structure, main, stack, thin scripts")
        console.say(f"  prunekit setup {done.target}")
    else:
        console.say(f"dry run: would write {', '.join(done.changed)}; nothing was written")
    console.document(asdict(done))


def show_recovered(notes: Sequence[str], console: Console) -> None:
    """Say what became of a killed update."""
    for note in notes or ["no update was killed while it wrote"]:
        console.say(note)
    console.document({"notes": list(notes)})


def show_tried(tried: Sequence[Tried], console: Console) -> None:
    """Show the checks of a smoke."""
    say_tried(tried, console)
    console.document([asdict(item) for item in tried])


def say_tried(tried: Sequence[Tried], console: Console) -> None:
    """Say how the checks ended, and what those that failed have printed."""
    for item in tried:
        console.say(f"{'passed' if item.passed else 'FAILED'}  {item.name}")
        if not item.passed:
            console.say(item.said)


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
        "pin_change": done.pin_change,
        "blocked": done.blocked,
        "fork_tree": done.tree,
        "commit": done.commit,
    }


def show_ahead(found: Sequence[Ahead], console: Console) -> None:
    """Show what has moved upstream since each pin, the patch most at risk first."""
    for it in found:
        console.say(f"{it.upstream}: the pin is {it.days} days old ({it.date[:10]})")
        if not it.commits:
            console.say(f"{it.upstream}: nothing has moved, the pin is upstream's newest commit ({it.head[:12]})")
            continue
        named = f", releases {', '.join(it.releases)}" if it.releases else ""
        console.say(f"{it.upstream}: {it.commits} commits since the pin{named}; newest {it.head[:12]}")
        rows = [(r.patch, str(r.commits), str(r.functions), r.verdict) for r in it.risks]
        if rows:
            console.table(
                ("patch (most at risk first)", "touch its files", "touch its functions", "on the newest"), rows
            )
    console.document([asdict(it) for it in found])


def show_why(it: Why, console: Console) -> None:
    """Show where a patch breaks, upstream's change beside ours."""
    if not it.commit:
        console.say(f"{it.patch} has its place at {it.onto[:12]}: {it.verdict} ({it.touching} commits touch its files)")
    else:
        when = "before" if it.older else "since"
        console.say(f"{it.patch} has no certain place {when} {it.commit[:12]} {it.subject}")
        console.say(f"({it.tried} of {it.touching} commits that touch its files were looked at)")
        for conflict in it.conflicts:
            console.say(f"\n{conflict.path}: {conflict.reason}")
            console.say(f"--- ours, at the pin\n{conflict.ours}")
        console.say(f"--- upstream's change\n{it.diff}")
    console.document(asdict(it))
