# SPDX-License-Identifier: AGPL-3.0-or-later
"""A trained network as a measured INT8 ONNX file: export, quantize, validate both files, time them side by side.

quantify.json, schema 1:
  schema, status ("done" | "less accurate": beyond the limit), family, weights, digest, method, limit, drop, image,
  images (calibration images), seven_bits, measures (names of the two accuracies), arguments,
  float {file, bytes, map50, map50_95, seconds}, int8 {file, bytes, map50, map50_95, seconds, layers, float_layers,
  weight_bytes}, size_ratio (int8 / float), speed {ratio, low, high, rounds, threads}, onnx_max_error (float ONNX
  against torch). Accuracies are those of the two ONNX files; seconds are of one image.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..errors import LessAccurate, PruneError
from ..family.contract import Family, Metrics, low_accuracy
from ..family.ranges import check_numbers
from ..files import copy_whole, digest_of, locked, write_json
from ..runtime.int8_graph import METHODS, Sizes, open_session, quantize
from ..runtime.onnx_check import check_onnx
from ..runtime.runtimes import onnx_call
from ..runtime.timing import Speed, interleaved
from ..scratch import temporary_folder
from .record import REPORT, State
from .report import rewrite_text

SCHEMA, RECORD = 1, "quantify.json"
ROUNDS, SECONDS = 101, 60.0
EXPECTED_RATIO = 0.35
RUNTIMES = ("onnxruntime", "openvino")


@dataclass(frozen=True)
class Request:
    """What was asked for."""

    method: str = METHODS[0]
    images: int = 128
    max_map_drop: float = 0.02  # of the strict accuracy (mAP50-95), as in prune.py
    seven_bits: bool = False
    threads: int = 1
    runtime: str = "onnxruntime"  # what the file is made for, one of RUNTIMES

    def checked(self) -> Request:
        """This request, or PruneError naming the value that cannot be."""
        if not 0 <= self.max_map_drop <= 1:
            raise PruneError(f"--max-map-drop {self.max_map_drop}: must lie between 0 and 1 (of mAP50-95).")
        asked = {"calibration_images": self.images, "threads": self.threads}
        check_numbers(asked, dict.fromkeys(asked, 1))
        return self


def quantify(
    family: Family, weights: Path, folder: Path, request: Request, say: Callable[[str], None] = print
) -> dict[str, Any]:
    """Write `folder` with both ONNX files and quantify.json; returns the record.

    Nothing is written before everything has been measured. quantify.json comes last.

    Raises:
        PruneError: the network cannot be exported or quantized, or its INT8 form gives values that are not finite.
    """
    with temporary_folder() as scratch:
        full, small = (Path(scratch) / f"{weights.stem}_{kind}.onnx" for kind in ("float", "int8"))
        family.export(weights, full)
        image = open_session(full).get_inputs()[0].shape[-1]
        error = check_onnx(full, family, weights, image)
        images = calibration_images(family, weights, request.images)
        say(f"Quantizing ({request.method}, {len(images)} training images)")
        sizes = quantize(full, small, images, method=request.method, seven_bits=request.seven_bits)
        check_finite(small, images)
        speeds = time_both(full, small, images[0], request.threads)
        accuracy = [family.evaluate_onnx(path) for path in (full, small)]
        if warning := low_accuracy(accuracy[0], "the float network", "quantizing"):
            say(warning)
        record = {
            "schema": SCHEMA,
            "status": "done",
            "family": family.name,
            "weights": str(weights.resolve()),
            "digest": digest_of(weights),
            "method": request.method,
            "runtime": request.runtime,
            "limit": request.max_map_drop,
            "drop": 0.0,
            "image": image,
            "images": len(images),
            "seven_bits": request.seven_bits,
            "measures": list(accuracy[0].labels),
            "arguments": dict(family.arguments()),
            **_measured(full, small, sizes, accuracy, speeds, request),
            "onnx_max_error": error,
        }
        _judge(record)
        for path in (full, small):
            copy_whole(path, folder / path.name)
        write_json(folder / RECORD, record)
    say(summary(record))
    say(f"Files: {folder / small.name}, {folder / full.name}, {folder / RECORD}")
    return record


def require_accuracy(record: dict[str, Any], folder: Path) -> None:
    """LessAccurate if a record says so."""
    if record["status"] != "done":
        raise LessAccurate(
            f"{record['measures'][1]} fell by {record['drop']:.4f}, more than --max-map-drop {record['limit']}: "
            f"{folder / record['int8']['file']} is there, but less accurate than allowed. {_advice(record['method'])}"
        )


def note_quantized(weights: Path, folder: Path, record: dict[str, Any]) -> None:
    """Enter the INT8 file in the report of the pruning run whose result `weights` is; otherwise do nothing."""
    run = weights.resolve().parent
    if not (run / REPORT).is_file():
        return
    try:
        state = State.load(run)
    except PruneError as error:
        print(f"warning: not noted in {run / REPORT}: {error}")
        return
    if state.final.get("checkpoint") != weights.name:
        return
    small = record["int8"]
    noted = {
        "file": state.relative(folder / small["file"]),
        "method": record["method"],
        "status": record["status"],
        "size_ratio": record["size_ratio"],
        "map50": small["map50"],
        "map50_95": small["map50_95"],
        "drop": record["drop"],
        "speed": record["speed"]["ratio"],
    }
    with locked(run):
        state = State.load(run)  # again: what another process has noted since stays
        state.final["int8"] = noted
        state.save()
        rewrite_text(state)


def calibration_images(family: Family, weights: Path, count: int) -> list[Tensor]:
    """The first `count` training images, (1, channels, height, width), 0 to 1, in the family's shuffled order.

    Raises:
        PruneError: there is none.
    """
    images = list(islice(family.images(weights), count))
    if not images:
        raise PruneError("the data set has no training images to calibrate with. Give another one with --data.")
    return images


def check_finite(path: Path, images: list[Tensor]) -> None:
    """Run an ONNX file on a few images.

    Raises:
        PruneError: an output that is not a finite number.
    """
    session = open_session(path)
    for image in images[:8]:
        for value in session.run(None, {session.get_inputs()[0].name: image.numpy()}):
            if not torch.from_numpy(value).isfinite().all():
                raise PruneError(f"{path.name}: its outputs are not finite: thrown away. {_advice(METHODS[0])}")


def time_both(full: Path, small: Path, image: Tensor, threads: int) -> tuple[Speed, Speed]:
    """Time a float and an INT8 file in turns on one image."""
    calls = {path.name: onnx_call(path, image, threads=threads) for path in (full, small)}
    speeds = interleaved(calls, rounds=ROUNDS, limit=SECONDS)
    return speeds[full.name], speeds[small.name]


def summary(record: dict[str, Any]) -> str:
    """The record in a few lines."""
    full, small, speed = record["float"], record["int8"], record["speed"]
    loose, strict = record["measures"]
    lines = [
        f"{name}: {side['bytes'] / 1e6:.2f} MB, {loose} {side['map50']:.4f}, {strict} {side['map50_95']:.4f}, "
        f"{side['seconds'] * 1e3:.3g} ms"
        for name, side in (("float", full), ("INT8 ", small))
    ]
    lines.append(
        f"INT8 beside float: {record['size_ratio']:.3f} of the size, {strict} {-record['drop']:+.4f}, "
        f"{speed['ratio']:.2f} times as fast ({speed['low']:.2f} to {speed['high']:.2f}, 95%; "
        f"{speed['threads']} thread(s), {record['image']} px)"
    )
    if speed["high"] < 1:
        lines.append("It is slower here: integers pay on larger images, and on CPUs with VNNI or AMX.")
    if record["size_ratio"] > EXPECTED_RATIO:
        rest = small["bytes"] - small["weight_bytes"]
        lines.append(
            f"More than {EXPECTED_RATIO} of the float file: {small['weight_bytes'] / 1e3:.0f} kB are int8 weights, "
            f"{rest / 1e3:.0f} kB graph, scales, biases and {small['float_layers']} layers that stayed float"
        )
    return "\n".join(lines)


def _measured(
    full: Path, small: Path, sizes: Sizes, accuracy: list[Metrics], speeds: tuple[Speed, Speed], request: Request
) -> dict[str, Any]:
    sides: list[dict[str, Any]] = [
        {
            "file": path.name,
            "bytes": path.stat().st_size,
            "map50": metrics.map50,
            "map50_95": metrics.map50_95,
            "seconds": speed.seconds,
        }
        for path, metrics, speed in zip((full, small), accuracy, speeds, strict=True)
    ]
    layers = {"layers": sizes.layers, "float_layers": sizes.float_layers, "weight_bytes": sizes.integers}
    ratio = {key: value for key, value in speeds[1].as_dict().items() if key != "seconds"}
    return {
        "float": sides[0],
        "int8": {**sides[1], **layers},
        "size_ratio": sides[1]["bytes"] / sides[0]["bytes"],
        "speed": {**ratio, "threads": request.threads},
    }


def _judge(record: dict[str, Any]) -> None:
    """Enter how much accuracy was lost, and whether that is allowed; what is not a number is not allowed."""
    drop = record["float"]["map50_95"] - record["int8"]["map50_95"]
    record["drop"] = drop
    record["status"] = "done" if math.isfinite(drop) and drop <= record["limit"] else "less accurate"


def _advice(method: str) -> str:
    if method == "dynamic":
        return "Try --method static, whose weights have a scale for each channel."
    return "Try more --calibration-images, or --seven-bits (this CPU may saturate 8-bit sums), or fine-tune first."
