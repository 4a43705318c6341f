# SPDX-License-Identifier: AGPL-3.0-or-later
"""`pins matrix` on an index of its own: what each release comes to, and what is not done twice."""

from __future__ import annotations

import json
from typing import Any

import pytest
from pinworld import FILES, Place
from test_sdist_update import released, sdist

__all__ = ["released"]
ENGINE = "pkg/engine.py"
LAYERS = (
    "    layers = []\n    for name in cfg:\n        layers.append(name)\n"  # what 0004 needs, and 1.2 does not have
)


def rows(place: Place, code: int = 0) -> dict[str, dict[str, Any]]:
    """The table after `pins matrix small`, by release."""
    assert place.prunekit("pins", "matrix", "small", "--from", "1.0", "--smoke", "none") == code, place.err
    made = json.loads((place.kit / "docs/compatibility.json").read_text())
    return {row["release"]: row for row in made["small"]}


def test_lines_for_older_versions(released: tuple[Place, str]) -> None:
    """As `setup --at` takes them: a release that needs them is a row that fails without, and passes with them."""
    place, _ = released
    assert FILES[ENGINE].count(LAYERS) == 1
    sdist(place.root / "index", "1.2", {**FILES, ENGINE: FILES[ENGINE].replace(LAYERS, "")})
    (place.kit / "docs").mkdir(exist_ok=True)
    without = rows(place, 4)
    assert without["1.1"]["passed"] and not without["1.2"]["passed"] and "0004" in without["1.2"]["reason"]
    (place.kit / "patches/small/older").write_text("0004 | hooks.widths(layers) | hooks.widths(cfg)\n")
    made = rows(place)
    assert made["1.2"]["passed"] and made["1.2"]["verdicts"]["0004"] in ("moved", "re-anchored"), made["1.2"]


def test_a_row_is_made_once(released: tuple[Place, str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Until the series or the drop-ins change."""
    place, _ = released
    (place.kit / "docs").mkdir(exist_ok=True)
    first = rows(place)
    assert first["1.0"]["verdicts"] == dict.fromkeys(("0001", "0002", "0003", "0004"), "untouched")
    monkeypatch.setattr("prunekit.maintain.matrix.try_release", None)
    assert rows(place) == first
