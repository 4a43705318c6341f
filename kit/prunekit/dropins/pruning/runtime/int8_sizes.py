# SPDX-License-Identifier: AGPL-3.0-or-later
"""What an INT8 ONNX file is made of, and how it is made small."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from onnx import ModelProto

LEARNED = ("Conv", "ConvTranspose", "Gemm", "MatMul")


@dataclass(frozen=True)
class Sizes:
    """What a file is made of, in bytes; `integers` are the int8 weights, `rest` is graph, scales, biases and names."""

    total: int
    integers: int
    layers: int  # with int8 weights
    float_layers: int  # whose weights stayed float

    @property
    def rest(self) -> int:
        """Everything but int8 weights."""
        return self.total - self.integers


def compact(model: ModelProto) -> ModelProto:
    """Short names for inner tensors, no recorded shapes, no names for the quantizer's own nodes; in place.

    The quantizer adds two nodes to each tensor and repeats long names in them: a fifth of a small network's file.
    """
    graph = model.graph
    kept = {item.name for item in (*graph.input, *graph.output)} | {""}
    short: dict[str, str] = {}

    def renamed(name: str) -> str:
        return name if name in kept else short.setdefault(name, f"t{len(short):x}")

    for item in graph.initializer:
        item.name = renamed(item.name)
    for node in graph.node:
        node.input[:] = [renamed(name) for name in node.input]
        node.output[:] = [renamed(name) for name in node.output]
        node.name = "" if "Quantize" in node.op_type else node.name
    del graph.value_info[:]
    own = [entry for entry in model.metadata_props if entry.key != "onnx.infer"]  # a note of the quantizer to itself
    del model.metadata_props[:]
    model.metadata_props.extend(own)
    return model


def sizes_of(path: Path) -> Sizes:
    """What an ONNX file is made of."""
    import onnx

    graph = onnx.load(str(path)).graph
    kinds = (onnx.TensorProto.INT8, onnx.TensorProto.UINT8)
    wide = {i.name: i for i in graph.initializer if len(i.dims) >= 2}
    integers = {name: item for name, item in wide.items() if item.data_type in kinds}
    floats = {name for name, item in wide.items() if item.data_type == onnx.TensorProto.FLOAT}
    layers = [set(node.input) for node in graph.node if node.op_type in LEARNED]
    return Sizes(
        total=path.stat().st_size,
        integers=sum(len(item.raw_data) or item.ByteSize() for item in integers.values()),
        layers=len(integers),
        float_layers=sum(bool(read & floats) for read in layers),
    )
