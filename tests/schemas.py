# SPDX-License-Identifier: AGPL-3.0-or-later
"""Records against docs/schemas: what is written is described, and what is described has the type that it says."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).resolve().parents[1] / "docs" / "schemas"


def schema(name: str) -> dict[str, Any]:
    """A schema by the name of its file."""
    found: dict[str, Any] = json.loads((FOLDER / f"{name}.json").read_text(encoding="utf-8"))
    return found


def closed(one: Any) -> Any:
    """A schema that knows no other keys than those it describes: readers shall ignore new ones, this repository not."""
    if isinstance(one, list):
        return [closed(each) for each in one]
    if not isinstance(one, dict):
        return one
    shut = {key: closed(value) for key, value in one.items()}
    return {**shut, "additionalProperties": False} if isinstance(one.get("properties"), dict) else shut


def check(name: str, record: Any) -> None:
    """AssertionError naming each place where a record is not what docs/schemas/NAME.json describes."""
    from jsonschema import Draft202012Validator

    judge = Draft202012Validator(closed(schema(name)))
    errors = [f"{error.json_path}: {error.message}" for error in judge.iter_errors(json.loads(json.dumps(record)))]
    assert not errors, f"{name}: " + "\n".join(errors)
