# SPDX-License-Identifier: AGPL-3.0-or-later
"""The folder of a run: chosen, made and locked in one step, and taken away again where the run never began."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ..errors import Busy, PruneError
from ..failures import reason_of
from ..family.contract import Choose
from ..files import LOCK, locked
from .record import REPORT

PLAN, REPLAYED, TABLE = "plan.yaml", "replayed_plan.yaml", "sensitivity_table.json"
BEGUN = (REPORT, REPLAYED, TABLE)  # what a run begins with
WRONG = "Give another --project or --name."
LONGEST_NAME = 255  # bytes: what file systems take


def run_folder(base: Path, numbered: Callable[[Path], Any]) -> Path:
    """`base`, or what upstream's `numbered` makes of it if another run is there; --plan-only leaves just a plan.

    Raises:
        PruneError: nothing can be made there.
    """
    check_folder(base)
    taken = base.exists() and any(file.name != PLAN for file in base.iterdir())
    return Path(numbered(base)) if taken else base


def check_folder(folder: Path) -> None:
    """Refuse a folder that cannot be made, before the work whose results it is for.

    Raises:
        PruneError: naming it and --project / --name.
    """
    if any(not sign.isprintable() for sign in os.fsencode(folder).decode(errors="replace")):
        raise PruneError(f"{folder}: line breaks and control characters have no place in a folder's name. {WRONG}")
    if any(len(os.fsencode(part)) > LONGEST_NAME for part in folder.parts):
        raise PruneError(f"{str(folder)[:60]}...: a name of more than {LONGEST_NAME} bytes. {WRONG}")
    there = next(place for place in (folder, *folder.absolute().parents) if os.path.lexists(place))
    if not there.is_dir():
        raise PruneError(f"{folder} cannot be a folder, for {there} is none. {WRONG}")
    if not os.access(there, os.W_OK | os.X_OK):
        raise PruneError(f"{folder} cannot be made: {there} is not writable. {WRONG}")


@contextmanager
def reserved(choose: Choose) -> Iterator[Path]:
    """A folder that no other process gets; if what is done with it fails, it is gone again (unless it was there).

    Args:
        choose: the next folder that is not taken, by what is there now.
    """
    folder, made = _made(choose)
    try:
        yield folder
    except Exception:
        if made:  # what was there before is not ours to remove
            take_back(folder, made)
        raise


@contextmanager
def claimed(choose: Choose) -> Iterator[tuple[Path, list[Path]]]:
    """A folder that this process alone works in, and what of its path is new."""
    while True:
        folder, made = _made(choose)
        lock = locked(folder)
        try:
            lock.__enter__()
        except Busy:
            if choose() == folder:
                raise
            continue
        break
    try:
        yield folder, made
    finally:
        lock.__exit__(None, None, None)


def _made(choose: Choose) -> tuple[Path, list[Path]]:
    """Make the folder; of two processes that chose the same one, mkdir lets one have it."""
    while True:
        folder = choose()
        made = [place for place in (folder, *folder.parents) if not place.exists()]
        try:
            folder.parent.mkdir(parents=True, exist_ok=True)
            folder.mkdir()
            return folder, made
        except OSError as error:
            if not folder.is_dir():  # os.access said that it could be: root on a file system that takes nothing
                why = f"{reason_of(error)}. Is the place writable?"
                raise PruneError(f"{folder} cannot be made: {why} {WRONG}") from error
            if choose() == folder:  # empty, or with a plan alone, or --exist-ok
                return folder, []


def take_back(folder: Path, made: list[Path]) -> None:
    """Remove a folder in which nothing was done; of one that was there before, what a run begins with."""
    if folder in made:
        shutil.rmtree(folder, ignore_errors=True)
    else:
        for name in (*BEGUN, LOCK):
            (folder / name).unlink(missing_ok=True)
    for place in made:
        if place.is_dir() and not any(place.iterdir()):
            place.rmdir()
