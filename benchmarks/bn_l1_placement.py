# SPDX-License-Identifier: AGPL-3.0-or-later
"""Where must the BN-L1 penalty go? Mean |gamma| after short trainings that differ in nothing but its place.

    prunekit setup v8 forks/v8
    python benchmarks/bn_l1_placement.py forks/v8

Trains yolov8n from the same random start on scenes of digits, once per place, optimizer and accumulation, and prints a
Markdown table: mean |gamma| at the end, and the mean gradient norm that clipping (at 10) met. docs/series.md holds the
table of one run.
"""

from __future__ import annotations

import argparse
import itertools
import logging
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch

PLACES = ("none", "after each backward", "before the clip", "after the clip")
STRENGTH = 1e-2


def main() -> None:
    """Parse, train each variant, print rows as they come."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("fork", type=Path, help="a fork that `prunekit setup v8` made")
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--images", type=int, default=64)
    parser.add_argument("--optimizers", nargs="+", default=["SGD", "AdamW"])
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        os.environ.update(YOLO_CONFIG_DIR=scratch, YOLO_AUTOINSTALL="false", YOLO_OFFLINE="true", YOLO_VERBOSE="false")
        sys.path[:0] = [str(options.fork.resolve()), str(Path(__file__).parents[1] / "kit")]
        from prunekit.demo.digits import build

        data = build(Path(scratch) / "digits", train=options.images, val=8, imgsz=64, seed=0)
        print("| optimizer | accumulation | steps | place | mean abs gamma | mean gradient norm | s |")
        print("|---" * 7 + "|")
        for optimizer, nbs, place in itertools.product(options.optimizers, (8, 32), PLACES):
            row = measure(place, optimizer, nbs, data, Path(scratch), options.epochs)
            print("| " + " | ".join(row) + " |", flush=True)


def measure(place: str, optimizer: str, nbs: int, data: Path, scratch: Path, epochs: int) -> list[str]:
    """One training; the cells of its row."""
    from ultralytics.models.yolo.detect import DetectionTrainer
    from ultralytics.pruning.training.bn_sparsity import add_l1, bn_layers, gamma_strength

    class Placed(DetectionTrainer):
        """The penalty (constant over a step, decaying over the epochs) at `place`, upstream's hook switched off."""

        norms: list[float]

        def strength(self) -> float:
            return gamma_strength(STRENGTH, self.epoch, self.epochs)

        def _setup_train(self) -> None:
            super()._setup_train()
            self.norms = []
            if place == "after each backward":
                for layer in bn_layers(self.model).values():
                    layer.weight.register_post_accumulate_grad_hook(self.penalize)

        def penalize(self, p: torch.nn.Parameter) -> None:
            p.grad.add_(p.detach().sign(), alpha=self.strength())

        def optimizer_step(self) -> None:
            if place == "before the clip":
                add_l1(self.model, self.strength(), 0.0)
            grads = [p.grad.norm() for p in self.model.parameters() if p.grad is not None]
            self.norms.append(float(torch.stack(grads).norm()))
            super().optimizer_step()

    logging.disable(logging.WARNING)
    started = time.perf_counter()
    settings: dict[str, Any] = {
        "model": "yolov8n.yaml",
        "data": str(data),
        "imgsz": 64,
        "batch": 8,
        "nbs": nbs,
        "epochs": epochs,
        "seed": 0,
        "optimizer": optimizer,
        "lr0": 0.01 if optimizer == "SGD" else 0.001,
        "warmup_epochs": 0,
        "val": False,
        "save": False,
        "plots": False,
        "device": "cpu",
        "workers": 0,
        "project": str(scratch),
        "name": "run",
        "exist_ok": True,
        "sparsity": STRENGTH if place == "after the clip" else 0.0,
    }
    trainer = Placed(overrides=settings)
    trainer.final_eval = lambda: None
    trainer.train()
    gamma = torch.cat([m.weight.detach().abs() for m in bn_layers(trainer.model).values()]).mean()
    norm, took = sum(trainer.norms) / len(trainer.norms), time.perf_counter() - started
    return [optimizer, str(nbs // 8), str(len(trainer.norms)), place, f"{gamma:.4f}", f"{norm:.1f}", f"{took:.0f}"]


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
