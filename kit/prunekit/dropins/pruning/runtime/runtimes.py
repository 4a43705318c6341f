# SPDX-License-Identifier: AGPL-3.0-or-later
"""A network as something to call, in each runtime that is installed: torch, ONNX Runtime, OpenVINO, TensorRT.

Every maker returns a callable that runs one forward of one image and has finished when it returns, so that
`timing.interleaved` can take turns between networks.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import PruneError

Call = Callable[[], object]


def torch_call(model: nn.Module, image: Tensor, device: str = "cpu") -> Call:
    """A network's inference in torch, its BatchNorms folded into the convolutions as upstream does before predicting.

    Args:
        model: is changed (fused, moved); hand over a copy or a fresh one.
        image: one image, (1, channels, height, width).
        device: as torch names it.
    """
    model = model.eval().requires_grad_(False)  # YOLOv7's heads fold their implicit knowledge in place
    fuse: Any = getattr(model, "fuse", None)
    fused = fuse().to(device) if callable(fuse) else model.to(device)
    on_device = image.to(device)
    wait = torch.cuda.synchronize if on_device.is_cuda else lambda: None

    def call() -> object:
        with torch.inference_mode():
            output = fused(on_device)
        wait()
        return output

    return call


def onnx_call(
    path: Path, image: Tensor, *, threads: int, providers: tuple[str, ...] = ("CPUExecutionProvider",)
) -> Call:
    """An ONNX file in ONNX Runtime.

    Args:
        path: the file; its input has the shape of `image`.
        image: one image, (1, channels, height, width).
        threads: for the operators of one forward. Idle ones sleep: it is another session's turn next.
        providers: execution providers, best first; what they cannot run goes to the next one.

    Raises:
        PruneError: the file cannot be loaded.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.log_severity_level = 3
    try:
        session = onnxruntime.InferenceSession(str(path), options, providers=list(providers))
    except Exception as error:  # onnxruntime raises one class per status, without a common base
        raise PruneError(f"{path}: ONNX Runtime cannot load it ({str(error).splitlines()[0][:200]}).") from error
    feed = {session.get_inputs()[0].name: image.numpy()}
    return lambda: session.run(None, feed)


def openvino_call(path: Path, image: Tensor, *, threads: int) -> Call:
    """An ONNX file in OpenVINO on the CPU, tuned for the time of one image.

    Its precision is OpenVINO's own choice, as in upstream's `nn/backends/openvino.py`: so a user will run it.
    """
    import openvino

    settings = {"INFERENCE_NUM_THREADS": threads, "PERFORMANCE_HINT": "LATENCY"}
    request = openvino.Core().compile_model(str(path), "CPU", settings).create_infer_request()
    inputs = [image.numpy()]
    return lambda: request.infer(inputs)


def tensorrt_call(path: Path, image: Tensor, *, threads: int) -> Call:
    """An ONNX file in TensorRT, through ONNX Runtime's TensorRT provider; what TensorRT cannot run goes to CUDA."""
    return onnx_call(path, image, threads=threads, providers=("TensorrtExecutionProvider", "CUDAExecutionProvider"))


# Runtimes that take an ONNX file; "torch" takes the network itself.
FROM_ONNX: Mapping[str, Callable[..., Call]] = {
    "onnxruntime": onnx_call,
    "openvino": openvino_call,
    "tensorrt": tensorrt_call,
}
RUNTIMES = ("torch", *FROM_ONNX)


def missing(runtime: str) -> str | None:
    """Why a runtime cannot be used here, with what to type; None if it can."""
    if runtime == "torch":
        return None
    module = {"tensorrt": "onnxruntime"}.get(runtime, runtime)
    if importlib.util.find_spec(module) is None:
        return f"{module} is not installed (pip install {module})"
    if runtime == "tensorrt" and "TensorrtExecutionProvider" not in _providers():
        return "this onnxruntime has no TensorRT (pip install onnxruntime-gpu tensorrt, on a machine with a GPU)"
    return None


def own_precision(runtime: str) -> str:
    """What a runtime does to float layers that is not float32, in words; "" for nothing."""
    if runtime != "openvino":
        return ""
    import openvino

    chosen = openvino.Core().get_property("CPU", "INFERENCE_PRECISION_HINT").to_string()
    return "" if chosen == "f32" else f"float layers in {chosen}, OpenVINO's choice on this CPU"


def versions() -> dict[str, str]:
    """The runtimes that are installed here, with their versions."""
    import importlib.metadata as metadata

    found = {}
    for name in ("torch", "onnxruntime", "onnxruntime-gpu", "openvino", "tensorrt"):
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def _providers() -> list[str]:
    import onnxruntime

    provided: Any = onnxruntime.get_available_providers()
    return list(provided)
