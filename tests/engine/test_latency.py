# SPDX-License-Identifier: AGPL-3.0-or-later
"""Networks as something to call in each runtime, and the table of `latency.py`; no upstream."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from engine_helpers import modules
from torch import Tensor, nn

pytest.importorskip("onnxruntime")


class Net(nn.Sequential):
    """Two convolutions of some width, with a BatchNorm that fusing folds away, as upstreams do."""

    def __init__(self, width: int) -> None:
        super().__init__(nn.Conv2d(3, width, 3, padding=1), nn.BatchNorm2d(width), nn.Conv2d(width, 4, 3))

    def fuse(self) -> nn.Module:
        self[0], self[1] = torch.nn.utils.fuse_conv_bn_eval(self[0], self[1]), nn.Identity()
        self[2].bias *= 1  # YOLOv7's heads fold in place, which autograd forbids
        return self


class Little:
    """The members of a family that timing asks for."""

    def __init__(self, width: int) -> None:
        torch.manual_seed(width)
        self.net = Net(width).eval()
        self.net[1].running_mean.uniform_(-1, 1)

    def load(self, _weights: Path) -> nn.Module:
        import copy

        return copy.deepcopy(self.net)

    def example(self, _model: nn.Module) -> Tensor:
        return torch.zeros(1, 3, 32, 32)

    def arguments(self) -> dict[str, Any]:
        return {"device": ""}

    def export(self, _weights: Path, target: Path) -> None:
        torch.onnx.export(self.net, (torch.zeros(1, 3, 32, 32),), str(target), dynamo=False)


@pytest.fixture(scope="module")
def parts(engine: object) -> SimpleNamespace:
    """The two modules, imported as the engine is on its own."""
    return modules("scripts.latency", "runtime.runtimes")


def test_every_runtime_computes_the_network(parts: SimpleNamespace, tmp_path: Path) -> None:
    """What is timed is the network itself: torch fused, ONNX Runtime, and OpenVINO where it is installed."""
    family, image = Little(8), torch.rand(1, 3, 32, 32)
    wanted = family.net(image).detach()
    family.export(Path("x.pt"), tmp_path / "x.onnx")
    fused = family.load(Path("x.pt"))
    assert (parts.runtimes.torch_call(fused, image)() - wanted).abs().max() < 1e-5
    assert isinstance(fused[1], nn.Identity)
    for runtime in ("onnxruntime", "openvino"):
        if not parts.runtimes.missing(runtime):
            got = parts.runtimes.FROM_ONNX[runtime](tmp_path / "x.onnx", image, threads=1)()
            first = torch.tensor(next(iter(got.values())) if hasattr(got, "values") else got[0])
            own = parts.runtimes.own_precision(runtime)  # with AMX OpenVINO computes in bfloat16: 8 bits
            assert (first - wanted).abs().max() < (1e-4 if not own else 2**-6 * wanted.abs().max()), runtime


def test_speed_and_macs_ratio_are_two_columns(parts: SimpleNamespace) -> None:
    wide, narrow = Little(96), Little(8)
    networks = {"dense": (wide, Path("a.pt")), "pruned": (narrow, Path("b.pt"))}
    result = parts.latency.measure(networks, ["torch", "onnxruntime"], parts.latency.Plenty(threads=1, rounds=7))
    sizes = result["networks"]
    assert sizes["dense"]["macs_ratio"] == 1 and 10 < sizes["pruned"]["macs_ratio"] < 14
    assert set(result["speeds"]) == {"torch", "onnxruntime"} and result["image"] == 32
    speed = result["speeds"]["onnxruntime"]["pruned"]
    assert speed["rounds"] == 7 and speed["low"] <= speed["ratio"] <= speed["high"]
    assert result["speeds"]["torch"]["dense"]["ratio"] == 1 and result["machine"]["versions"]["onnxruntime"]
    rows = parts.latency.table(result).splitlines()
    assert "speed-up" in rows[0] and "MACs ratio" in rows[0] and "MACs ratio is arithmetic" in rows[-1]
    assert rows[4].split()[:2] == ["onnxruntime", "pruned"]
    assert float(rows[4].split()[-1]) == round(sizes["pruned"]["macs_ratio"], 2)


def test_networks_that_remember_other_image_sizes_are_not_compared(
    parts: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    dense, pruned = Little(8), Little(4)
    monkeypatch.setattr(pruned, "example", lambda _model: torch.zeros(1, 3, 64, 64))
    with pytest.raises(Exception, match=r"dense: 32 px, 3 channels, pruned: 64 px, 3 channels\): say which with"):
        parts.latency.measure({"dense": (dense, Path("a.pt")), "pruned": (pruned, Path("b.pt"))}, ["torch"])


def test_what_is_not_installed_is_named_with_what_to_type(
    parts: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parts.runtimes.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(Exception, match=r"--runtime openvino: openvino is not installed \(pip install openvino\)"):
        parts.latency.measure({"dense": (Little(8), Path("a.pt"))}, ["openvino"])
    assert parts.runtimes.missing("torch") is None


def test_a_broken_file_is_one_line(parts: SimpleNamespace, tmp_path: Path) -> None:
    (tmp_path / "x.onnx").write_text("no network")
    with pytest.raises(Exception, match=r"x\.onnx: ONNX Runtime cannot load it"):
        parts.runtimes.onnx_call(tmp_path / "x.onnx", torch.zeros(1, 3, 8, 8), threads=1)


def test_figures_onto_a_folder_are_refused_before_anything_is_timed(parts: SimpleNamespace, tmp_path: Path) -> None:
    words = ["--dense", "a.pt", "--pruned", "b.pt", "--json", str(tmp_path)]
    with pytest.raises(Exception, match=r"a folder is there\. Name a file: --json .*/latency\.json"):
        parts.latency.latency("", words, None)  # no upstream: nothing was opened
