# SPDX-License-Identifier: AGPL-3.0-or-later
"""A probe (probes.py): ONNX files with the fork's box decoding beside upstream's own."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
from ultralytics import YOLO
from ultralytics.nn.modules.block import DFL


def exported(model: str, *settings: str) -> Any:
    """What an ONNX file of a fork is, beside upstream's own of the same network.

    Returns:
        {"inner softmaxes": over a dimension that is not the last, "off": largest difference of an output to upstream's
        file, relative to the largest value of that output, "changed": integrals of the network in hand that compute
        otherwise afterwards, "rounded": nodes of the box integral that quantify.py would turn into integers}.
    """
    import onnx
    from ultralytics.prunekit import hooks
    from ultralytics.pruning.runtime.int8_graph import float_nodes

    asked = {key: json.loads(value) for key, _, value in (s.partition("=") for s in settings)}
    net = _spread(model)
    shape = (2, 3, 96, 64) if asked.get("dynamic") else (asked.get("batch", 1), 3, 64, 64)
    image, answers = torch.rand(shape, generator=torch.Generator().manual_seed(1)), []
    classic = partial(torch.onnx.export, dynamo=False)  # by saying nothing, releases of 2025 ask for the newer one
    for hook in (lambda _: None, hooks.fast_boxes):
        with patch.object(hooks, "fast_boxes", hook), patch.object(torch.onnx, "export", classic):
            file = net.export(**{"format": "onnx", "imgsz": 64, "device": "cpu", "simplify": False, **asked})
        answers.append(_outputs(file, image))
    graph = onnx.load(file).graph
    inner = [node for node in graph.node if node.op_type == "Softmax" and all(a.i != -1 for a in node.attribute)]
    integral = {node.name for node in graph.node if "/dfl/" in node.name}
    return {
        "inner softmaxes": len(inner),
        "off": max(_apart(*pair) for pair in zip(*answers, strict=True)),
        "changed": sum("forward" in vars(module) for module in net.model.modules() if isinstance(module, DFL)),
        "rounded": len(integral - set(float_nodes(graph))),
    }


@contextmanager
def upstreams_decoding() -> Iterator[None]:
    """Within it a fork writes upstream's own box decoding; a stock upstream knows no other."""
    try:
        from ultralytics.prunekit import hooks
    except ModuleNotFoundError:
        yield
        return
    with patch.object(hooks, "fast_boxes", lambda _: None):
        yield


def _spread(model: str) -> YOLO:
    """The network with distributions over its bins that are neither level, as an untrained head's, nor on one bin."""
    from shrink import randomize_norms  # the engine's: a stock upstream, which other probes run under, has none

    net, file = YOLO(model), Path.cwd() / "runs/exported" / f"{Path(model).stem}.pt"
    file.parent.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(0)
    head = randomize_norms(net.model).model[-1]
    for branch in [*head.cv2, *(getattr(head, "one2one_cv2", None) or [])]:
        torch.nn.init.normal_(branch[-1].weight, std=3)
    net.save(file)
    return YOLO(file)


def _outputs(file: str, image: torch.Tensor) -> list[torch.Tensor]:
    """All outputs of an ONNX file."""
    import onnxruntime

    session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    return [torch.from_numpy(found) for found in session.run(None, {session.get_inputs()[0].name: image.numpy()})]


def _apart(one: torch.Tensor, other: torch.Tensor) -> float:
    """Largest difference, relative to the largest value."""
    return float((one - other).abs().max() / one.abs().max())
