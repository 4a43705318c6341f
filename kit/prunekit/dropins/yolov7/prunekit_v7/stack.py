# SPDX-License-Identifier: AGPL-3.0-or-later
"""Start a script: is what YOLOv7 needs there? Then run it; what the user can mend is one line."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from pruning.errors import PruneError
from pruning.family.contract import Upstream
from pruning.run.outcome import Outcome
from pruning.scripts.keywords import answering, imported_first
from pruning.scripts.prune import guarded, require_own
from pruning.settings import Settings

INSTALL = "pip install torch-pruning pandas seaborn tqdm scipy opencv-python-headless"


def start(script: str, description: str, argv: list[str], **defaults: Any) -> int:
    """Run a pruning script of the fork that `script` lies in; returns the exit code."""

    def body() -> None:
        require_own(Path(script).resolve().parent)
        try:
            from .main import prune
        except ImportError as error:
            raise PruneError(f"YOLOv7 cannot start: {error}. Type: {INSTALL}") from error
        prune(description, Settings(**defaults), argv)

    return guarded(body)


def call(script: str, keywords: Mapping[str, Any], **defaults: Any) -> Outcome | None:
    """A pruning script as a function: what `prune.run` does.

    Args:
        script: the script's path, which says whose fork this is.
        keywords: the script's flags, with underscores.
        defaults: its default settings.

    Raises:
        PruneError: whatever ended it, with the one line that the script would have printed.
    """
    root = Path(script).resolve().parent
    with answering(), imported_first(root):
        require_own(root)
        try:
            from .main import run
        except ImportError as error:
            raise PruneError(f"YOLOv7 cannot start: {error}. Type: {INSTALL}") from error
        return run(keywords, Settings(**defaults))


def launch(script: str, body: Callable[[Upstream], Any]) -> int:
    """Run another script of the fork with its `Upstream`; it changes no network. Returns the exit code."""

    def program() -> None:
        require_own(Path(script).resolve().parent)
        try:
            from .main import Upstream as Ours
        except ImportError as error:
            raise PruneError(f"YOLOv7 cannot start: {error}. Type: {INSTALL}") from error
        body(Ours())

    return guarded(program, "nothing was changed")


def begin(script: str, name: str, description: str, argv: list[str], interrupted: str) -> int:
    """Run train_sparse.py ("train") or inspect_bn.py ("inspect") of the fork that `script` lies in; the exit code."""

    def program() -> None:
        require_own(Path(script).resolve().parent)
        try:
            from . import sparse
        except ImportError as error:
            raise PruneError(f"YOLOv7 cannot start: {error}. Type: {INSTALL}") from error
        (sparse.train_sparse if name == "train" else sparse.inspect)(description, argv)

    return guarded(program, interrupted)
