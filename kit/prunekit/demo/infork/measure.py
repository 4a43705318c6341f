# SPDX-License-Identifier: AGPL-3.0-or-later
"""Runs inside a fork: weighs checkpoints against each other, by one yardstick, into one JSON file.

    python measure.py DATA IMGSZ OUT.json NAME=WEIGHTS ...

The tool starts this as a program and never imports it: it needs torch and the fork's own upstream.
"""

from __future__ import annotations

import json
import os
import platform
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
import yaml
from ultralytics import YOLO
from ultralytics.pruning.network.counts import count

PICTURES, CONFIDENCE = 6, 0.4
BATCH, ROUNDS = 16, 30


def main(data: Path, imgsz: int, out: Path, weights: dict[str, Path]) -> None:
    """Measure every checkpoint and write {models, pictures, machine}, whole."""
    models = {name: {**_size(path, imgsz), **_accuracy(path, data, imgsz)} for name, path in weights.items()}
    for name, milliseconds in _times(weights, imgsz).items():
        models[name]["ms_per_image"] = milliseconds
    found = {
        "models": models,
        "pictures": _pictures(weights, data, imgsz),
        "machine": _machine(),
    }
    scratch = out.with_suffix(".part")
    scratch.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    os.replace(scratch, out)


def _size(path: Path, imgsz: int) -> dict[str, float]:
    """Parameters, MACs of one image (as published numbers are counted) and bytes of the file."""
    model = YOLO(path).model.float().eval()
    cost = count(model, torch.zeros(1, 3, imgsz, imgsz))
    return {
        "params": int(cost.params),
        "macs": float(cost.macs),
        "bytes": path.stat().st_size,
    }


def _accuracy(path: Path, data: Path, imgsz: int) -> dict[str, float]:
    """Upstream's own validation; on a fresh model, for `val` fuses the one it is given."""
    with tempfile.TemporaryDirectory() as folder:
        box = (
            YOLO(path)
            .val(
                data=str(data),
                imgsz=imgsz,
                batch=BATCH,
                workers=0,
                plots=False,
                verbose=False,
                project=folder,
                name="val",
            )
            .box
        )
    return {"map50": float(box.map50), "map50_95": float(box.map)}


def _times(weights: dict[str, Path], imgsz: int) -> dict[str, float]:
    """Milliseconds for one image on one CPU thread, fused, in batches; the fastest of interleaved rounds.

    The fastest, because whatever else the machine does only adds time; interleaved, so that it adds it to all alike.
    """
    torch.set_num_threads(1)
    models = {name: YOLO(path).model.cpu().float().fuse(verbose=False).eval() for name, path in weights.items()}
    images = torch.zeros(BATCH, 3, imgsz, imgsz)
    rounds: dict[str, list[float]] = {name: [] for name in models}
    with torch.inference_mode():
        for _ in range(ROUNDS):
            for name, model in models.items():
                start = time.perf_counter()
                model(images)
                rounds[name].append((time.perf_counter() - start) * 1000 / BATCH)
    return {name: min(values) for name, values in rounds.items()}


def _pictures(weights: dict[str, Path], data: Path, imgsz: int) -> list[dict[str, Any]]:
    """The first validation images with each model's boxes: [class, confidence, x0, y0, x1, y1], shares of the side."""
    folder = Path(yaml.safe_load(data.read_text(encoding="utf-8"))["val"])
    files = sorted(folder.glob("*.png"))[:PICTURES]
    pictures: list[dict[str, Any]] = [{"image": str(file), "boxes": {}} for file in files]
    for name, path in weights.items():
        # One by one: upstream stacks a list into one batch, whose images must then have one shape.
        model = YOLO(path)
        for picture in pictures:
            result = model.predict(
                picture["image"],
                imgsz=imgsz,
                conf=CONFIDENCE,
                verbose=False,
                save=False,
            )[0].boxes
            rows = zip(
                result.cls.tolist(),
                result.conf.tolist(),
                result.xyxyn.tolist(),
                strict=True,
            )
            picture["boxes"][name] = [[int(label), round(sure, 3), *corners] for label, sure, corners in rows]
    return pictures


def _machine() -> dict[str, Any]:
    """What the figures were seen on."""
    gpu = torch.cuda.get_device_name(0) if torch.cuda.is_available() else None
    return {
        "cpus": os.cpu_count(),
        "gpu": gpu,
        "python": platform.python_version(),
        "torch": torch.__version__,
    }


if __name__ == "__main__":
    pairs = dict(word.split("=", 1) for word in sys.argv[4:])
    main(
        Path(sys.argv[1]),
        int(sys.argv[2]),
        Path(sys.argv[3]),
        {name: Path(path) for name, path in pairs.items()},
    )
