# SPDX-License-Identifier: AGPL-3.0-or-later
"""Runs of the scripts in one process, for most of a short run's time is importing torch.

`python runs5.py [LINE, ...]`; a line is prune, train (train_sparse.py) or inspect (inspect_bn.py), and its words.
"""

from __future__ import annotations

import json
import os
import sys

import torch
from prunekit_v5.stack import start

if __name__ == "__main__":
    torch.set_num_threads(1)
    for line in json.loads(sys.argv[1]):
        script, *words = line.split()
        module, settings = ("main", {"steps": 1, "round_to": 8}) if script == "prune" else ("sparse", {})
        code = start(os.path.abspath("prune.py"), module, script, "", words, **settings)
        if code:
            sys.exit(f"exit code {code}: {line}")
