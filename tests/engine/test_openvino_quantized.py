# SPDX-License-Identifier: AGPL-3.0-or-later
"""INT8 for OpenVINO on the small network of test_quantify.py; a second on top of two of importing NNCF."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import yaml
from engine_helpers import modules
from test_quantify import BINS, images, saved

NAMES = ("runtime.openvino_int8", "runtime.exported", "runtime.processor", "runtime.runtimes", "errors")


@pytest.fixture(scope="module")
def parts(engine: object) -> SimpleNamespace:
    """The modules under test, as the engine on its own."""
    return modules(*NAMES)


@pytest.fixture(scope="module")
def made(parts: SimpleNamespace, tmp_path_factory: pytest.TempPathFactory) -> Iterator[SimpleNamespace]:
    """The network as a float file and as an OpenVINO folder, and what the folder is made of."""
    pytest.importorskip("openvino")
    pytest.importorskip("nncf")
    folder = tmp_path_factory.mktemp("openvino")
    full, small = saved(folder), folder / "net_int8_openvino_model"
    sizes = parts.openvino_int8.quantize_openvino(full, small, images())
    yield SimpleNamespace(full=full, small=small, sizes=sizes)


def outputs(parts: SimpleNamespace, path: Path) -> torch.Tensor:
    """(n, boxes and scores, 8, 8) over the images."""
    network = parts.exported.open_exported(path)
    assert network.image == 8
    return torch.cat([network.outputs(image)[0] for image in images()])


def test_near_float_with_the_decoding_in_float(parts: SimpleNamespace, made: SimpleNamespace, tmp_path: Path) -> None:
    """Boxes, 0 to 1200, within 2% of that (seen: 12.3), scores within 2% (seen: 0.01).

    With 8-bit weights on a CPU without VNNI, whose sums saturate: 27.5.
    """
    small = made.small
    if parts.processor.saturates():
        small = tmp_path / "net_int8_openvino_model"
        parts.openvino_int8.quantize_openvino(made.full, small, images(), seven_bits=True)
    apart = (outputs(parts, small) - outputs(parts, made.full)).abs()
    assert 0 < apart[:, 0].max() < 24 and apart[:, 1].max() < 0.02
    assert made.sizes.layers == 2 and made.sizes.float_layers == 0  # the integral was not learned
    assert made.sizes.integers == 24 * 27 + (BINS + 1) * 24


def test_the_rule_is_that_of_onnx(parts: SimpleNamespace, made: SimpleNamespace) -> None:
    """No integer behind the last convolution: only its input and the image are rounded."""
    openvino = pytest.importorskip("openvino")
    model = openvino.convert_model(str(made.full))
    kinds = {each.get_friendly_name(): each.get_type_name() for each in model.get_ops()}
    kept = {kinds[name] for name in parts.openvino_int8.float_operations(model)}
    assert {"Convolution", "Concat", "Sigmoid"} <= kept and "Swish" not in kept
    small = openvino.Core().read_model(str(parts.exported.file_of(made.small)))
    rounded = [each for each in small.get_ops() if each.get_type_name() == "FakeQuantize"]
    assert {each.input_value(0).get_node().get_type_name() for each in rounded} == {"Parameter", "Swish"}


def test_upstreams_find_their_notes(made: SimpleNamespace) -> None:
    files = sorted(path.name for path in made.small.iterdir())
    assert files == ["metadata.yaml", "net_int8.bin", "net_int8.xml", "net_int8.yaml"]
    for name in files[::3]:
        assert yaml.safe_load((made.small / name).read_text()) == {"stride": 8, "names": {0: "one"}}
    assert made.sizes.total == sum(path.stat().st_size for path in made.small.iterdir())


def test_seven_bits(parts: SimpleNamespace, made: SimpleNamespace, tmp_path: Path) -> None:
    openvino = pytest.importorskip("openvino")
    parts.openvino_int8.quantize_openvino(made.full, tmp_path / "a_openvino_model", images(), seven_bits=True)
    largest = {}
    for folder in (made.small, tmp_path / "a_openvino_model"):
        model = openvino.Core().read_model(str(parts.exported.file_of(folder)))
        held = [each.get_data() for each in model.get_ops() if each.get_type_name() == "Constant"]
        largest[folder.name] = max(np.abs(v.astype(int)).max() for v in held if v.dtype == np.int8 and v.ndim > 1)
    assert list(largest.values()) == [127, 63]


def test_timed_from_its_folder(parts: SimpleNamespace, made: SimpleNamespace) -> None:
    call = parts.runtimes.openvino_call(parts.exported.file_of(made.small), images()[0], threads=1)
    assert call() is not None


def test_absent_packages_are_one_line(parts: SimpleNamespace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "nncf", None)
    with pytest.raises(parts.errors.PruneError, match=r"needs openvino and nncf\. Type: pip install openvino nncf$"):
        parts.openvino_int8.require_openvino()


def test_nobody_is_told(parts: SimpleNamespace, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both packages report their use to their makers, unless they believe to be in CI."""
    monkeypatch.delenv("CI", raising=False)
    monkeypatch.setenv("NNCF_CI", "mine")
    with parts.openvino_int8._alone():
        assert os.environ["CI"] == "true" and os.environ["NNCF_CI"] == "1"
    assert "CI" not in os.environ and os.environ["NNCF_CI"] == "mine"


def test_a_folder_is_copied_whole(parts: SimpleNamespace, tmp_path: Path) -> None:
    source, target = tmp_path / "a_openvino_model", tmp_path / "there" / "a_openvino_model"
    for folder, name in ((source, "new"), (target, "old")):
        folder.mkdir(parents=True)
        (folder / name).write_text("12345")
    parts.exported.copy_exported(source, target)
    assert [path.name for path in target.iterdir()] == ["new"] and parts.exported.bytes_of(target) == 5
    assert [path.name for path in target.parent.iterdir()] == [target.name], "nothing half-made is left"


@pytest.mark.parametrize("name", ["best_int8.onnx", "runs/best_int8_openvino_model", "x_openvino_model/x.xml"])
def test_an_exported_file_is_no_checkpoint(parts: SimpleNamespace, name: str) -> None:
    with pytest.raises(parts.errors.PruneError, match=r"an exported network .* best\.pt, pruned\.pt"):
        parts.exported.refuse_exported(name)
    parts.exported.refuse_exported("best.pt")
