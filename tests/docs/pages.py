# SPDX-License-Identifier: AGPL-3.0-or-later
"""The pages that people read, and the command lines in them."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
LINE = re.compile(r"(?:python (?:-m torch\.distributed\.run --nproc_per_node \w+ )?|prunekit )\S.*")
GENERATED = {"options.md", "schemas.md", "support.md", "compatibility.md"}  # by scripts, from code and from runs


def pages() -> list[Path]:
    """README, CONTRIBUTING, and every page below docs/."""
    return [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted(DOCS.rglob("*.md"))]


def commands(text: str) -> list[str]:
    """The command lines of `python` and `prunekit` in a page: in blocks and within sentences; shortened ones not."""
    blocks = re.findall(r"^```\w*\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
    lines = [line for block in blocks for line in block.replace("\\\n", " ").splitlines()]
    prose = re.sub(r"^```.*?^```", "", text, flags=re.DOTALL | re.MULTILINE)
    lines += [" ".join(code.split()) for code in re.findall(r"`([^`]+)`", prose)]
    found = [line.strip().removeprefix("$ ").partition(" #")[0].strip() for line in lines]
    return [line for line in found if LINE.fullmatch(line) and "..." not in line and "|" not in line]
