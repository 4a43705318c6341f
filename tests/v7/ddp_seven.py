# SPDX-License-Identifier: AGPL-3.0-or-later
"""One rank of `torch.distributed.run ... ddp_seven.py SCRIPT WORDS`: leaves rank<N>.json a row a training."""

from __future__ import annotations

import json
import os
import runpy
import sys
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel

sys.path.append(str(Path(__file__).parents[1]))
from answering import row
from chartless import leave_charts_empty

held: list[nn.Module] = []
begin = DistributedDataParallel.__init__
ROOT = Path(os.environ["PYTHONPATH"].split(os.pathsep)[1])


def keep(wrapped: Any, module: nn.Module, **more: Any) -> None:
    """Upstream's wrapping, remembered."""
    begin(wrapped, module, **more)
    held.append(module)


if __name__ == "__main__":
    torch.set_num_threads(1)
    leave_charts_empty()
    script, *words = sys.argv[1:]
    DistributedDataParallel.__init__ = keep  # not a subclass: upstream compares types, and pickles the class
    sys.argv, code = [script, *words], 0
    try:
        runpy.run_path(str(ROOT / script), run_name="__main__")
    except SystemExit as end:
        code = end.code or 0
    Path(f"rank{os.environ['RANK']}.json").write_text(json.dumps([row(module, 5) for module in held]))
    sys.exit(code)
