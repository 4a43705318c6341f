# SPDX-License-Identifier: AGPL-3.0-or-later
"""Every script of a fork on every file that would run something: the lines to try, and what must be said of each."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import attacks

HERE = Path(__file__).parent
REPORT = {  # of an interrupted run, its last step's network named by whoever wrote it
    "schema": 1, "status": "running", "plan": None, "skipped": 0, "sparse": None, "image": 64, "final": {},
    "dense": {"params": 1, "macs": 1.0, "map50": 0.1, "map50_95": 0.1, "seconds": 1, "checkpoint": "x", "widths": {}},
}

SETTINGS = (
    "import json; from pruning.options import Settings; print(json.dumps(Settings(steps=2).as_dict()))"
)


def lines_for(files: list[str], scripts: dict[str, list[str]], resumed: list[str]) -> list[list[str]]:
    """Command lines: each script with each file, in each place where it takes one.

    Args:
        files: names of the files.
        scripts: {script: words that it needs beside --weights}.
        resumed: those that go on with a file.
    """
    loads = [[script, "--weights", file, *more] for file in files for script, more in scripts.items()]
    dense = [["latency.py", "--dense", file, "--pruned", file] for file in files]
    return [*loads, *dense, *([script, "--resume", file] for file in files for script in resumed)]


def verdicts(output: str, lines: list[list[str]]) -> list[str]:
    """What is wrong with the answers of `all_scripts.py`, a line each; empty if each file was refused in one line."""
    answers = json.loads(output.rpartition("ANSWERS")[2].splitlines()[0])
    assert len(answers) == len(lines)
    return [
        f"{' '.join(line)}: exit {code}, ran: {owned}: {said[-300:]}"
        for line, (code, said, owned) in zip(lines, answers, strict=True) if not _refused(code, said, owned)
    ]


def _refused(code: Any, said: str, owned: bool) -> bool:
    return code == 2 and not owned and "Traceback" not in said and said.count("error: ") == 1


def interrupted(folder: Path, weights: Path, family: str, step: str, settings: dict[str, Any], **more: Any) -> None:
    """Write the record of a run of which one step was done, its network at `step`."""
    import hashlib

    folder.mkdir(parents=True)
    digest = hashlib.sha256(weights.read_bytes()).hexdigest()
    done = {"step": 1, "kept": True, "checkpoint": step, "params": 1, "macs": 1.0, "map50": 0.1, "map50_95": 0.1}
    state = {**REPORT, "family": family, "weights": str(weights), "digest": digest, "steps": [done], "arguments": {},
             "settings": settings, **more}
    (folder / "report.json").write_text(json.dumps(state))


__all__ = ["HERE", "SETTINGS", "attacks", "interrupted", "lines_for", "verdicts"]
