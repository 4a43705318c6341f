# SPDX-License-Identifier: AGPL-3.0-or-later
"""A fork's script, then calls with the same settings from a folder that is not the fork's (`pythoncalls.py`)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from forkhome import Home

REFUSALS = (
    "unknown keyword 'target_mac'; did you mean target_macs?",
    "unknown keyword 'epoch'; did you mean epochs?",
    "--target-macs 2: neither a fraction below 1",
    "unknown keyword 'export'; did you mean no_export?",
    "--evolve has no place here",
    "no_export=1: a switch, True or False.",
    "--weights gone.pt: no such file",
    "--data gone.yaml: no such file",
    "no network given: --weights best.pt",
)


def called(
    home: Home, weights: Path, data: Path, folder: Path, small: list[str], words: dict[str, Any], *names: str
) -> Any:
    """What came of the script and of a call under each name; refusals are one line each.

    Args:
        home: the fork.
        weights, data: of the run.
        folder: for what is made.
        small: the script's flags.
        words: the same as keywords.
        names: of the calls' runs.
    """
    home.python("prune.py", "--weights", weights, "--data", data, *small, "--project", folder, "--name", "script")
    elsewhere = folder / "elsewhere"
    elsewhere.mkdir()
    calls = (Path(__file__).with_name("pythoncalls.py"), home.root, weights, data, folder / "script")
    without = {"PYTHONPATH": home.env["PYTHONPATH"].split(":")[0]}  # the packages, not the fork
    output = home.python(*calls, json.dumps(words), *names, cwd=elsewhere, **without)
    said = json.loads(output.rpartition("ANSWERS")[2].splitlines()[0])
    for text, part in zip(said["said"], REFUSALS, strict=True):
        assert part in text and "\n" not in text
    return said
