# SPDX-License-Identifier: AGPL-3.0-or-later
"""Every output of an exported network is held against torch's, and what is no number is never taken for equal."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from engine_helpers import modules
from torch import Tensor

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")
from onnx import TensorProto, helper  # noqa: E402


def exported(file: Path, second: str) -> Path:
    """An ONNX file that answers an image with itself, and with what `second` makes of its negative."""
    image, same, other = (helper.make_tensor_value_info(n, TensorProto.FLOAT, [1, 3, 8, 8]) for n in ("x", "a", "b"))
    nodes = [("Identity", "x", "a"), ("Neg", "x", "n"), (second, "n", "b")]
    graph = helper.make_graph([helper.make_node(kind, [a], [b]) for kind, a, b in nodes], "g", [image], [same, other])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    model.ir_version = 8
    onnx.save(model, str(file))
    return file


class Family:
    """Its torch network answers with these."""

    def __init__(self, ranked: bool, answers: Any) -> None:
        self.ranked, self.reference = ranked, lambda weights, image: answers(image)


def both(image: Tensor) -> list[Tensor]:
    return [image, -image]


@pytest.fixture(scope="module")
def check(engine: SimpleNamespace) -> Any:
    return modules("runtime.onnx_check").onnx_check.check_onnx


@pytest.mark.parametrize("ranked", [False, True], ids=["plain", "ranked"])
def test_no_output_may_be_without_a_number(check: Any, tmp_path: Path, ranked: bool) -> None:
    fine, spoilt = exported(tmp_path / "fine.onnx", "Identity"), exported(tmp_path / "spoilt.onnx", "Sqrt")
    assert check(fine, Family(ranked, both), fine, 8) == 0
    with pytest.raises(Exception, match=r"spoilt\.onnx: output 2 of 2 of ONNX is not finite"):
        check(spoilt, Family(ranked, both), spoilt, 8)
    with pytest.raises(Exception, match=r"fine\.onnx: output 1 of 2 of torch is not finite"):
        check(fine, Family(ranked, lambda image: [image / 0, -image]), fine, 8)
    with pytest.raises(Exception, match="ONNX and torch differ by"):
        check(fine, Family(ranked, lambda image: [image, image]), fine, 8)
