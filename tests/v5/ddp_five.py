# SPDX-License-Identifier: AGPL-3.0-or-later
"""One rank of `torch.distributed.run ... ddp_five.py train|prune WORDS`: leaves rank<N>.json, a row a training."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import torch
import train
from prunekit_v5.stack import start
from torch import nn

sys.path.append(str(Path(__file__).parents[1]))
from answering import row

held: list[nn.Module] = []
wrap = train.smart_DDP


def keep(model: nn.Module) -> Any:
    """Upstream's wrapping, remembered."""
    held.append(wrap(model))
    return held[-1]


if __name__ == "__main__":
    torch.set_num_threads(1)
    script, *words = sys.argv[1:]
    train.smart_DDP, code = keep, 0
    if script == "train":
        sys.argv[1:] = words
        train.main(train.parse_opt())
    else:
        place = Path(train.__file__).with_name("prune.py")
        code = start(str(place), "main", "prune", "", words, steps=2, round_to=8)
    Path(f"rank{os.environ['RANK']}.json").write_text(json.dumps([row(wrapped.module, 6) for wrapped in held]))
    sys.exit(code)
