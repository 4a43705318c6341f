# SPDX-License-Identifier: AGPL-3.0-or-later
"""How results are shown: lines for people, JSON for scripts."""

from __future__ import annotations

import importlib.metadata
import os
import shlex
from dataclasses import asdict
from pathlib import Path

from prunekit.console import Console
from prunekit.pins import Pins
from prunekit.setup_fork import Outcome

_NEEDED = ("torch", "torchvision", "torch-pruning")


def show_setup(outcome: Outcome, console: Console) -> None:
    """Show what setup did, and the commands to type next."""
    commands = next_commands(outcome)
    if outcome.status == "created":
        console.say(f"{outcome.target.name} is set up in {outcome.directory}")
    else:
        console.say(f"already set up: {outcome.target.name} in {outcome.directory}; nothing was touched")
    console.say("next:")
    for command in commands:
        console.say(f"  {command}")
    console.document(
        {
            "status": outcome.status,
            "directory": str(outcome.directory),
            **asdict(outcome.record),
            "target": outcome.target.name,
            "fetched_bytes": outcome.fetched_bytes,
            "backup": str(outcome.backup) if outcome.backup else None,
            "next": commands,
        }
    )


def next_commands(outcome: Outcome) -> list[str]:
    """Return the commands to type after setup.

    The fork is installed without its dependencies: they come with the kit's extra, and upstream's own list would bring a
    second OpenCV beside the headless one.
    """
    missing = [name for name in _NEEDED if not _installed(name)]
    extra = [f"pip install 'prunekit[{outcome.target.name}]'  # brings {', '.join(missing)}"] if missing else []
    cd = [] if outcome.directory == Path.cwd() else [f"cd {shlex.quote(_short(outcome.directory))}"]
    install = "pip install --no-deps -e .  # or `yolo` and `import ultralytics` run another copy than this fork"
    return [*extra, *cd, install, *outcome.target.next]


def show_targets(pins: Pins, console: Console) -> None:
    """Show the targets and their pins."""
    rows = []
    for target in pins.targets.values():
        upstream = target.upstream
        rows.append((target.name, target.about, upstream.name, upstream.release, upstream.commit[:12]))
    console.table(("target", "what", "upstream", "release", "commit"), rows)
    console.document({name: asdict(target) for name, target in pins.targets.items()})


def _installed(project: str) -> bool:
    """Return whether a project is installed here; looks at its metadata and imports nothing."""
    try:
        importlib.metadata.version(project)
    except importlib.metadata.PackageNotFoundError:
        return False
    return True


def _short(path: Path) -> str:
    """Return the path as seen from here, where that is shorter."""
    return min(str(path), os.path.relpath(path), key=len)
