# SPDX-License-Identifier: AGPL-3.0-or-later
"""Git as the tests themselves use it, untouched by anybody's configuration."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

DATE = "2024-01-02T03:04:05+02:00"


def git(folder: Path, *args: str, stdin: str = "") -> str:
    """Run git; what it says, without the last line break."""
    people = {f"GIT_{who}_{what}": f"t{what}@x" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
    dates = {"GIT_AUTHOR_DATE": DATE, "GIT_COMMITTER_DATE": DATE}
    env = {**os.environ, "GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1", **people, **dates}
    command = ["git", "-c", "init.defaultBranch=main", *args]
    done = subprocess.run(command, cwd=folder, env=env, input=stdin.encode(), capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode() + done.stdout.decode()
    return done.stdout.decode().strip()
