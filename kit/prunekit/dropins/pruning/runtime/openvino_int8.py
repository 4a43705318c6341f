# SPDX-License-Identifier: AGPL-3.0-or-later
"""INT8 for OpenVINO: NNCF's post-training quantization (Apache-2.0) of an ONNX file, the decoding left in float.

The network is converted before it is quantized: only then SiLU is one operation, which OpenVINO computes inside the
convolution. Quantized as the exporter writes it (Sigmoid, then Mul), SiLU took a third of the time of a half-width
yolov8n.
"""

from __future__ import annotations

import ast
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml
from torch import Tensor

from ..errors import PruneError
from .exported import OPENVINO, bytes_of
from .int8_graph import Sizes, is_bins, quiet

_LEARNED = ("Convolution", "GroupConvolution", "ConvolutionBackpropData", "GroupConvolutionBackpropData", "MatMul")
_NO_WORK = ("Constant", "Parameter", "Result")


def require_openvino() -> None:
    """Make sure of the two packages.

    Raises:
        PruneError: with what to type.
    """
    try:
        with _alone():
            import nncf  # noqa: F401
            import openvino  # noqa: F401
    except ImportError as error:
        raise PruneError(
            f"{error}: --runtime openvino needs openvino and nncf. Type: pip install openvino nncf"
        ) from error


def quantize_openvino(source: Path, target: Path, images: Sequence[Tensor], *, seven_bits: bool = False) -> Sizes:
    """Quantize an ONNX file into an OpenVINO folder.

    Args:
        source: a float ONNX file with one input.
        target: the folder, `NAME_openvino_model`; it holds NAME.xml, NAME.bin and the two files in which upstreams look
            for names and stride: metadata.yaml (ultralytics), NAME.yaml (YOLOv5).
        images: calibration images, (1, channels, height, width), 0 to 1.
        seven_bits: keep weights to 7 bits, so that sums of products cannot saturate on CPUs without VNNI.

    Raises:
        PruneError: nothing that could be quantized.
    """
    with _alone():
        import nncf
        import openvino

        model = openvino.convert_model(str(source))
        fix = nncf.OverflowFix.ENABLE if seven_bits else nncf.OverflowFix.DISABLE
        made = nncf.quantize(
            model,
            nncf.Dataset(list(images), lambda image: image.numpy()),
            subset_size=len(images),
            ignored_scope=nncf.IgnoredScope(names=float_operations(model), validate=False),
            advanced_parameters=nncf.AdvancedQuantizationParameters(overflow_fix=fix),
        )
        _write(made, source, target)
    sizes = _sizes(made, target)
    if not sizes.layers:
        raise PruneError(f"{source.name}: nothing in it could be quantized")
    return sizes


def float_operations(model: Any) -> list[str]:
    """Names of the operations that stay float: the rule of `int8_graph.float_nodes`, on OpenVINO's graph."""
    leads = set[str]()  # operations from which a learned layer can be reached
    kept = []
    for operation in reversed(model.get_ordered_ops()):
        name = operation.get_friendly_name()
        if operation.get_type_name() in _NO_WORK:
            continue
        if name in leads or _learned(operation) is not None:
            leads |= {value.get_source_output().get_node().get_friendly_name() for value in operation.inputs()}
        else:
            kept.append(name)
    return kept


def _learned(operation: Any) -> Any:
    """The constant that holds a learned layer's weights; None for everything else (no weights, or the box integral)."""
    if operation.get_type_name() not in _LEARNED:
        return None
    node = operation.input_value(1).get_node()
    while node.get_type_name() not in _NO_WORK and node.inputs():
        node = node.input_value(0).get_node()  # through Convert, Multiply, Reshape, FakeQuantize
    return node if node.get_type_name() == "Constant" and not is_bins(node.get_data().ravel()) else None


def _sizes(model: Any, folder: Path) -> Sizes:
    weights = [found for each in model.get_ops() if (found := _learned(each)) is not None]
    small = [each for each in weights if each.get_element_type().get_type_name() in ("i8", "u8")]
    return Sizes(
        total=bytes_of(folder),
        integers=sum(each.get_byte_size() for each in small),
        layers=len(small),
        float_layers=len(weights) - len(small),
    )


def convert_openvino(source: Path, target: Path) -> None:
    """Convert a float ONNX file into the folder of an OpenVINO network, as `quantize_openvino` lays it out."""
    with _alone():
        import openvino

        _write(openvino.convert_model(str(source)), source, target)


def _write(network: Any, source: Path, target: Path) -> None:
    """Write an OpenVINO network and what its ONNX file notes into a folder."""
    import openvino

    name = target.name.removesuffix(OPENVINO)
    openvino.save_model(network, str(target / f"{name}.xml"), compress_to_fp16=False)
    for file in ("metadata.yaml", f"{name}.yaml"):
        (target / file).write_text(yaml.safe_dump(_notes(source), sort_keys=False), encoding="utf-8")


def _notes(source: Path) -> dict[str, Any]:
    """What the exporter noted in the ONNX file: names, stride, task, ..."""
    import onnx

    return {entry.key: _value(entry.value) for entry in onnx.load(str(source)).metadata_props}


def _value(text: str) -> Any:
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text


@contextmanager
def _alone() -> Iterator[None]:
    """Without what both packages tell their makers over the network (they keep still where CI is set), and quietly."""
    had = {key: os.environ.get(key) for key in ("CI", "NNCF_CI")}
    os.environ.update(CI="true", NNCF_CI="1")
    try:
        with quiet():
            yield
    finally:
        for key, value in had.items():
            os.environ.pop(key, None)
            if value is not None:
                os.environ[key] = value
