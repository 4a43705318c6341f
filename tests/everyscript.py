# SPDX-License-Identifier: AGPL-3.0-or-later
"""Every script of a fork on every file that would run something: the lines to try, and what must be said of each."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
REPORT = {  # of an interrupted run, its last step's network named by whoever wrote it
    "schema": 1,
    "status": "running",
    "plan": None,
    "skipped": 0,
    "sparse": None,
    "image": 64,
    "final": {},
    "dense": {"params": 1, "macs": 1.0, "map50": 0.1, "map50_95": 0.1, "seconds": 1, "checkpoint": "x", "widths": {}},
}


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
        for line, (code, said, owned) in zip(lines, answers, strict=True)
        if not _refused(code, said, owned)
    ]


def _refused(code: Any, said: str, owned: bool) -> bool:
    return code == 2 and not owned and "Traceback" not in said and said.count("error: ") == 1


def records(root: Path, family: str, arguments: Mapping[str, Any] | None = None) -> tuple[list[list[str]], list[str]]:
    """Records of interrupted runs that name a file which runs code as a step's network, and command lines to resume.

    Args:
        root: where best.pt and posix.pt lie.
        family: the record's.
        arguments: upstream's, as a record of the family holds them.

    Returns:
        The command lines, and what each must be told.
    """
    digest = hashlib.sha256((root / "best.pt").read_bytes()).hexdigest()
    steps = {
        "../posix.pt": "not a network of this run",
        str(root / "posix.pt"): "not a network of this run",
        "posix.pt": "would run posix.system",
    }
    lines = []
    for number, step in enumerate(steps):
        folder = root / f"record{number}"
        folder.mkdir()
        (folder / "posix.pt").write_bytes((root / "posix.pt").read_bytes())
        done = {"step": 1, "kept": True, "checkpoint": step, "params": 1, "macs": 1.0, "map50": 0.1, "map50_95": 0.1}
        state = {
            **REPORT,
            "family": family,
            "weights": str(root / "best.pt"),
            "digest": digest,
            "steps": [done],
            "arguments": dict(arguments or {}),
            "settings": {"steps": 2},
        }
        (folder / "report.json").write_text(json.dumps(state))
        lines.append(["prune.py", "--resume", folder.name])
    return lines, list(steps.values())


def told(output: str) -> list[str]:
    """What `all_scripts.py` heard for each line."""
    return [said for _, said, _ in json.loads(output.rpartition("ANSWERS")[2].splitlines()[0])]


def check_records(bench: Any, family: str, usual: str | None) -> None:
    """Records that name another network are refused, each in one line that says why.

    Args:
        bench: a fork's `Home`.
        family: the record's.
        usual: a program that prints the arguments of a record behind USUAL, if records of the family hold some.
    """
    arguments = json.loads(bench.python("-c", usual).rpartition("USUAL")[2].splitlines()[0]) if usual else None
    lines, wanted = records(bench.root, family, arguments)
    (bench.root / "lines.json").write_text(json.dumps(lines))
    output = bench.python(HERE / "all_scripts.py", "lines.json")
    assert verdicts(output, lines) == []
    heard = told(output)
    assert [want in said for said, want in zip(heard, wanted, strict=True)] == [True] * 3, heard
