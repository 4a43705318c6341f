# SPDX-License-Identifier: AGPL-3.0-or-later
"""Train with two processes on the CPU: `python ddp.py MODEL DATA PROJECT`, and what each rank then runs.

Upstream launches DDP for CUDA devices only, so the trainer here says that there are two and speaks gloo; launching,
model setup, wrapping and stepping are upstream's own. Each rank leaves rank<N>.json in the working folder.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import torch
from torch import distributed as dist
from ultralytics.engine import trainer as engine
from ultralytics.models.yolo.detect import DetectionTrainer
from ultralytics.utils import RANK


class GlooTrainer(DetectionTrainer):
    """Two ranks on the CPU."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.world_size, self.ddp = 2, "LOCAL_RANK" not in os.environ

    def _setup_ddp(self) -> None:
        dist.init_process_group("gloo", rank=RANK, world_size=self.world_size)

    def _setup_train(self) -> None:
        wrap = engine.nn.parallel.DistributedDataParallel
        engine.nn.parallel.DistributedDataParallel = lambda model, device_ids, **rest: wrap(model, **rest)
        super()._setup_train()

    def final_eval(self) -> None:
        """Not this: it would look for a CUDA device per rank."""

    def _do_train(self) -> None:
        super()._do_train()
        model = engine.unwrap_model(self.model)
        total = float(sum(p.detach().double().sum() for p in model.parameters()))
        answer = [RANK, sum(p.numel() for p in model.parameters()), self.amp, round(total, 6), self.args.sparsity]
        Path(f"rank{RANK}.json").write_text(json.dumps(answer))


if __name__ == "__main__":
    torch.set_num_threads(1)
    model, data, project = sys.argv[1:]
    settings = {"imgsz": 64, "batch": 8, "device": "cpu", "workers": 0, "plots": False, "epochs": 1, "val": False}
    place = {"project": project, "name": "ddp", "exist_ok": True}
    from ddp import GlooTrainer as Importable  # the ranks import it by this name

    asked = {"model": model, "data": data, "optimizer": "SGD", "sparsity": 0.01}
    Importable(overrides={**settings, **place, **asked}).train()
