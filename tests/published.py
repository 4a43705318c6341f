# SPDX-License-Identifier: AGPL-3.0-or-later
"""What a published notebook must be, whatever it shows: whole, small, anonymous."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

NOTEBOOKS = Path(__file__).parents[1] / "docs" / "notebooks"
RUN = Path(__file__).with_name("run_notebook.py")


def texts(notebook: dict[str, Any]) -> dict[str, str]:
    """What each code cell has printed, or its value: {cell id: text}; pictures as "PNG"."""
    found = {}
    for cell in notebook["cells"]:
        if cell["cell_type"] == "code":
            parts = []
            for output in cell["outputs"]:
                data = output.get("data", {})
                parts.append("PNG" if "image/png" in data else "".join(output.get("text", data.get("text/plain", ""))))
            found[cell["id"]] = "".join(parts)
    return found


def check_published(text: str) -> None:
    """Small, and of no machine's paths."""
    assert len(text) < 150_000
    assert not re.search(r"/(tmp|root|home|work|mnt|Users)/", text), "a path of the machine that made it"
