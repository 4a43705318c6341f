# SPDX-License-Identifier: AGPL-3.0-or-later
"""A trained network as a measured INT8 file: export, quantize, validate both files, time them side by side.

quantify.json, schema 1: docs/schemas/quantify.json. Accuracies are those of the two files; seconds are of one image.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import Any

from torch import Tensor

from ..errors import LessAccurate, PruneError
from ..family.contract import Family, Metrics, low_accuracy
from ..files import digest_of, locked, write_json
from ..runtime.exported import OPENVINO, bytes_of, copy_exported, file_of, open_exported
from ..runtime.int8_graph import METHODS, quantize
from ..runtime.int8_sizes import Sizes
from ..runtime.onnx_check import check_onnx
from ..runtime.openvino_int8 import convert_openvino, quantize_openvino
from ..runtime.placement import fastest
from ..runtime.runtimes import FROM_ONNX, onnx_call, own_precision
from ..runtime.timing import Speed, interleaved
from ..scratch import temporary_folder
from .int8_request import RUNTIMES, Request
from .int8_text import advice, summary
from .record import REPORT, State
from .report import rewrite_text

SCHEMA, RECORD = 1, "quantify.json"
ROUNDS, SECONDS = 51, 60.0


def quantify(
    family: Family, weights: Path, folder: Path, request: Request, say: Callable[[str], None] = print
) -> dict[str, Any]:
    """Write `folder` with both ONNX files and quantify.json; returns the record.

    Nothing is written before everything has been measured. quantify.json comes last.

    Raises:
        PruneError: the network cannot be exported or quantized, or its INT8 form gives values that are not finite.
    """
    with temporary_folder() as scratch:
        full = Path(scratch) / f"{weights.stem}_float.onnx"
        small = Path(scratch) / (f"{weights.stem}_int8" + (OPENVINO if request.runtime == "openvino" else ".onnx"))
        family.export(weights, full)
        image = open_exported(full).image
        error = check_onnx(full, family, weights, image)
        images = calibration_images(family, weights, request.images)
        say(f"Quantizing ({request.method}, {len(images)} training images)")
        sizes, placed = write_int8(full, small, images, request)
        check_finite(small, images)
        speeds = time_files(full, small, images[0], request)
        accuracy = [family.evaluate_onnx(path) for path in (full, small)]
        as_run = accuracy_as_run(family, full, request)
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
            **as_run,
            "onnx_max_error": error,
            "placements": {name: speed.as_dict() for name, speed in placed[1].items()},
        }
        record["int8"]["placement"] = placed[0]
        _judge(record)
        for path in (full, small):
            copy_exported(path, folder / path.name)
        write_json(folder / RECORD, record)
    say(summary(record))
    if precision := own_precision(request.runtime):
        say(f"Timed with {precision}: {record['measures'][1]} {record['float_as_run']['map50_95']:.4f} in that")
    say(f"Files: {folder / small.name}, {folder / full.name}, {folder / RECORD}")
    return record


def require_accuracy(record: dict[str, Any], folder: Path) -> None:
    """LessAccurate if a record says so."""
    if record["status"] != "done":
        hint = advice(record["method"], record.get("seven_bits", False))
        raise LessAccurate(
            f"{record['measures'][1]} fell by {record['drop']:.4f}, more than --max-map-drop {record['limit']}: "
            f"{folder / record['int8']['file']} is there, but less accurate than allowed. {hint}"
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
        "runtime": record.get("runtime", RUNTIMES[0]),
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


def accuracy_as_run(family: Family, full: Path, request: Request) -> dict[str, Any]:
    """{"float_as_run": accuracies} of the float network in a runtime that computes it less exactly."""
    if not own_precision(request.runtime):
        return {}
    with temporary_folder() as scratch:
        folder = Path(scratch) / f"{full.stem}{OPENVINO}"
        convert_openvino(full, folder)
        found = family.evaluate_onnx(folder)
    return {"float_as_run": {"map50": found.map50, "map50_95": found.map50_95}}


def check_finite(path: Path, images: list[Tensor]) -> None:
    """Run an ONNX file on a few images.

    Raises:
        PruneError: an output that is not a finite number.
    """
    network = open_exported(path)
    for image in images[:8]:
        if not all(bool(value.isfinite().all()) for value in network.outputs(image)):
            raise PruneError(f"{path.name}: its outputs are not finite: thrown away. {advice(METHODS[0])}")


def write_int8(
    full: Path, small: Path, images: list[Tensor], request: Request
) -> tuple[Sizes, tuple[str | None, dict[str, Speed]]]:
    """Quantize a float ONNX file for the runtime that was asked for.

    Returns:
        What the result is made of; the placement of its INT8 layers (None: no choice) and what was timed for it.
    """
    if request.runtime == "openvino":
        return quantize_openvino(full, small, images, seven_bits=request.seven_bits), (None, {})
    name, left, speeds = None, list[str](), dict[str, Speed]()
    if request.method == METHODS[0]:
        name = "all"
        if request.placement == "measured":
            name, left, speeds = fastest(full, images, threads=request.threads, seven_bits=request.seven_bits)
    sizes = quantize(full, small, images, method=request.method, seven_bits=request.seven_bits, left=left)
    return sizes, (name, speeds)


def time_files(full: Path, small: Path, image: Tensor, request: Request) -> dict[str, Speed]:
    """Time the files in turns on one image: {"RUNTIME float" | "RUNTIME int8": speed}; float in ONNX Runtime is 1."""
    call, threads, runtime = FROM_ONNX[request.runtime], request.threads, request.runtime
    calls = {"onnxruntime float": onnx_call(full, image, threads=threads)}
    if runtime != "onnxruntime":
        calls[f"{runtime} float"] = call(full, image, threads=threads)
    calls[f"{runtime} int8"] = call(file_of(small), image, threads=threads)
    return interleaved(calls, rounds=ROUNDS, limit=SECONDS)


def _measured(
    full: Path, small: Path, sizes: Sizes, accuracy: list[Metrics], speeds: dict[str, Speed], request: Request
) -> dict[str, Any]:
    full_name, small_name = "onnxruntime float", f"{request.runtime} int8"
    sides: list[dict[str, Any]] = [
        {
            "file": path.name,
            "bytes": bytes_of(path),
            "map50": metrics.map50,
            "map50_95": metrics.map50_95,
            "seconds": speeds[name].seconds,
        }
        for path, metrics, name in zip((full, small), accuracy, (full_name, small_name), strict=True)
    ]
    layers = {"layers": sizes.layers, "float_layers": sizes.float_layers, "weight_bytes": sizes.integers}
    ratio = {key: value for key, value in speeds[small_name].as_dict().items() if key != "seconds"}
    return {
        "float": sides[0],
        "int8": {**sides[1], **layers},
        "size_ratio": sides[1]["bytes"] / sides[0]["bytes"],
        "speed": {**ratio, "threads": request.threads},
        **compared(speeds, small_name),
    }


def compared(speeds: dict[str, Speed], small: str) -> dict[str, Any]:
    """All that was timed, which of it is the fastest, and whether that is the INT8 file (`small`)."""
    best = max(speeds, key=lambda name: speeds[name].ratio)
    timed = {name: speed.as_dict() for name, speed in speeds.items()}
    return {"speeds": timed, "fastest": best, "pays": best == small}


def _judge(record: dict[str, Any]) -> None:
    """Enter how much accuracy was lost, and whether that is allowed; what is not a number is not allowed."""
    drop = record.get("float_as_run", record["float"])["map50_95"] - record["int8"]["map50_95"]
    record["drop"] = drop
    record["status"] = "done" if math.isfinite(drop) and drop <= record["limit"] else "less accurate"
