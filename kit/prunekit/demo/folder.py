# SPDX-License-Identifier: AGPL-3.0-or-later
"""A demo's folder: whose it is, who works in it, and how it goes away."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from prunekit import __version__
from prunekit.demo.recipe import Recipe
from prunekit.errors import UserError

RECORD = "demo.json"


def claim(folder: Path, target: str, recipe: Recipe) -> None:
    """Begin a demo's record in its folder, or find that it is this demo's already."""
    record = {
        "prunekit": __version__,
        "target": target,
        "recipe": recipe.as_dict(),
    }
    path = folder / RECORD
    if path.is_file():
        return _same(json.loads(path.read_text(encoding="utf-8")), record, folder)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UserError(f"{folder} exists and holds no demo: name another folder with --dir")
    folder.mkdir(parents=True, exist_ok=True)
    return write_json(path, record)


def _same(found: dict[str, Any], wanted: dict[str, Any], folder: Path) -> None:
    """UserError unless the demo in the folder was begun with these settings."""
    old = {**found, **found.get("recipe", {})}
    new = {**wanted, **wanted["recipe"]}
    other = [f"{key} {old.get(key)!r}, not {new[key]!r}" for key in new if key != "recipe" and old.get(key) != new[key]]
    if other:
        raise UserError(
            f"{folder} holds a demo with {'; '.join(other)}: name another folder with --dir, or --fresh to replace it"
        )


@contextmanager
def held(folder: Path) -> Iterator[None]:
    """Hold a demo's folder against a second process; the system lets go when this one ends, however it ends.

    Raises:
        UserError: another process is at work in it.
    """
    with (folder / ".lock").open("w") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UserError(
                f"another demo is at work in {folder}: wait for it, or name another folder with --dir"
            ) from None
        yield


def clear(folder: Path) -> None:
    """Remove the demo in a folder and nothing else.

    Raises:
        UserError: the folder holds no demo, or one that is at work.
    """
    if not folder.exists():
        return
    if not (folder / RECORD).is_file():
        raise UserError(f"{folder} holds no demo, so --fresh removes nothing: name another folder with --dir")
    with held(folder):
        shutil.rmtree(folder)


def write_json(path: Path, value: Any) -> None:
    """Write a JSON file whole."""
    scratch = path.with_suffix(".part")
    scratch.write_text(json.dumps(value, indent=1) + "\n", encoding="utf-8")
    os.replace(scratch, path)
