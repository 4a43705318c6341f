# SPDX-License-Identifier: AGPL-3.0-or-later
"""The record of quantify.py in a few lines, and what to try where it is not good."""

from __future__ import annotations

from typing import Any

EXPECTED_RATIO = 0.35


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
    lines += _others(record)
    if record["size_ratio"] > EXPECTED_RATIO:
        rest = small["bytes"] - small["weight_bytes"]
        lines.append(
            f"More than {EXPECTED_RATIO} of the float file: {small['weight_bytes'] / 1e3:.0f} kB are int8 weights, "
            f"{rest / 1e3:.0f} kB graph, scales, biases and {small['float_layers']} layers that stayed float"
        )
    return "\n".join(lines)


def _others(record: dict[str, Any]) -> list[str]:
    """What else was timed, and, loudly, that INT8 does not pay."""
    lines = [
        f"{name}: {speed['ratio']:.2f} ({speed['low']:.2f} to {speed['high']:.2f}) times as fast as onnxruntime float"
        for name, speed in record["speeds"].items()
        if name not in ("onnxruntime float", f"{record['runtime']} int8")
    ]
    if placement := record["int8"].get("placement"):
        timed = {name: speed for name, speed in record["placements"].items() if name != "float"}
        tried = ", ".join(f"{name} {speed['ratio']:.2f}" for name, speed in timed.items())
        lines.append(f"Layers in INT8: {placement}" + (f" (times as fast as float: {tried})" if tried else ""))
    if record.get("seven_bits"):
        lines.append("Weights have 7 bits: on CPUs without VNNI sums of 8-bit products would saturate")
    if not record["pays"]:
        lines.append(
            f"WARNING: INT8 does not pay here: {record['fastest']} is the fastest. Integers pay on larger images, on "
            "wider layers, and on CPUs with VNNI or AMX" + _other_runtime(record["runtime"])
        )
    return lines


def _other_runtime(runtime: str) -> str:
    return "" if runtime == "openvino" else "; --runtime openvino may do better"


def advice(method: str, seven_bits: bool = False) -> str:
    if method == "dynamic":
        return "Try --method static, whose weights have a scale for each channel."
    more = "" if seven_bits else "or --seven-bits (this CPU may saturate 8-bit sums), "
    return f"Try more --calibration-images, {more}or fine-tune first."
