# SPDX-License-Identifier: AGPL-3.0-or-later
"""Files of other scripts: what is read as a stock block, what is refused, and what is left alone."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import nn

pytestmark = pytest.mark.upstream


@pytest.fixture
def foreign_module() -> Any:
    """Make a module with one class in it; after `forget()` nothing of it can be imported."""

    class Made:
        def __init__(self, module: str, name: str) -> None:
            self.module, self.kind = ModuleType(module), type(name, (nn.Module,), {"__module__": module})
            setattr(self.module, name, self.kind)
            sys.modules[module] = self.module

        def forget(self) -> None:
            sys.modules.pop(self.module.__name__, None)

    made: list[Made] = []

    def make(module: str, name: str) -> Made:
        made.append(Made(module, name))
        return made[-1]

    yield make
    for one in made:
        one.forget()


def _swap(model: nn.Module, name: str, kind: type) -> None:
    """Give one block another class, its contents kept."""
    block, twin = model.get_submodule(name), kind()
    twin.__dict__.update({key: value for key, value in block.__dict__.items() if key != "stock"})
    owner, _, leaf = name.rpartition(".")
    setattr(model.get_submodule(owner), leaf, twin)


def _written(checkpoint: Path, file: Path, blocks: tuple[str, ...], kind: type) -> Path:
    """A checkpoint in which some blocks are of another class."""
    ckpt = torch.load(checkpoint, weights_only=False)
    for name in blocks:
        _swap(ckpt["model"], name, kind)
    torch.save(ckpt, file)
    return file


def _load(file: Path) -> nn.Module:
    from ultralytics.nn.tasks import load_checkpoint

    return load_checkpoint(file)[0]


def test_interrupted_surgery_of_our_own(upstream: ModuleType, checkpoints: Path) -> None:
    """The engine's split blocks come out as stock, computing what bare.pt, merged before it was saved, computes."""
    from shrink import difference
    from ultralytics.prunekit import blocks

    model = _load(checkpoints / "split.pt")
    assert {type(m).__name__ for m in model.model if hasattr(m, "m")} >= {"C2f"}
    assert not any(type(m).__module__ == blocks.__name__ for m in model.modules())
    assert difference(model, _load(checkpoints / "bare.pt")) < 1e-4


def test_block_of_a_script_that_is_not_here(
    upstream: ModuleType, checkpoints: Path, foreign_module: Any, tmp_path: Path
) -> None:
    """`train_utils.C2f_v2`: the module cannot be imported; nothing is left behind, and the output is the same."""
    from shrink import difference

    made = foreign_module("train_utils_of_someone", "C2f_v2")
    theirs = _written(checkpoints / "split.pt", tmp_path / "theirs.pt", ("model.2", "model.15"), made.kind)
    made.forget()
    model = _load(theirs)
    assert [type(model.model[i]).__name__ for i in (2, 15)] == ["C2f", "C2f"]
    assert difference(model, _load(checkpoints / "bare.pt")) < 1e-4
    assert "train_utils_of_someone" not in sys.modules


@pytest.mark.parametrize(
    "module, name, error, said",
    [
        ("somebodys_layers", "MyConv", "PruneError", r"theirs\.pt needs somebodys_layers\.MyConv"),
        ("models", "Model", "TypeError", "YOLOv5"),  # upstream explains those itself
    ],
    ids=["unknown", "YOLOv5"],
)
def test_any_other_unknown_class_is_refused(
    upstream: ModuleType,
    checkpoints: Path,
    foreign_module: Any,
    tmp_path: Path,
    module: str,
    name: str,
    error: str,
    said: str,
) -> None:
    """Named in the error; upstream would try to pip-install the module."""
    made = foreign_module(module, name)
    file = _written(checkpoints / "dense.pt", tmp_path / "theirs.pt", ("model.0",), made.kind)
    made.forget()
    with pytest.raises(Exception, match=said) as caught:
        _load(file)
    assert type(caught.value).__name__ == error


def test_class_that_can_be_imported_is_used(
    upstream: ModuleType, checkpoints: Path, foreign_module: Any, tmp_path: Path
) -> None:
    """A user's own module, importable, is no business of the series."""
    made = foreign_module("my_layers", "MyConv")
    file = _written(checkpoints / "dense.pt", tmp_path / "mine.pt", ("model.0",), made.kind)
    assert type(_load(file).model[0]) is made.kind


def test_transfer_to_another_architecture_is_left_alone(upstream: ModuleType, checkpoints: Path) -> None:
    """Weights of a pruned network into a dense one that was asked for by its own YAML: upstream's partial load."""
    from shrink import parameters
    from ultralytics.nn.tasks import DetectionModel

    model = DetectionModel("yolov8n.yaml", nc=10, verbose=False)
    dense = parameters(model)
    model.load(_load(checkpoints / "bare.pt"), verbose=False)
    assert parameters(model) == dense and "prunekit" not in model.yaml


def test_releases_before_torch_2_6_load_by_the_list(
    upstream: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Where upstream has no `torch_load` of its own, a plain `torch.load` takes its networks, and nothing foreign."""
    from ultralytics.nn.tasks import DetectionModel
    from ultralytics.prunekit.loading import load_by_list
    from ultralytics.pruning.errors import PruneError
    from ultralytics.utils import patches

    torch.save({"model": DetectionModel("yolov8n.yaml", verbose=False)}, tmp_path / "own.pt")
    assert not load_by_list()
    monkeypatch.delattr(patches, "torch_load")
    monkeypatch.setattr(torch, "load", torch.serialization.load)
    monkeypatch.delenv("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", raising=False)
    torch.save({"model": pytest.Mark}, tmp_path / "foreign.pt")
    with pytest.raises(Exception, match="Weights only load failed"):
        torch.load(tmp_path / "own.pt")
    assert load_by_list() and not load_by_list()
    assert type(torch.load(tmp_path / "own.pt", map_location="cpu")["model"]) is DetectionModel
    with pytest.raises(PruneError, match="would run"):
        torch.load(tmp_path / "foreign.pt")
