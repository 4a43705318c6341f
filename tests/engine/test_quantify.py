# SPDX-License-Identifier: AGPL-3.0-or-later
"""INT8 on a small network with a detector's decoding: what stays float, what the file keeps, what is refused."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from engine_helpers import modules

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")
from onnx import TensorProto, helper, numpy_helper  # noqa: E402

BINS, CELLS, PIXELS = 16, 64, 8.0
PARTS = (
    "runtime.processor",
    "run.int8",
    "run.int8_text",
    "runtime.int8_graph",
    "runtime.placement",
    "runtime.timing",
    "errors",
)
DECODING = ["split", "bins", "integral", "stride", "score", "join"]


@pytest.fixture(scope="module")
def work(engine: object) -> Iterator[SimpleNamespace]:
    """The modules under test, as the engine on its own."""
    parts = vars(modules(*PARTS))
    yield SimpleNamespace(**parts)
    # onnxruntime's quantizer puts a folder of its own with `models` in it on the path: other tests import that name.
    sys.path[:] = [entry for entry in sys.path if "onnxruntime" not in entry]


def network(*, opset: int = 17, spoilt: bool = False) -> Any:
    """Two convolutions, then YOLOv8's decoding: softmax over bins, their integral times 80, scores, one output."""
    rng = np.random.default_rng(0)
    stem = rng.normal(0, 0.3, (24, 3, 3, 3)).astype(np.float32)
    stem[0] *= 3  # a channel of another size: one scale for all is coarser
    head = rng.normal(0, 0.3, (BINS + 1, 24, 1, 1)).astype(np.float32)
    head[0] *= np.nan if spoilt else 1
    arrays = {
        "stem.w": stem,
        "stem.b": np.zeros(24, np.float32),
        "head.w": head,
        "head.b": np.zeros(BINS + 1, np.float32),
        "bins.w": np.arange(BINS, dtype=np.float32).reshape(1, BINS, 1, 1),
        "eighty": np.float32([80.0]),
        "parts": np.array([BINS, 1], np.int64),
    }
    node = helper.make_node
    nodes = [
        node("Conv", ["images", "stem.w", "stem.b"], ["a"], "stem", kernel_shape=[3, 3], pads=[1, 1, 1, 1]),
        node("Sigmoid", ["a"], ["b"], "gate"),
        node("Mul", ["a", "b"], ["c"], "silu"),
        node("Conv", ["c", "head.w", "head.b"], ["d"], "head", kernel_shape=[1, 1]),
        node("Split", ["d", "parts"], ["e", "f"], "split", axis=1),
        node("Softmax", ["e"], ["g"], "bins", axis=1),
        node("Conv", ["g", "bins.w"], ["h"], "integral", kernel_shape=[1, 1]),
        node("Mul", ["h", "eighty"], ["i"], "stride"),
        node("Sigmoid", ["f"], ["j"], "score"),
        node("Concat", ["i", "j"], ["output0"], "join", axis=1),
    ]
    side = int(CELLS**0.5)
    image = helper.make_tensor_value_info("images", TensorProto.FLOAT, [1, 3, side, side])
    output = helper.make_tensor_value_info("output0", TensorProto.FLOAT, [1, 2, side, side])
    weights = [numpy_helper.from_array(value, name) for name, value in arrays.items()]
    model = helper.make_model(
        helper.make_graph(nodes, "small", [image], [output], weights),
        ir_version=9,
        opset_imports=[helper.make_opsetid("", opset)],
    )
    helper.set_model_props(model, {"stride": "8", "names": "{0: 'one'}"})
    return model


def saved(folder: Path, **options: Any) -> Path:
    """The network as a file."""
    onnx.save(network(**options), str(folder / "net.onnx"))
    return folder / "net.onnx"


def images(count: int = 8) -> list[torch.Tensor]:
    """Images (1, 3, 8, 8)."""
    return list(torch.rand(count, 1, 3, 8, 8, generator=torch.Generator().manual_seed(0)))


def outputs(work: SimpleNamespace, path: Path) -> torch.Tensor:
    """(n, boxes and scores, 8, 8) over the images."""
    session = work.int8_graph.open_session(path)
    return torch.cat([torch.from_numpy(session.run(None, {"images": image.numpy()})[0]) for image in images()])


def test_decoding_is_found_by_the_graph_not_by_names(work: SimpleNamespace) -> None:
    graph = network().graph
    assert sorted(work.int8_graph.float_nodes(graph)) == sorted(DECODING)
    for node in graph.node:
        node.name = ""
    work.int8_graph.name_nodes(graph)
    kinds = sorted(name.partition("_")[0] for name in work.int8_graph.float_nodes(graph))
    assert kinds == ["Concat", "Conv", "Mul", "Sigmoid", "Softmax", "Split"]


@pytest.mark.parametrize("method", ["static", "dynamic"])
def test_int8_is_near_float(work: SimpleNamespace, tmp_path: Path, method: str) -> None:
    """Boxes, 0 to 1200, within 1% of that (seen: 4.0), scores, 0 to 1, within 2% (seen: 0.0095).

    With 8-bit weights on a CPU without VNNI, whose sums saturate: 37.4.
    """
    full, small = saved(tmp_path), tmp_path / "int8.onnx"
    sizes = work.int8_graph.quantize(full, small, images(), method=method, seven_bits=work.processor.saturates())
    apart = (outputs(work, small) - outputs(work, full)).abs()
    assert apart[:, 0].max() < 12 and apart[:, 1].max() < 0.02
    assert sizes.layers == 2 and sizes.integers == 24 * 27 + (BINS + 1) * 24
    assert sizes.float_layers == 1  # the integral
    made = onnx.load(str(small))
    assert {entry.key: entry.value for entry in made.metadata_props} == {"stride": "8", "names": "{0: 'one'}"}


def test_everything_in_int8_loses_the_scores(work: SimpleNamespace, tmp_path: Path) -> None:
    """Why the decoding stays float: this is what the same quantizer does without the exclusions."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(work.int8_graph, "float_nodes", lambda graph: [])
        work.int8_graph.quantize(saved(tmp_path), tmp_path / "all.onnx", images(), method="static")
    apart = (outputs(work, tmp_path / "all.onnx") - outputs(work, tmp_path / "net.onnx")).abs()
    assert apart[:, 1].max() > 0.2


def test_activations_are_unsigned_and_weights_have_a_scale_per_channel(work: SimpleNamespace, tmp_path: Path) -> None:
    work.int8_graph.quantize(saved(tmp_path), tmp_path / "int8.onnx", images(), method="static")
    graph = onnx.load(str(tmp_path / "int8.onnx")).graph
    held = {item.name: numpy_helper.to_array(item) for item in graph.initializer}
    scales = [
        held[node.input[1]].size
        for node in graph.node
        if node.op_type == "DequantizeLinear" and node.input[0] in held and held[node.input[0]].dtype == np.int8
    ]
    assert sorted(scales) == [BINS + 1, 24]
    zeros = {held[node.input[2]].dtype for node in graph.node if node.op_type == "QuantizeLinear"}
    assert zeros == {np.dtype(np.uint8)}


def test_what_the_decoding_reads_is_not_rounded(work: SimpleNamespace, tmp_path: Path) -> None:
    """The last layer's weights are int8, its output is not: rounding that costs accuracy, measured on yolov5n."""
    small = tmp_path / "int8.onnx"
    work.int8_graph.quantize(saved(tmp_path), small, images(), method="static")
    graph = onnx.load(str(small)).graph
    made = {name: node for node in graph.node for name in node.output}
    split = next(node for node in graph.node if node.name == "split")
    head = made[split.input[0]]
    assert (head.name, head.op_type) == ("head", "Conv")
    assert [made[name].op_type for name in head.input] == ["DequantizeLinear"] * 3
    read = {name for node in graph.node for name in node.input}
    assert {item.name for item in graph.initializer} <= read, "nothing is left behind"


def test_seven_bits(work: SimpleNamespace, tmp_path: Path) -> None:
    work.int8_graph.quantize(saved(tmp_path), tmp_path / "int8.onnx", images(), method="static", seven_bits=True)
    held = [numpy_helper.to_array(item) for item in onnx.load(str(tmp_path / "int8.onnx")).graph.initializer]
    assert max(np.abs(value.astype(int)).max() for value in held if value.dtype == np.int8 and value.ndim > 1) == 64


def test_compacting_changes_no_output_and_saves_bytes(work: SimpleNamespace, tmp_path: Path) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(work.int8_graph, "compact", lambda model: model)
        work.int8_graph.quantize(saved(tmp_path), tmp_path / "long.onnx", images(), method="static")
    work.int8_graph.quantize(tmp_path / "net.onnx", tmp_path / "short.onnx", images(), method="static")
    assert torch.equal(outputs(work, tmp_path / "long.onnx"), outputs(work, tmp_path / "short.onnx"))
    assert (tmp_path / "short.onnx").stat().st_size < 0.8 * (tmp_path / "long.onnx").stat().st_size
    names = {node.name for node in onnx.load(str(tmp_path / "short.onnx")).graph.node}
    assert {"stem", "head", *DECODING} <= names  # a profile can still be read


def test_refusals(work: SimpleNamespace, tmp_path: Path) -> None:
    quantize, error = work.int8_graph.quantize, work.errors.PruneError
    target = tmp_path / "int8.onnx"
    with pytest.raises(error, match=r"opset 12: .* needs 13"):
        quantize(saved(tmp_path, opset=12), target, images(), method="static")
    model = network()
    for item in model.graph.initializer:  # nothing learned: every convolution is an integral
        if item.name in ("stem.w", "head.w"):
            values = numpy_helper.to_array(item)
            item.CopyFrom(
                numpy_helper.from_array(np.arange(values.size, dtype=np.float32).reshape(values.shape), item.name)
            )
    onnx.save(model, str(tmp_path / "net.onnx"))
    with pytest.raises(error, match="nothing in it could be quantized"):
        quantize(tmp_path / "net.onnx", target, images(), method="dynamic")
    with pytest.raises(error, match="no training images"):
        work.int8.calibration_images(SimpleNamespace(images=lambda weights: iter(())), tmp_path, 4)
    assert not target.exists()


def test_outputs_that_are_not_finite_are_an_error(work: SimpleNamespace, tmp_path: Path) -> None:
    with pytest.raises(work.errors.PruneError, match="not finite"):
        work.int8.check_finite(saved(tmp_path, spoilt=True), images())
    work.int8.check_finite(saved(tmp_path), images())


@pytest.mark.parametrize(
    ("small", "status"),
    [(0.50, "done"), (0.48, "done"), (0.4799, "less accurate"), (float("nan"), "less accurate"), (0.9, "done")],
)
def test_the_limit_decides(work: SimpleNamespace, tmp_path: Path, small: float, status: str) -> None:
    record: dict[str, Any] = {
        "float": {"map50_95": 0.5},
        "int8": {"map50_95": small, "file": "a.onnx"},
        "limit": 0.5 - 0.48,
        "measures": ["mAP50", "mAP50-95"],
        "method": "static",
    }
    work.int8._judge(record)
    assert record["status"] == status
    if status == "done":
        return work.int8.require_accuracy(record, tmp_path)
    with pytest.raises(work.errors.LessAccurate, match=r"a\.onnx is there, but less accurate") as caught:
        work.int8.require_accuracy(record, tmp_path)
    assert caught.value.exit_code == 5
    return None


@pytest.mark.parametrize(
    ("field", "value", "flag"),
    [
        ("max_map_drop", -0.1, "--max-map-drop"),
        ("max_map_drop", float("nan"), "--max-map-drop"),
        ("images", 0, "--calibration-images"),
        ("threads", 0, "--threads"),
        ("runtime", "tvm", "--runtime tvm: must be one of onnxruntime, openvino"),
        ("placement", "some", "--placement some: must be one of measured, all"),
    ],
)
def test_values_that_cannot_be(work: SimpleNamespace, field: str, value: float, flag: str) -> None:
    with pytest.raises(work.errors.PruneError, match=flag):
        work.int8.Request(**{field: value}).checked()


def test_openvino_has_no_dynamic_ranges(work: SimpleNamespace) -> None:
    with pytest.raises(work.errors.PruneError, match="--method dynamic: OpenVINO has static INT8 only"):
        work.int8.Request(runtime="openvino", method="dynamic").checked()


def test_placements(work: SimpleNamespace) -> None:
    """The stem goes with its activation; the others would leave all of these two layers in float, or no other ones."""
    assert work.placement.placements(network().graph) == {"all": [], "no stem": ["stem", "gate", "silu"]}


@pytest.mark.parametrize(
    ("ratios", "best"),
    [
        ({"all": 1.5, "no stem": 1.54, "widest half": 1.2}, "all"),
        ({"all": 1.5, "no stem": 1.56, "widest half": 1.2}, "no stem"),
        ({"all": 0.8, "no stem": 0.9, "widest half": 0.95}, "widest half"),
    ],
)
def test_fewer_integers_must_be_faster_by_more_than_noise(
    work: SimpleNamespace, ratios: dict[str, float], best: str
) -> None:
    assert work.placement.choose(ratios) == best


def speed(work: SimpleNamespace, ratio: float) -> Any:
    """A measured ratio."""
    return work.timing.Speed(0.01 / ratio, ratio, ratio - 0.1, ratio + 0.1, 101)


@pytest.mark.parametrize(("faster", "layers"), [("all", 2), ("no stem", 1)])
def test_the_fastest_placement_is_written(
    work: SimpleNamespace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, faster: str, layers: int
) -> None:
    """The clock is the only thing here that is not real: every candidate file is made and loaded."""
    timed = []

    def clock(calls: dict[str, Any], **_: Any) -> dict[str, Any]:
        timed.extend(call() for call in calls.values())
        return {name: speed(work, 1.5 if name == faster else 1.0) for name in calls}

    monkeypatch.setattr(work.placement, "interleaved", clock)
    small = tmp_path / "int8.onnx"
    sizes, (name, speeds) = work.int8.write_int8(saved(tmp_path), small, images(), work.int8.Request())
    assert name == faster and list(speeds) == ["float", "all", "no stem"] and len(timed) == 3
    assert (sizes.layers, sizes.float_layers) == (layers, 3 - layers)  # the integral counts as a float one
    monkeypatch.setattr(work.int8, "fastest", None)
    sizes, (name, speeds) = work.int8.write_int8(saved(tmp_path), small, images(), work.int8.Request(placement="all"))
    assert (name, speeds, sizes.layers) == ("all", {}, 2)


def test_int8_that_does_not_pay_is_said(work: SimpleNamespace) -> None:
    """The fastest of all that was timed decides, not the float file in ONNX Runtime alone."""
    side = {"bytes": 1000, "map50": 0.5, "map50_95": 0.4, "seconds": 0.01}
    record: dict[str, Any] = {
        "float": side,
        "int8": {**side, "placement": None},
        "measures": ["mAP50", "mAP50-95"],
        "size_ratio": 0.3,
        "drop": 0.0,
        "image": 64,
        "runtime": "openvino",
        "speed": {"ratio": 1.2, "low": 1.1, "high": 1.3, "threads": 1},
        "placements": {},
    }
    for ratio, pays in ((1.5, False), (1.1, True)):
        speeds = {"onnxruntime float": 1.0, "openvino float": ratio, "openvino int8": 1.2}
        record |= work.int8.compared({name: speed(work, each) for name, each in speeds.items()}, "openvino int8")
        said = work.int8_text.summary(record)
        assert record["pays"] is pays and f"openvino float: {ratio:.2f}" in said
        assert ("WARNING: INT8 does not pay here: openvino float is the fastest" in said) is not pays


def test_saturating_sums_are_told_by_the_processors_flags(work: SimpleNamespace, tmp_path: Path) -> None:
    """AVX2 alone adds pairs of products in 16 bits; VNNI and AMX do not; what lists no flags is no such x86."""
    for number, (flags, wanted) in enumerate(
        (
            ("model name : x\nflags : fma avx avx2\n", True),
            ("flags\t\t: avx2 avx512_vnni\n", False),
            ("flags\t\t: avx2 avx_vnni\n", False),
            ("Features : asimd\n", False),
        )
    ):
        listed = tmp_path / str(number)
        listed.write_text(flags, encoding="utf-8")
        assert work.processor.saturates(listed) is wanted
    assert work.processor.saturates(tmp_path / "gone") is False
