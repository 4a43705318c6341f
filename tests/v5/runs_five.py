# SPDX-License-Identifier: AGPL-3.0-or-later
"""Runs of the scripts in one process, for most of a short run's time is importing torch.

`python runs_five.py [LINE, ...]`; a line is prune, train (train_sparse.py), inspect (inspect_bn.py), latency or
quantify, and its words.
"""

from __future__ import annotations

import json
import os
import sys

import torch
from prunekit_v5.stack import launch, start
from pruning.scripts.latency import latency
from pruning.scripts.quantify import quantify_command

MEASURES = {"latency": latency, "quantify": quantify_command}


def run(script: str, *words: str) -> int:
    """One line; its exit code."""
    if script in MEASURES:
        return launch(os.path.abspath(f"{script}.py"), lambda upstream: MEASURES[script]("", list(words), upstream))
    module, settings = ("main", {"steps": 1, "round_to": 8}) if script == "prune" else ("sparse", {})
    return start(os.path.abspath("prune.py"), module, script, "", list(words), **settings)


if __name__ == "__main__":
    torch.set_num_threads(1)
    for line in json.loads(sys.argv[1]):
        if code := run(*line.split()):
            sys.exit(f"exit code {code}: {line}")
