# SPDX-License-Identifier: AGPL-3.0-or-later
"""What to type for the packages of an extra: no index has prunekit, so it depends on where this copy came from.

An extra is named after the upstream whose forks need it.
"""

from __future__ import annotations

import importlib.metadata
import json
import re
import shlex
from pathlib import Path
from urllib.parse import unquote, urlsplit

_PROJECT = "prunekit"
COMMON = "ultralytics"  # what every fork needs, of whichever upstream
_CHECKOUT = Path(__file__).resolve().parents[2]
_ROW = re.compile(r"(?P<need>[^;]+?)\s*;.*\bextra\s*==\s*[\"'](?P<extra>[^\"']+)[\"']")


def install_command(extra: str) -> str:
    """Return the command that installs what `extra` names: from the checkout, or from the wheel or folder installed.

    Where neither is there any more, it names the packages themselves.
    """
    if (_CHECKOUT / "setup.cfg").is_file():
        return f"pip install -e {shlex.quote(f'{_CHECKOUT}[{extra}]')}"
    origin = _origin()
    if origin is not None:
        return f"pip install {shlex.quote(f'{origin}[{extra}]')}"
    return f"pip install {shlex.join(needs(extra))}"


def extra_of(upstream: str) -> str:
    """Return the extra of an upstream: one of its name, or what every fork needs where it has none of its own."""
    return upstream if upstream in _provided() else COMMON


def own_needs(upstream: str) -> list[str]:
    """Return the projects that an upstream's extra names beside those that every fork needs."""
    rows = needs(upstream, nested=False) if upstream in _provided() else []
    return [re.split(r"[\s<>=!~;\[]", row)[0] for row in rows]


def _provided() -> list[str]:
    """Return the extras of this prunekit."""
    try:
        return importlib.metadata.metadata(_PROJECT).get_all("Provides-Extra") or []
    except importlib.metadata.PackageNotFoundError:
        return []


def _origin() -> Path | None:
    """Return the wheel or folder that pip installed this prunekit from, where it is still there."""
    try:
        text = importlib.metadata.distribution(_PROJECT).read_text("direct_url.json")
        url = urlsplit(json.loads(text or "{}").get("url", ""))
    except (importlib.metadata.PackageNotFoundError, ValueError, AttributeError):
        return None
    place = Path(unquote(url.path))
    return place if url.scheme == "file" and place.exists() else None


def needs(extra: str, *, nested: bool = True) -> list[str]:
    """Return the requirements of an extra, those of the extras that it names included unless `nested` is off."""
    found: list[str] = []
    for row in importlib.metadata.requires(_PROJECT) or []:
        match = _ROW.fullmatch(row)
        if match is None or match["extra"] != extra:
            continue
        other = re.fullmatch(rf"{_PROJECT}\[(.+)\]", match["need"])
        found += [match["need"]] if other is None else needs(other[1]) if nested else []
    return found
