# SPDX-License-Identifier: AGPL-3.0-or-later
"""How results are shown: lines for people, JSON for scripts."""

from __future__ import annotations

import os
import re
import shlex
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import click

from prunekit.console import Console, plain
from prunekit.extras import extra_of, install_command, own_needs
from prunekit.fork.doctor import Check, installed
from prunekit.fork.local_changes import local_work
from prunekit.fork.own_needs import lacking
from prunekit.fork.reading import foreign_owner
from prunekit.fork.repository import Record
from prunekit.fork.setup import Outcome
from prunekit.fork.status import Fork, Status, Verdict, diff_of
from prunekit.fork.takeout import Removed
from prunekit.fork.upgrade import Upgraded
from prunekit.upstream.pins import UNRESOLVED, Pins

_NEEDED = ("torch", "torchvision", "torch-pruning")


def show_setup(outcome: Outcome, console: Console) -> None:
    """Show what setup did, and the commands to type next."""
    commands = next_commands(outcome)
    if outcome.status == "created":
        console.say(f"{outcome.target.name} is set up in {outcome.directory}")
        _say_version(outcome, console)
    else:
        made = outcome.record.target
        alike = "" if made == outcome.target.name else f" (the same tree as {outcome.target.name})"
        console.say(f"already set up: {outcome.directory} as {made}{alike}; nothing was touched")
        warn_of_owners([outcome.directory], console)
    console.say("next:")
    for command in commands:
        console.say(f"  {command}")
    console.document(
        {
            "status": outcome.status,
            "directory": str(outcome.directory),
            **asdict(outcome.record),
            "fetched_bytes": outcome.fetched_bytes,
            "backup": str(outcome.backup) if outcome.backup else None,
            "not_pinned": outcome.not_pinned,
            "next": commands,
        }
    )


def _say_version(outcome: Outcome, console: Console) -> None:
    """Say what is known of a version other than the pin, and what is not pinned."""
    record = outcome.record
    if record.at is not None:
        console.say(f"{record.upstream} {record.release}: {record.at.known}")
    if outcome.not_pinned:
        console.say(outcome.not_pinned)
    if record.into is not None:
        was = record.into.was.removeprefix("refs/heads/")
        console.say(f"its commits are on the branch {record.into.branch}; {was} is as it was")
        console.say(f"try it: prunekit pins smoke {_short(outcome.directory)}; take it out: {way_out(outcome)}")


def way_out(outcome: Outcome) -> str:
    """Return the command that takes prunekit out of a clone."""
    return f"prunekit setup {outcome.target.name} --into {shlex.quote(_short(outcome.directory))} --remove"


def next_commands(outcome: Outcome) -> list[str]:
    """Return the commands to type after setup.

    The fork is installed without its dependencies: they come with the kit's extra, and upstream's own list would bring
    a second OpenCV beside the headless one.
    """
    upstream = outcome.target.upstream
    is_package = "/" in upstream.engine  # otherwise its scripts run where they lie
    needed = (*_NEEDED, *own_needs(upstream.name))
    missing = [name for name in needed if installed(name) is None]
    extra = [f"{install_command(extra_of(upstream.name))}  # brings {', '.join(missing)}"] if missing else []
    if outcome.record.at is not None and (own := lacking(outcome.directory, extra_of(upstream.name))):
        extra.append(f"pip install {shlex.join(own)}  # {upstream.name} {outcome.record.release} imports them, too")
    cd = [] if outcome.directory == Path.cwd() else [f"cd {shlex.quote(_short(outcome.directory))}"]
    install = ["pip install --no-deps -e .  # or `yolo` and `import ultralytics` run another copy than this fork"]
    return [*extra, *cd, *(install if is_package else []), *outcome.target.next]


def show_targets(pins: Pins, console: Console) -> None:
    """Show the targets and their pins."""
    rows = []
    for target in pins.targets.values():
        upstream = target.upstream
        rows.append((target.name, target.about, upstream.name, upstream.release, upstream.short))
    console.table(("target", "what", "upstream", "release", "commit"), rows)
    console.document({name: asdict(target) for name, target in pins.targets.items()})


def show_status(statuses: Sequence[Status], console: Console) -> None:
    """Show where each fork stands."""
    rows = []
    for item in statuses:
        record = item.fork.record
        at = " (--into)" if record.into else " (--at)" if record.at else ""
        names = (record.target, f"{record.upstream} {record.release}{at}", _pin(record))
        rows.append((_short(item.fork.directory), *names, item.state, item.work.describe()))
    console.table(("fork", "target", "upstream", "pin", "state", "local work"), rows)
    warn_of_owners([item.fork.directory for item in statuses], console)
    console.document(
        [
            {
                "directory": str(item.fork.directory),
                **asdict(item.fork.record),
                "state": item.state,
                **asdict(item.work),
            }
            for item in statuses
        ]
    )


def _pin(record: Record) -> str:
    """The commit that a fork was made of, shortened; a source distribution names none."""
    return "from the sdist" if record.commit == UNRESOLVED else record.commit[:12]


def warn_of_owners(folders: Sequence[Path], console: Console) -> None:
    """Say which forks belong to another user, and what to type there."""
    for note in filter(None, map(foreign_owner, folders)):
        console.warn(note)


def show_verdicts(verdicts: Sequence[Verdict], console: Console) -> None:
    """Show which files of each fork have drifted, and what to do about it."""
    warn_of_owners([verdict.fork.directory for verdict in verdicts], console)
    for verdict in verdicts:
        place = _short(verdict.fork.directory)
        if verdict.good:
            console.say(f"{place}: {_exactly(verdict.fork.record)}")
            continue
        console.fail(verdict.message or f"{place}: {len(verdict.drift)} files are not what the kit makes")
        for item in verdict.drift:
            console.say(f"  {item.what:<9} {item.path}")
        if verdict.drift:
            console.say(f"see them: prunekit diff {shlex.quote(place)}; {_anew(verdict.fork.record, place)}")
    console.document(
        [
            {
                "directory": str(it.fork.directory),
                "ok": it.good,
                "message": it.message,
                "drift": [asdict(d) for d in it.drift],
            }
            for it in verdicts
        ]
    )


def _exactly(record: Record) -> str:
    """Return what a fork is that has not drifted."""
    if record.into:
        return f"series and drop-ins are exactly what the kit makes on {record.upstream} {record.release}"
    return f"exactly {record.upstream} {record.release}, series and drop-ins"


def _anew(record: Record, place: str) -> str:
    """Return what sets a fork up again, and what it was called."""
    if record.into:
        typed = shlex.join(["prunekit", "setup", record.target, "--into", place, "--remove"])
        return f"take prunekit out, your changes kept: {typed}"
    at = ["--at", record.at.asked] if record.at else []
    return (
        f"set it up again, keeping this one: {shlex.join(['prunekit', 'setup', record.target, place, *at, '--force'])}"
    )


def show_removed(removed: Removed, console: Console) -> None:
    """Show what `setup --into DIR --remove` did."""
    by = f"; commit {removed.commit[:12]} takes it out" if removed.commit else ""
    console.say(f"{removed.directory} is without prunekit, on {removed.on}{by}")
    for note in removed.kept:
        console.warn(f"kept: {note}")
    console.document({"status": "removed", **asdict(removed), "directory": str(removed.directory)})


def show_upgraded(done: Upgraded, console: Console) -> None:
    """Show what `upgrade` did."""
    place = _short(done.directory)
    if done.status != "upgraded":
        said = "is up to date" if done.status == "up to date" else "is as it was: the upgrade was given up"
        console.say(f"{place} {said} ({done.now})")
    else:
        work = f"{done.commits} own commits rebased" + (", uncommitted changes kept" if done.uncommitted else "")
        console.say(f"{place}: {done.was} -> {done.now}; {work}; as it was: refs/prunekit/before")
    console.document({**asdict(done), "directory": str(done.directory)})


def show_diffs(forks: Sequence[Fork], base: str, stat: bool, console: Console) -> None:
    """Show each fork's diff against what setup made or against upstream, as git prints it."""
    documents = []
    warn_of_owners([it.directory for it in forks], console)
    for it in forks:
        if console.as_json:
            rows = [row.split("\t") for row in diff_of(it, base, "--name-status").splitlines()]
            files = [{"path": path, "status": letter} for letter, path in rows]
            documents.append({"directory": str(it.directory), "from": base, "files": files})
            continue
        color = "--color=always" if sys.stdout.isatty() else "--color=never"
        text = diff_of(it, base, color, *(["--stat"] if stat else []))
        text = _on_terminal(text) if sys.stdout.isatty() else text
        click.echo(text or f"{_short(it.directory)}: nothing differs from {base}")
        untracked = local_work(it.directory, it.record).untracked
        if untracked:
            console.warn(f"{len(untracked)} untracked files are not shown: {', '.join(untracked[:3])} ...")
    console.document(documents)


def _on_terminal(text: str) -> str:
    """Return git's output with its colours, and every other control character written out."""
    parts = re.split(r"(\x1b\[[\d;]*[mK])", text)
    return "".join(part if number % 2 else plain(part) for number, part in enumerate(parts))


def show_checks(checks: Sequence[Check], console: Console) -> None:
    """Show the doctor's findings."""
    console.table(("", "check", "found"), [(check.state, check.name, check.text) for check in checks])
    for check in checks:
        if check.fix and check.state != "ok":
            console.say(f"{check.name}: {check.fix}")
    console.document([asdict(check) for check in checks])


def _short(path: Path) -> str:
    """Return the path as seen from here, where that is shorter."""
    return min(str(path), os.path.relpath(path), key=len)
