# SPDX-License-Identifier: AGPL-3.0-or-later
"""One rank of `torch.distributed.run ... ddp5.py TRAIN-ARGUMENTS`: trains, and leaves rank<N>.json where it runs."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import torch
import train
from torch import nn

held: list[nn.Module] = []


def keep(model: nn.Module) -> Any:
    """Upstream's wrapping, remembered."""
    held.append(wrap(model))
    return held[0]


if __name__ == "__main__":
    torch.set_num_threads(1)
    wrap, train.smart_DDP = train.smart_DDP, keep
    train.main(train.parse_opt())
    model = held[0].module
    widths = {name: m.out_channels for name, m in model.named_modules() if isinstance(m, nn.Conv2d)}
    total = float(sum(p.detach().double().sum() for p in model.parameters()))
    Path(f"rank{os.environ['RANK']}.json").write_text(json.dumps({"widths": widths, "total": round(total, 6)}))
