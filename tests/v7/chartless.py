# SPDX-License-Identifier: AGPL-3.0-or-later
"""A script of a fork, its charts left empty: `python chartless.py SCRIPT WORDS`.

Drawing them takes half of a short run's time, and few tests look at one.
"""

from __future__ import annotations

import os
import runpy
import sys
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure


def leave_charts_empty() -> None:
    """Let every chart of this process be an empty file."""

    def savefig(figure: Figure, target: Any, *args: Any, **more: Any) -> None:
        if isinstance(target, (str, os.PathLike)):
            Path(target).touch()

    Figure.savefig = savefig
    Figure.tight_layout = lambda figure, **more: None


if __name__ == "__main__":
    leave_charts_empty()
    sys.argv = sys.argv[1:]
    runpy.run_path(os.path.abspath(sys.argv[0]), run_name="__main__")
