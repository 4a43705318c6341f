# SPDX-License-Identifier: AGPL-3.0-or-later
"""What a release asks of pip beside what the kit's extra brings: older ones import packages that newer ones do not.

Read from the fork's own `pyproject.toml` or `requirements.txt`; names only, for the extra is what versions are held by.
"""

from __future__ import annotations

import re
from pathlib import Path

from prunekit.extras import needs
from prunekit.fork.doctor import installed, same_files

_LISTED = re.compile(r"^dependencies\s*=\s*\[(.*?)^\]", re.MULTILINE | re.DOTALL)
_ROW = re.compile(r"^\s*[\"']?([A-Za-z0-9][\w.-]*)(?![^#\n]*;)", re.MULTILINE)  # rows with a marker are for others


def lacking(folder: Path, extra: str) -> list[str]:
    """Return the projects that a fork's own list names, that are not installed, and that `extra` does not bring."""
    brought = {_plain(name) for need in needs(extra) for name in same_files(_name(need))}
    return [name for name in _listed(folder) if _plain(name) not in brought and installed(name) is None]


def _listed(folder: Path) -> list[str]:
    """Return the names in upstream's list of requirements, or none."""
    project, plain = folder / "pyproject.toml", folder / "requirements.txt"
    if project.is_file():
        found = _LISTED.search(project.read_text(encoding="utf-8", errors="replace"))
        return _ROW.findall(found[1]) if found else []
    return _ROW.findall(plain.read_text(encoding="utf-8", errors="replace")) if plain.is_file() else []


def _name(need: str) -> str:
    """Return the project of a requirement."""
    return re.split(r"[^\w.-]", need.strip(), maxsplit=1)[0]


def _plain(name: str) -> str:
    """Return a name as pip compares it."""
    return re.sub(r"[-_.]+", "-", name).lower()
