# SPDX-License-Identifier: AGPL-3.0-or-later
"""Start a script: is what YOLOv7 needs there? Then run it; what the user can mend is one line."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from pruning.errors import PruneError
from pruning.family.contract import Upstream
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
