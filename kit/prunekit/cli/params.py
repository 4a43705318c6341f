# SPDX-License-Identifier: AGPL-3.0-or-later
"""Words on the command line: folders, checked where they are read, and names, completed in a shell. Click only."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import click

from prunekit.errors import PrunekitError, need_plain
from prunekit.kit import find_kit
from prunekit.upstream.pins import Pins, read_pins


class _Folder(click.Path):
    """A path that can be resolved and named in a message."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the path as typed; raises UsageError or UserError for one that no folder can have."""
        path = Path(os.fsdecode(super().convert(value, param, ctx)))
        need_plain(path)
        try:
            os.stat(path.expanduser().resolve())
        except (FileNotFoundError, NotADirectoryError, PermissionError):
            pass  # what is there, and whether that is wrong, is for the command to say
        except (OSError, RuntimeError, ValueError) as error:
            reason = error.strerror if isinstance(error, OSError) else error
            self.fail(f"cannot use {path}: {reason}; name another DIR", param, ctx)
        return path


PATH = _Folder(path_type=Path)


def targets(context: click.Context, _param: click.Parameter, incomplete: str) -> list[str]:
    """Return the targets that begin with what was typed, for a shell's completion."""
    return _names(context, incomplete, lambda pins: pins.targets)


def upstreams(context: click.Context, _param: click.Parameter, incomplete: str) -> list[str]:
    """Return the upstreams that begin with what was typed, for a shell's completion."""
    return _names(context, incomplete, lambda pins: pins.upstreams)


def _names(context: click.Context, incomplete: str, of: Callable[[Pins], Iterable[str]]) -> list[str]:
    try:
        pins = read_pins(find_kit(context.find_root().params.get("kit")).pins)
    except PrunekitError:  # the command itself says it; a completion is no place for errors
        return []
    return [name for name in of(pins) if name.startswith(incomplete)]
