# SPDX-License-Identifier: AGPL-3.0-or-later
"""Start a script: is what YOLOv5 needs there? Then run it; what the user can fix is one line."""

from __future__ import annotations

import importlib.util
import os
import re
from pathlib import Path

from pruning.errors import PruneError
from pruning.scripts.prune import require_own
from pruning.scripts.start import Stack

LEAST = (8, 4, 118)
INSTALL = "pip install 'ultralytics-opencv-headless>=8.4.118' pandas seaborn tqdm"


def require_stack(root: Path) -> None:
    """Make sure of the `ultralytics` package that YOLOv5 leans on, and that `pruning` is this fork's.

    Raises:
        PruneError: naming what was found and what to type.
    """
    os.environ.setdefault("YOLO_AUTOINSTALL", "false")  # nothing is installed behind the user's back
    require_own(root)
    version = _version_of_ultralytics()
    if version is None:
        raise PruneError(f"YOLOv5 needs the ultralytics package, which is not installed. Type: {INSTALL}")
    numbers = tuple(int(part) for part in version.split(".")[:3] if part.isdigit())
    if numbers < LEAST:
        raise PruneError(
            f"YOLOv5 needs ultralytics 8.4.118 or newer, this environment has {version}. Type: {INSTALL} (a fork of "
            "ultralytics that is installed here needs an environment of its own)"
        )


def _version_of_ultralytics() -> str | None:
    """The version of the package that would be imported; None without one.

    Read, not imported; and not asked of pip, for upstream publishes the package under two names, one for each OpenCV.
    """
    spec = importlib.util.find_spec("ultralytics")
    if spec is None or spec.origin is None:
        return None
    found = re.search(r"""^__version__ = ["'](.+?)["']""", Path(spec.origin).read_text(encoding="utf-8"), re.MULTILINE)
    return found[1] if found else None


_STACK = Stack("prunekit_v5", "YOLOv5", INSTALL, require_stack)
start, launch, pruning = _STACK.start, _STACK.launch, _STACK.pruning
