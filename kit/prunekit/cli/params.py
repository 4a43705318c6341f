# SPDX-License-Identifier: AGPL-3.0-or-later
"""Folders on the command line, checked where they are read. Click only."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import click

from prunekit.errors import need_plain


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
