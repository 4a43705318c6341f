# SPDX-License-Identifier: AGPL-3.0-or-later
"""The table of bad inputs as one check: a process per fork types all of its lines, and what they said is judged.

tests/bad: badfiles.py makes the files, badrows.py says what is typed, baddriver.py types it.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
UNEXPECTED = "please report it with"  # the line for an error that nobody thought of


def answers(root: Path, upstream: str, data: Path, python: Callable[..., Any]) -> list[dict[str, Any]]:
    """Type all lines in a fork of one's own."""
    python(str(HERE / "baddriver.py"), upstream, str(data))
    return [json.loads(line) for line in (root / "answers.jsonl").read_text().splitlines()]


def judge(found: list[dict[str, Any]], upstream: str, least: int) -> None:
    """No traceback, exit code 2, one `error:` line that somebody thought of, nothing left of what failed."""
    broken = [row["name"] for row in found if row["code"] == "traceback"]
    print(f"{upstream}: {len(found)} bad inputs, {len(broken)} tracebacks")
    wrong = {
        "no exit code 2": [(row["name"], row["code"]) for row in found if row["code"] != 2],
        "not one error line": [row["name"] for row in found if _errors(row) != 1],
        "not thought of": [row["name"] for row in found if UNEXPECTED in row["text"]],
        "left": [(row["name"], row["left"]) for row in found if row["left"]],
    }
    assert not broken and not any(wrong.values()), (broken, wrong)
    assert len(found) >= least, "the table has lost lines"


def _errors(row: dict[str, Any]) -> int:
    return sum(line.startswith("error: ") for line in row["text"].splitlines())
