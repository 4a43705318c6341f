# SPDX-License-Identifier: AGPL-3.0-or-later
"""A script whose output nobody reads any more, as after `| head`."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import prunekit
import pytest

PROGRAM = """
import logging, sys
from pruning.scripts.prune import guarded
logging.basicConfig(stream=sys.stdout, level=logging.INFO)
def body():
    {body}
sys.exit(guarded(body))
"""
BODIES = {
    "a lot": "print('x' * 10**6)",
    "a line": "print('x')",
    "help": "print('usage'); sys.exit(0)",
    "a logger": "logging.info('x' * 10**6); print('x' * 10**6)",
}


@pytest.mark.parametrize("body", BODIES.values(), ids=list(BODIES))
def test_nobody_reads_on(body: str) -> None:
    """Not a word on standard error, and the exit code of a program that SIGPIPE ends."""
    env = {**os.environ, "PYTHONPATH": str(Path(prunekit.__file__).parent / "dropins")}
    command = [sys.executable, "-c", PROGRAM.format(body=body)]
    with subprocess.Popen(command, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as running:
        assert running.stdout and running.stderr
        running.stdout.close()
        assert running.stderr.read() == "" and running.wait() == 141
