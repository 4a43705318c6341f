# SPDX-License-Identifier: AGPL-3.0-or-later
"""Whose `ultralytics` is this? The fork's own code must run, here and in every process that training starts.

Python finds a fork from its own folder only (or installed with `pip install -e .`). DDP ranks and the tuner's trials
start elsewhere: with another ultralytics in site-packages they would train with that one.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import ultralytics
from ultralytics.pruning.errors import PruneError
from ultralytics.pruning.scratch import temporary_folder

# Looks only, imports nothing: a package's place, as a script in an empty folder would find it.
_FIND = "import importlib.util as u; s = u.find_spec('ultralytics'); print(s.origin if s and s.origin else '')"


def require_own(script: str | Path) -> None:
    """Make sure that this process, and those it will start, run the fork that `script` lies in.

    Says so on stderr if the `yolo` command would run another one: that is how a pruned network goes dense.

    Raises:
        PruneError: another ultralytics was imported; names both places and the way out.
    """
    own, imported = Path(script).resolve().parent / "ultralytics", package_of(ultralytics.__file__)
    if imported != own:
        raise PruneError(
            f"{Path(script).name} belongs to the fork's {own}, but Python imported {imported}. Install the fork into "
            f"this environment: cd {own.parent} && pip install -e ."
        )
    paths = [str(own.parent), *filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))]
    os.environ["PYTHONPATH"] = os.pathsep.join(dict.fromkeys(paths))
    if other := elsewhere(own.parent):
        print(
            f"warning: the yolo command of this environment runs {other}, not this fork: "
            f"cd {own.parent} && pip install -e .",
            file=sys.stderr,
        )


def elsewhere(root: str | Path) -> Path | None:
    """The ultralytics that this environment's `yolo` command would run, if it is not that of the fork at `root`."""
    env = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    find = [sys.executable, "-c", _FIND]
    with temporary_folder() as empty:
        found = subprocess.run(find, cwd=empty, env=env, capture_output=True, text=True, check=False)
    place = found.stdout.strip()
    if not place or package_of(place) == Path(root).resolve() / "ultralytics":
        return None
    return package_of(place)


def package_of(init: str | Path) -> Path:
    """The folder of a package, from the path of its `__init__.py`."""
    return Path(init).resolve().parent
