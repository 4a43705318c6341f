# SPDX-License-Identifier: AGPL-3.0-or-later
"""Execute a notebook in a fork's root: `python run_notebook.py NOTEBOOK OUT [SETTINGS AS JSON]`; run from that root.

The published outputs are made with this, too:
    python run_notebook.py docs/notebooks/prune_yolov5.ipynb same.ipynb '{"data": "digits/data.yaml", ...}'
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import nbformat
from nbclient import NotebookClient


def execute(notebook: Path, out: Path, settings: str) -> None:
    """Run every cell in the current folder; a cell that fails is an error. The outputs of `out` are the run's."""
    os.environ["PRUNE_NOTEBOOK"] = settings
    read = nbformat.read(notebook, as_version=4)
    here = {"metadata": {"path": os.getcwd()}}
    NotebookClient(read, timeout=3600, kernel_name="python3", resources=here).execute()
    for cell in read.cells:
        cell.metadata.pop("execution", None)  # times of day: another file at each run
    read.metadata["language_info"] = {"name": "python"}
    nbformat.write(read, out)


if __name__ == "__main__":
    execute(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3] if len(sys.argv) > 3 else "{}")
