# SPDX-License-Identifier: AGPL-3.0-or-later
"""Start a script: is what YOLOv5 needs there? Then run it; what the user can mend is one line."""

from __future__ import annotations

import importlib
import importlib.util
import os
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from pruning.errors import PruneError
from pruning.family.contract import Upstream
from pruning.run.outcome import Outcome
from pruning.scripts.keywords import answering, imported_first
from pruning.scripts.prune import guarded, require_own
from pruning.settings import Settings

LEAST = (8, 4, 118)
INSTALL = "pip install 'ultralytics-opencv-headless>=8.4.118' pandas seaborn tqdm"


def start(script: str, module: str, name: str, description: str, argv: list[str], **more: Any) -> int:
    """Run a script of the fork; returns its exit code.

    Args:
        script: the script's path, which says whose fork this is.
        module: module of this package that holds its body.
        name: function in it, called with description, command line and default settings if there are any.
        description: the script's docstring.
        argv: the command line.
        more: `interrupted`, what to type after Ctrl-C; the rest are default settings of a pruning script.
    """
    os.environ.setdefault("YOLO_AUTOINSTALL", "false")  # nothing is installed behind the user's back
    hint = {"interrupted": more.pop("interrupted")} if "interrupted" in more else {}

    def body() -> None:
        require_stack(Path(script).resolve().parent)
        try:
            program = getattr(importlib.import_module(f"{__package__}.{module}"), name)
        except ImportError as error:
            raise PruneError(f"YOLOv5 cannot start: {error}. Type: {INSTALL}") from error
        program(description, argv, **({"defaults": Settings(**more)} if more else {}))

    return guarded(body, **hint)


def call(script: str, keywords: Mapping[str, Any], **defaults: Any) -> Outcome | None:
    """A pruning script as a function: what `prune.run` does.

    Args:
        script: the script's path, which says whose fork this is.
        keywords: the script's flags, with underscores.
        defaults: its default settings.

    Raises:
        PruneError: whatever ended it, with the one line that the script would have printed.
    """
    os.environ.setdefault("YOLO_AUTOINSTALL", "false")
    root = Path(script).resolve().parent
    with answering(), imported_first(root):
        require_stack(root)
        try:
            from .main import run
        except ImportError as error:
            raise PruneError(f"YOLOv5 cannot start: {error}. Type: {INSTALL}") from error
        return run(keywords, Settings(**defaults))


def launch(script: str, body: Callable[[Upstream], Any]) -> int:
    """Run another script of the fork with its `Upstream`; it changes no network. Returns the exit code."""
    os.environ.setdefault("YOLO_AUTOINSTALL", "false")

    def program() -> None:
        require_stack(Path(script).resolve().parent)
        try:
            from .main import Upstream as Own
        except ImportError as error:
            raise PruneError(f"YOLOv5 cannot start: {error}. Type: {INSTALL}") from error
        body(Own())

    return guarded(program, interrupted="nothing was changed, run it again")


def require_stack(root: Path) -> None:
    """Make sure of the `ultralytics` package that YOLOv5 leans on, and that `pruning` is this fork's.

    Raises:
        PruneError: naming what was found and what to type.
    """
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
