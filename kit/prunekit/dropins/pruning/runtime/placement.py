# SPDX-License-Identifier: AGPL-3.0-or-later
"""Which layers of an ONNX file become INT8: a few placements are timed, the fastest is taken.

A convolution gains by the products per output value that integers save, (input channels / groups) * kernel area; it
pays per output value for the rounding and for SiLU, which ONNX Runtime computes in two passes in INT8 and in one in
float. So the layers with the fewest products per output value are the ones that may be better left in float.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from torch import Tensor

from ..scratch import temporary_folder
from .int8_graph import learned_layers, name_nodes, quantize
from .runtimes import onnx_call
from .timing import Speed, interleaved

if TYPE_CHECKING:
    from onnx import GraphProto, NodeProto

PLACEMENTS = ("measured", "all")
SHARES = {"no stem": 0.0, "widest 3/4": 0.25, "widest half": 0.5}  # of the layers, which stay float
MARGIN = 1.03  # a placement with fewer INT8 layers must be faster than `all` by this: nearer is noise
FEW, ROUNDS, SECONDS = 4, 31, 20.0  # images that a candidate is calibrated with: its speed does not hang on ranges
_ACTIVATIONS = ("Sigmoid", "Mul", "LeakyRelu", "Relu", "Clip", "HardSigmoid", "HardSwish", "Tanh", "Softplus")


def placements(graph: GraphProto) -> dict[str, list[str]]:
    """Candidates: {name: names of the nodes that stay float beside the decoding}.

    Args:
        graph: of a float file, each of whose nodes has a name of its own.
    """
    shapes = {item.name: tuple(item.dims) for item in graph.initializer}
    layers = learned_layers(graph)
    first = {graph.input[0].name}
    stem = [node for node in layers if node.input[0] in first]
    narrow = sorted(layers, key=lambda node: _products(node, shapes))
    found = {"all": list[str]()}
    for name, share in SHARES.items():
        chosen = {node.name for node in (*stem, *narrow[: int(len(narrow) * share)])}
        names = _with_activations(graph, chosen)
        if chosen and len(chosen) < len(layers) and names not in found.values():
            found[name] = names
    return found


def fastest(
    source: Path, images: Sequence[Tensor], *, threads: int, seven_bits: bool
) -> tuple[str, list[str], dict[str, Speed]]:
    """Time all placements of a float file in turns, beside the float file.

    Returns:
        The name of the fastest, the nodes that it leaves in float, and {name: speed}, `float` first (ratio 1).
    """
    import onnx

    graph = onnx.load(str(source)).graph
    name_nodes(graph)
    found = placements(graph)
    with temporary_folder() as folder:
        files = {"float": source}
        for number, (name, left) in enumerate(found.items()):
            files[name] = Path(folder) / f"{number}.onnx"
            quantize(source, files[name], images[:FEW], method="static", seven_bits=seven_bits, left=left)
        calls = {name: onnx_call(file, images[0], threads=threads) for name, file in files.items()}
        speeds = interleaved(calls, warmup=3, rounds=ROUNDS, limit=SECONDS)
    name = choose({name: speeds[name].ratio for name in found})
    return name, found[name], speeds


def choose(ratios: Mapping[str, float]) -> str:
    """The fastest placement; the first one (the most INT8, the smallest file) unless another is faster by `MARGIN`."""
    first = next(iter(ratios))
    best = max(ratios, key=lambda name: ratios[name])
    return best if ratios[best] > MARGIN * ratios[first] else first


def _products(node: NodeProto, shapes: Mapping[str, tuple[int, ...]]) -> int:
    """Products per output value: (input channels / groups) * kernel area, or a matrix product's inputs."""
    shape = next(shapes[name] for name in node.input if name in shapes)
    return math.prod(shape[1:]) if node.op_type in ("Conv", "ConvTranspose") else shape[0]


def _with_activations(graph: GraphProto, chosen: set[str]) -> list[str]:
    """The chosen layers and the activation functions behind them, in the graph's order."""
    held = {item.name for item in graph.initializer}
    outputs, names = set[str](), []
    for node in graph.node:
        behind = node.op_type in _ACTIVATIONS and {name for name in node.input if name} - held <= outputs
        if node.name in chosen or behind:
            outputs.update(node.output)
            names.append(node.name)
    return names
