# SPDX-License-Identifier: AGPL-3.0-or-later
"""What the demo trains, and with which upstream arguments."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

# The smallest network of each target's generation, by upstream's name for its architecture.
NETWORKS = {
    "v8": "yolov8n.yaml",
    "v11": "yolo11n.yaml",
    "v12": "yolo12n.yaml",
    "v26": "yolo26n.yaml",
}

# Upstream train arguments, each for a reason that docs/demo.md gives.
TRAINING: dict[str, Any] = {
    "optimizer": "SGD",
    "lr0": 0.03,
    "momentum": 0.9,
    "warmup_epochs": 0,
    "mosaic": 0,
    "translate": 0.15,
    "scale": 0.3,
    "fliplr": 0,
    "erasing": 0,
    "hsv_h": 0,
    "hsv_s": 0,
    "hsv_v": 0,
    "workers": 0,
    "plots": False,
    "verbose": False,
}


@dataclass(frozen=True)
class Recipe:
    """Sizes of the demo: images, pixels per side, epochs of the first training and of the training after pruning."""

    train: int = 800
    val: int = 100
    imgsz: int = 64
    batch: int = 16
    epochs: int = 10
    extra: int = 6
    target_macs: float = 0.5
    seed: int = 0
    quick: bool = False

    def words(self, data: Path, epochs: int) -> list[str]:
        """Upstream train arguments as `key=value` words."""
        # Upstream accumulates gradients up to `nbs` images; here each batch is a step, for there are few of them.
        values = {
            "data": data,
            "epochs": epochs,
            "imgsz": self.imgsz,
            "batch": self.batch,
            "nbs": self.batch,
        }
        return [f"{key}={value}" for key, value in {**values, **TRAINING, "seed": self.seed}.items()]

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for the record."""
        return asdict(self)


def recipe(*, seed: int = 0, quick: bool = False) -> Recipe:
    """The demo's sizes; `quick` only shows that every step works and learns next to nothing."""
    if quick:
        return Recipe(train=64, val=16, epochs=2, extra=1, seed=seed, quick=True)
    return Recipe(seed=seed)
