# SPDX-License-Identifier: AGPL-3.0-or-later
"""What `prunekit` alone says: where one stands, and what to type next."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path

from prunekit import __version__
from prunekit.console import Console
from prunekit.fork.status import Fork
from prunekit.upstream.pins import Pins

_PRUNE = "python prune_one_shot.py --weights best.pt --data my.yaml --epochs 20 --target-macs 0.5"


def show_start(pins: Pins, forks: Sequence[Fork], console: Console) -> None:
    """Show the forks that are here, or how to make one, and the commands that come next."""
    console.say(
        f"prunekit {__version__}: prune a trained YOLO detector, and keep using it with the upstream's commands"
    )
    console.say()
    rows = _in_forks(forks) if forks else _without_fork(pins)
    rows += [("prunekit doctor", "what would keep it from working here"), ("prunekit --help", "all commands")]
    console.table(("type next", "it does"), rows)


def _without_fork(pins: Pins) -> list[tuple[str, str]]:
    """Return what to type where there is no fork: one row for each upstream's first target."""
    firsts: dict[str, str] = {}
    for name, target in pins.targets.items():
        firsts.setdefault(target.upstream.name, name)
    rows = [("prunekit demo v8", "prunes a small detector on bundled data: about ten minutes on a CPU")]
    for upstream, name in firsts.items():
        alike = [it.name for it in pins.targets.values() if it.upstream.name == upstream and it.name != name]
        also = f" (the same: {', '.join(alike)})" if alike else ""
        release = pins.upstreams[upstream].release
        rows.append((f"prunekit setup {name}", f"makes a fork of {upstream} {release} in forks/{name}{also}"))
    return rows


def _in_forks(forks: Sequence[Fork]) -> list[tuple[str, str]]:
    """Return what to type where there are forks."""
    rows = []
    for it in forks:
        inside = Path.cwd().is_relative_to(it.directory)
        place = "" if inside else f"cd {shlex.quote(_near(it.directory))} && "
        rows.append((f"{place}{_PRUNE}", f"prunes best.pt in the fork of {it.record.upstream} {it.record.release}"))
    return [*rows, ("prunekit status", "says what state these forks are in")]


def _near(folder: Path) -> str:
    """Return a folder as it is typed from here."""
    return str(folder.relative_to(Path.cwd())) if folder.is_relative_to(Path.cwd()) else str(folder)
