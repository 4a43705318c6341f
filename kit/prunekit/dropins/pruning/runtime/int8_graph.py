# SPDX-License-Identifier: AGPL-3.0-or-later
"""INT8 in an ONNX file: which nodes become integers, onnxruntime's quantizer called on them, the file made small.

Weights are int8 per output channel, activations uint8 per tensor, in QDQ form: signed activations were measured two to
six times slower on x86 (VNNI, AMX). A detector's decoding stays in float: it joins boxes of hundreds of pixels with
scores below 1, and one scale for both leaves nothing of the scores (mAP 0.000, measured).
"""

from __future__ import annotations

import logging
import shutil
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import Tensor

from ..errors import PruneError
from ..scratch import temporary_folder
from .int8_sizes import LEARNED, Sizes, compact, sizes_of

if TYPE_CHECKING:
    from onnx import GraphProto, ModelProto, NodeProto
    from onnxruntime import InferenceSession

METHODS = ("static", "dynamic")
LEAST_OPSET = 13  # the first whose DequantizeLinear takes a scale per channel


def require_onnx() -> None:
    """Make sure of the two packages.

    Raises:
        PruneError: with what to type.
    """
    try:
        import onnx  # noqa: F401
        import onnxruntime.quantization  # noqa: F401
    except ImportError as error:
        raise PruneError(f"{error}: INT8 needs onnx and onnxruntime. Type: pip install onnx onnxruntime") from error


def quantize(
    source: Path,
    target: Path,
    images: Iterable[Tensor],
    *,
    method: str,
    seven_bits: bool = False,
    left: Sequence[str] = (),
) -> Sizes:
    """Quantize an ONNX file.

    Args:
        source: a float ONNX file with one input.
        target: where the INT8 file goes.
        images: calibration images, (1, channels, height, width), 0 to 1; only the static method looks at them.
        method: "static": activation ranges from calibration; "dynamic": from each input as it comes.
        seven_bits: keep weights to 7 bits, so that sums of products cannot saturate on CPUs without VNNI.
        left: names of more nodes that stay float, as `name_nodes` has them (`placement.placements`).

    Raises:
        PruneError: an old opset, no calibration image, or nothing that could be quantized.
    """
    import onnx

    model = onnx.load(str(source))
    opset = next(entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx"))
    if opset < LEAST_OPSET:
        raise PruneError(f"{source.name} has opset {opset}: INT8 per channel needs {LEAST_OPSET} or newer")
    with temporary_folder() as folder, quiet():
        named, made = Path(folder) / "float.onnx", Path(folder) / "int8.onnx"
        name_nodes(model.graph)
        onnx.save(model, str(named))
        if method == "static":
            _static(named, made, images, model.graph, seven_bits, left)
        else:
            _dynamic(named, made, model.graph, seven_bits)
        onnx.save(compact(float_outputs(onnx.load(str(made)), set(float_nodes(model.graph)))), str(made))
        sizes = sizes_of(made)
        if not sizes.layers:
            raise PruneError(f"{source.name}: nothing in it could be quantized")
        shutil.copyfile(made, target)
    return sizes


def _static(
    source: Path, target: Path, images: Iterable[Tensor], graph: GraphProto, seven_bits: bool, left: Sequence[str]
) -> None:
    from onnxruntime import quantization as q

    reader = _reader(images, graph.input[0].name)
    q.quantize_static(
        str(source),
        str(target),
        reader,
        quant_format=q.QuantFormat.QDQ,
        per_channel=True,
        reduce_range=seven_bits,
        weight_type=q.QuantType.QInt8,
        activation_type=q.QuantType.QUInt8,
        nodes_to_exclude=[*float_nodes(graph), *left],
    )


def _dynamic(source: Path, target: Path, graph: GraphProto, seven_bits: bool) -> None:
    """Weights uint8 per tensor: onnxruntime's ConvInteger takes nothing else."""
    from onnxruntime import quantization as q

    q.quantize_dynamic(
        str(source),
        str(target),
        weight_type=q.QuantType.QUInt8,
        op_types_to_quantize=["Conv", "Gemm", "MatMul"],
        reduce_range=seven_bits,
        nodes_to_exclude=float_nodes(graph),
    )


def _reader(images: Iterable[Tensor], name: str) -> Any:
    """Calibration images in the form that onnxruntime asks for."""
    from onnxruntime.quantization import CalibrationDataReader

    class Reader(CalibrationDataReader):
        def __init__(self) -> None:
            self.rest: Iterator[Tensor] = iter(images)

        def get_next(self) -> dict[str, Any] | None:
            image = next(self.rest, None)
            return None if image is None else {name: image.numpy()}

    return Reader()


def float_nodes(graph: GraphProto) -> list[str]:
    """Names of the nodes that stay float: everything behind the last learned layer of each branch.

    That is the decoding, whatever the exporter calls it. The box integral (DFL: a 1x1 convolution over the bins 0, 1,
    2, ...) is a convolution that nobody learned, so it belongs to the decoding.
    """
    learned = {node.output[0] for node in learned_layers(graph)}
    leads = set[str]()  # tensors from which a learned layer can be reached
    kept = []
    for node in reversed(graph.node):  # in topological order, by ONNX's rules
        if node.output[0] in learned or leads & set(node.output):
            leads |= set(node.input)
        else:
            kept.append(node.name)
    return kept


def learned_layers(graph: GraphProto) -> list[NodeProto]:
    """Convolutions and matrix products whose weights were learned, in the graph's order."""
    weights = {item.name: item for item in graph.initializer}
    kinds = [node for node in graph.node if node.op_type in LEARNED and not _is_integral(node, weights)]
    return [node for node in kinds if any(name in weights for name in node.input)]


def _is_integral(node: NodeProto, weights: dict[str, Any]) -> bool:
    """True for a convolution whose weights are 0, 1, 2, ... (Generalized Focal Loss, arXiv 2006.04388, eq. 4)."""
    from onnx import numpy_helper

    if node.op_type != "Conv" or node.input[1] not in weights:
        return False
    return is_bins(numpy_helper.to_array(weights[node.input[1]]).ravel())


def is_bins(values: Any) -> bool:
    """True for 0, 1, 2, ... times a number (an array of one dimension): OpenVINO multiplies a stride into them."""
    step = values[1] if len(values) > 2 else 0
    return bool(step) and all(abs(value / step - place) < 1e-4 for place, value in enumerate(values.tolist()))


def float_outputs(model: ModelProto, kept: set[str]) -> ModelProto:
    """Take the quantization off what a learned layer hands to float nodes alone, in place.

    8 bits for raw boxes and scores together cost yolov5n 0.010 mAP50-95 and half of it 0.019, without them nothing; the
    weights stay int8, and such layers are too small to be missed.

    Args:
        model: as the quantizer made it.
        kept: names of the float nodes.
    """
    graph, made, readers = model.graph, {}, dict[str, list[Any]]()
    for node in graph.node:
        made.update(dict.fromkeys(node.output, node))
        for name in node.input:
            readers.setdefault(name, []).append(node)
    for first in [node for node in graph.node if node.op_type == "QuantizeLinear"]:
        source, back = made.get(first.input[0]), readers.get(first.output[0], [])
        after = [node for each in back for node in readers.get(each.output[0], [])]
        if source is None or source.op_type not in LEARNED or not after or any(n.name not in kept for n in after):
            continue
        for node in after:
            inner = {each.output[0] for each in back}
            node.input[:] = [source.output[0] if name in inner else name for name in node.input]
        for node in (first, *back):
            graph.node.remove(node)
    read = {name for node in graph.node for name in node.input}
    for item in [item for item in graph.initializer if item.name not in read]:
        graph.initializer.remove(item)
    return model


def open_session(path: Path) -> InferenceSession:
    """A session on the CPU."""
    import onnxruntime

    return onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])


def name_nodes(graph: GraphProto) -> None:
    """Give every node a name of its own: exclusions go by name."""
    seen = set[str]()
    for number, node in enumerate(graph.node):
        if not node.name or node.name in seen:
            node.name = f"{node.op_type}_{number}"
        seen.add(node.name)


@contextmanager
def quiet() -> Iterator[None]:
    """Without the advice that quantizers log."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(before)
