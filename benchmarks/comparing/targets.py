# SPDX-License-Identifier: AGPL-3.0-or-later
"""What is trained for each target, and how its upstream is told to: only here one family differs from another."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from prunekit.demo.recipe import TRAINING
from prunekit.demo.runner import YOLO

INFORK = Path(__file__).with_name("infork.py")
# YOLOv5 and YOLOv7 read these from a file; what is not named stays as upstream's own file has it.
HYP: dict[str, Any] = {
    "lr0": 0.03,
    "lrf": 0.01,
    "momentum": 0.9,
    "warmup_epochs": 0.0,
    "mosaic": 0.0,
    "mixup": 0.0,
    "copy_paste": 0.0,
    "paste_in": 0.0,
    "fliplr": 0.0,
    "hsv_h": 0.0,
    "hsv_s": 0.0,
    "hsv_v": 0.0,
    "translate": 0.15,
    "scale": 0.3,
}
# Both weigh objectness by (pixels / 640)^2 and classes by classes / 80: at 64 px and ten classes these gains undo it.
V5_HYP: dict[str, Any] = {"obj": 50.0, "cls": 4.0, "lr0": 0.02, "warmup_bias_lr": 0.02}
V7_HYP: dict[str, Any] = {
    "obj": 40.0,
    "cls": 4.0,
    "loss_ota": 0,
    "lr0": 0.02,
    "warmup_bias_lr": 0.02,
    "warmup_iters": 0.1,
    "nbs": 16,
}
# The norm that YOLOv5 and ultralytics clip gradients to. YOLOv7 does not clip: on the digits half of its batches exceed
# 7, a tenth 65, and single ones threw dense networks back to a mAP50 of 0.4 where another seed ended at 0.97.
V7_CLIP = 10.0

# On data of one's own, upstream's settings count; `optimizer=auto` would pass over the learning rates compared here.
OWN: dict[str, Any] = {"optimizer": "SGD", "lr0": 0.01, "plots": False, "verbose": False}


@dataclass(frozen=True)
class Sizes:
    """How much is trained: scenes, pixels per side, images a batch, epochs from scratch, epochs after pruning.

    `digits`: on the demo's scenes, with the settings that small images ask for, instead of a data set of one's own.
    """

    train: int
    val: int
    imgsz: int
    batch: int
    epochs: int
    extra: int
    digits: bool = True


@dataclass(frozen=True)
class Target:
    """One target: its networks (the small one, the next larger one) and its upstream's habits.

    Attributes:
        upstream: module and name of the fork's `pruning.family.contract.Upstream`.
        small, large: architectures by upstream's names.
        style: whose train arguments: "ultralytics", "yolov5" or "yolov7".
        hyp: upstream's own hyperparameters in the fork, for those that read a file.
        changed: what of them is different for this target, beside HYP.
        tiers: the sizes of each tier.
    """

    upstream: str
    small: str
    large: str
    style: str
    tiers: Mapping[str, Sizes]
    hyp: str = ""
    changed: Mapping[str, Any] = field(default_factory=dict)


_FULL, _QUICK = Sizes(800, 400, 64, 16, 10, 4), Sizes(32, 16, 64, 8, 1, 1)
_ULTRALYTICS = "ultralytics.prunekit.main:Upstream"
# YOLOv5 accumulates batches to 64 images: sixteen epochs are the 200 optimizer steps that the others take in four.
_V5 = {"full": Sizes(800, 400, 64, 16, 20, 16), "quick": Sizes(32, 16, 64, 16, 1, 1)}
_V7 = {"full": Sizes(800, 400, 64, 16, 16, 8), "quick": Sizes(32, 16, 64, 16, 1, 1)}

TARGETS: Mapping[str, Target] = {
    "v8": Target(_ULTRALYTICS, "yolov8n.yaml", "yolov8s.yaml", "ultralytics", {"full": _FULL, "quick": _QUICK}),
    "v11": Target(_ULTRALYTICS, "yolo11n.yaml", "yolo11s.yaml", "ultralytics", {"full": _FULL, "quick": _QUICK}),
    "v12": Target(_ULTRALYTICS, "yolo12n.yaml", "yolo12s.yaml", "ultralytics", {"full": _FULL, "quick": _QUICK}),
    "v26": Target(_ULTRALYTICS, "yolo26n.yaml", "yolo26s.yaml", "ultralytics", {"full": _FULL, "quick": _QUICK}),
    "v5": Target(
        "prunekit_v5.main:UPSTREAM",
        "models/yolov5n.yaml",
        "models/yolov5s.yaml",
        "yolov5",
        _V5,
        "data/hyps/hyp.scratch-low.yaml",
        V5_HYP,
    ),
    "v7": Target(
        "prunekit_v7.main:UPSTREAM",
        "cfg/training/yolov7-tiny.yaml",
        "cfg/training/yolov7.yaml",
        "yolov7",
        _V7,
        "data/hyp.scratch.tiny.yaml",
        V7_HYP,
    ),
}


@dataclass(frozen=True)
class Job:
    """A target at one tier and seed, with its data and its fork: knows every command line of the comparison."""

    target: Target
    sizes: Sizes
    seed: int
    data: Path
    fork: Path
    scratch: Path
    device: str = "cpu"
    settings: Mapping[str, Any] = field(default_factory=dict)  # upstream's, on data of one's own

    def words(self, epochs: int, place: Path, hyp: Mapping[str, float] | None = None) -> list[str]:
        """Train arguments, the same for upstream's trainer and for the fork's pruning scripts; `hyp` overrides some."""
        sizes = self.sizes
        if self.target.style == "ultralytics":
            usual = {"nbs": sizes.batch, **TRAINING} if sizes.digits else {**OWN, **self.settings}
            values = {
                "data": self.data,
                "epochs": epochs,
                "imgsz": sizes.imgsz,
                "batch": sizes.batch,
                **usual,
                **(hyp or {}),
                "seed": self.seed,
                "device": self.device,
            }
            where = {"project": place.parent, "name": place.name, "exist_ok": True}
            return [f"{key}={value}" for key, value in {**values, **where}.items()]
        size = ["--img-size" if self.target.style == "yolov7" else "--imgsz", str(sizes.imgsz)]
        words = [
            "--data",
            str(self.data),
            "--epochs",
            str(epochs),
            *size,
            "--batch-size",
            str(sizes.batch),
            "--workers",
            "0",
            "--device",
            self.device,
            "--hyp",
            str(self.hyperparameters(hyp or {})),
            "--project",
            str(place.parent),
            "--name",
            place.name,
            "--exist-ok",
        ]
        words += [word for key in self.settings if key == "optimizer" for word in ("--optimizer", self.settings[key])]
        # Only the last epoch is validated, and counts: an epoch of the digits is shorter than a validation.
        if self.target.style == "yolov7":
            return [*words, *(["--notest"] if sizes.digits else [])]
        return [*words, *(["--noval"] if sizes.digits else []), "--noplots", "--seed", str(self.seed)]

    def train(self, start: Path | str, epochs: int, place: Path) -> list[str]:
        """Upstream's trainer, from an architecture (YAML) or from a checkpoint (.pt), into `place`."""
        if self.target.style == "ultralytics":
            return [*YOLO, "detect", "train", f"model={start}", *self.words(epochs, place)]
        fresh = Path(start).suffix in (".yaml", ".yml")
        network = ["--cfg", str(start), "--weights", ""] if fresh else ["--cfg", "", "--weights", str(start)]
        return self.seeded(["train.py", *network, *self.words(epochs, place)])

    def prune(self, script: str, weights: Path, options: list[str], words: list[str]) -> list[str]:
        """One of the fork's pruning scripts."""
        own = ["--seed", str(self.seed)] if self.target.style == "yolov7" else []  # the others take upstream's
        return self.seeded([script, "--weights", str(weights), "--no-export", *own, *options, *words])

    def seeded(self, words: list[str]) -> list[str]:
        """A script of the fork; YOLOv7's training has one seed, always the same, and no option for it."""
        if self.target.style != "yolov7":
            return words
        return [str(INFORK), "seeded", str(self.seed), str(V7_CLIP if self.sizes.digits else 0), *words]

    def hyperparameters(self, hyp: Mapping[str, float]) -> Path:
        """The hyperparameter file of this comparison: upstream's own, with what small images ask for."""
        own = yaml.safe_load((self.fork / self.target.hyp).read_text(encoding="utf-8"))
        small = {**{key: HYP[key] for key in own if key in HYP}, **self.target.changed} if self.sizes.digits else {}
        values = {**own, **small, **{key: value for key, value in self.settings.items() if key in own}, **hyp}
        path = self.scratch / ("-".join(["hyp", *(f"{key}{value:g}" for key, value in hyp.items())]) + ".yaml")
        path.write_text(yaml.safe_dump(values), encoding="utf-8")
        return path
