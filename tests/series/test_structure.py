# SPDX-License-Identifier: AGPL-3.0-or-later
"""The width block: every kind of network is rebuilt strictly and computes the same; damage is named."""

from __future__ import annotations

from copy import deepcopy
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml
from torch import nn

pytestmark = pytest.mark.upstream
KINDS = {"seg": "SegmentationModel", "pose": "PoseModel", "obb": "OBBModel", "cls": "ClassificationModel"}
HALVED = {"yolov8n": 800_264}  # facts: only the outputs kept, ratio 0.5, 80 classes


def make(name: str, **settings: Any) -> nn.Module:
    """A randomly initialised task model by the name of its YAML, with the norms of a trained one."""
    from shrink import randomize_norms
    from ultralytics.nn import tasks

    kind = getattr(tasks, KINDS.get(name.partition("-")[2], "DetectionModel"))
    return randomize_norms(kind(f"{name}.yaml", verbose=False, **settings))


def closed(model: nn.Module) -> nn.Module:
    """The model with its structure closed into its YAML."""
    from ultralytics.prunekit.structure import close_structure

    model.yaml = close_structure(model)
    return model


@pytest.fixture(scope="module")
def v8n(upstream: ModuleType) -> nn.Module:
    """A halved and closed yolov8n of 80 classes; tests copy what they change."""
    from shrink import shrink

    return closed(shrink(make("yolov8n")))


@pytest.mark.parametrize(
    "name",
    [f"yolo{kind}" for kind in "v8n 11n 12n 26n v8n-seg 26n-seg 26n-pose 11n-obb v8n-cls".split()],
)
def test_rebuild_is_strict_and_computes_the_same(upstream: ModuleType, name: str, tmp_path: Path) -> None:
    """Through a YAML file and back: strict load, zero difference, fewer parameters than the dense network."""
    from shrink import difference, parameters, shrink
    from ultralytics.prunekit.structure import rebuild

    model = make(name)
    dense = parameters(model)
    closed(shrink(model))
    model.yaml = yaml.safe_load(yaml.safe_dump(_lists(model.yaml)))
    again = rebuild(model)
    assert difference(model, again) == 0.0
    assert parameters(again) == parameters(model) < 0.5 * dense
    assert parameters(model) == HALVED.get(name, parameters(model))


@pytest.mark.parametrize("name", ["yolov8n", "yolo26n-pose", "yolo26n-seg", "yolov8n-cls"])
def test_other_task_sizes_keep_all_other_widths(upstream: ModuleType, name: str) -> None:
    """Ten classes and five keypoints instead of the built ones: only the output layers change."""
    from shrink import shrink
    from ultralytics.prunekit.structure import output_layers

    model = closed(shrink(make(name)))
    points = {"data_kpt_shape": [5, 3]} if "pose" in name else {}
    other = type(model)(deepcopy(model.yaml), nc=10, verbose=False, **points)
    have, want = ({k: v.shape for k, v in m.state_dict().items()} for m in (other, model))
    changed = {k.rpartition(".")[0] for k in want if have[k] != want[k]}
    assert have.keys() == want.keys()
    assert changed and changed <= set(output_layers(model))
    assert all(layer.endswith(("linear", ".2")) or "cv4" in layer for layer in changed)


def test_pruning_twice_and_changing_classes(v8n: nn.Module) -> None:
    """A network fine-tuned on other data, pruned and closed again, is rebuilt at its last widths."""
    from shrink import difference, parameters, shrink
    from ultralytics.prunekit.structure import rebuild

    other = closed(shrink(type(v8n)(deepcopy(v8n.yaml), nc=3, verbose=False)))
    assert other.yaml["nc"] == 3
    assert parameters(rebuild(other)) == parameters(other) < 0.5 * parameters(v8n)
    assert difference(other, rebuild(other)) == 0.0


def test_scale_comes_from_the_block(v8n: nn.Module, tmp_path: Path) -> None:
    """Upstream guesses the scale from a file's name: here a wrong one."""
    from shrink import parameters
    from ultralytics import YOLO

    file = tmp_path / "yolov8x-mine.yaml"
    file.write_text(yaml.safe_dump(v8n.yaml))
    assert parameters(YOLO(file).model) == parameters(v8n)


def test_activations_with_arguments_are_rebuilt(upstream: ModuleType) -> None:
    """Each block's own, in place or not; what is no class of torch.nn is refused with what to do."""
    from shrink import difference, shrink
    from ultralytics.prunekit.structure import close_structure, rebuild
    from ultralytics.pruning.errors import PruneError

    model = shrink(make("yolov8n"))
    model.model[0].act, model.model[1].act = nn.LeakyReLU(0.1, inplace=True), nn.Hardtanh(-2.0, 2.0)
    model.model[3].act = nn.SiLU(inplace=True)  # as upstream's
    closed(model)
    block = model.yaml["prunekit"]
    assert block["act"] | {"model.9.cv1": ""} == {
        "model.0": "LeakyReLU",
        "model.1": "Hardtanh",
        "model.9.cv1": "",
    }
    assert block["act_args"] == {
        "model.0": {"negative_slope": 0.1},
        "model.1": {"min_val": -2.0, "max_val": 2.0},
    }
    assert difference(model, rebuild(model)) == 0.0
    model.model[0].act = nn.Sequential(nn.SiLU())
    with pytest.raises(PruneError, match=r"model.0 has the activation .*activation: torch.nn.LeakyReLU\(0.1\)"):
        close_structure(model)


def test_settings_of_older_checkpoints_survive(upstream: ModuleType) -> None:
    """An activation and norm settings that a fresh build would not have (SPPF before 8.4.0, converted networks)."""
    from shrink import difference, shrink
    from ultralytics.prunekit.structure import rebuild

    model = shrink(make("yolov8n"))
    fresh = type(model.model[9].cv1.act)
    model.model[9].cv1.act = nn.ReLU()
    for m in model.modules():
        if isinstance(m, nn.BatchNorm2d):
            m.eps, m.momentum = 1e-2, 0.2
    closed(model)
    assert fresh is not nn.ReLU and model.yaml["prunekit"]["act"] == {"model.9.cv1": "ReLU"}
    assert model.yaml["prunekit"]["bn"] == {"eps": 1e-2, "momentum": 0.2}
    again = rebuild(model)
    assert difference(model, again) == 0.0
    assert {(m.eps, m.momentum) for m in again.modules() if isinstance(m, nn.BatchNorm2d)} == {(1e-2, 0.2)}


def test_norms_that_differ_among_layers(v8n: nn.Module) -> None:
    """One odd norm: the block then names every layer."""
    from ultralytics.prunekit.structure import plain_structure, rebuild

    model = deepcopy(v8n)
    model.yaml = plain_structure(model.yaml)
    model.model[0].bn.eps = 0.5
    closed(model)
    again = rebuild(model)
    assert (again.model[0].bn.eps, again.model[1].bn.eps) == (0.5, 1e-3)


def test_guard_is_a_name_that_upstream_cannot_find(v8n: nn.Module) -> None:
    """Upstream looks a row's module up by name, except names with these two parts."""
    from ultralytics.nn import tasks
    from ultralytics.prunekit.structure import GUARD

    assert v8n.yaml["backbone"][0][2] == GUARD
    assert "nn." not in GUARD and "torchvision.ops." not in GUARD and "prunekit" in GUARD
    assert GUARD not in vars(tasks)


def test_closing_leaves_model_and_random_state_alone(upstream: ModuleType) -> None:
    """Closing looks only: the same YAML, the same next random number; closing twice is the same."""
    import torch
    from ultralytics.prunekit.structure import close_structure, plain_structure

    model = make("yolov8n")
    before, state = deepcopy(model.yaml), torch.get_rng_state()
    block = close_structure(model)
    assert model.yaml == before and torch.equal(state, torch.get_rng_state())
    assert plain_structure(block) == before
    model.yaml = block
    assert close_structure(model) == block


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda block: block.update(width={}), "did you mean 'widths'"),
        (lambda block: block.update(version=2), "version 2"),
        (lambda block: block.pop("stem"), "stem"),
        (lambda block: block["widths"].update({"model.0.conf": [None, 8]}), "nearest name is 'model.0.conv'"),
        (lambda block: block["widths"].update({"model.0.conv": [None, 0]}), "model.0.conv: [None, 0]"),
        (lambda block: block["widths"].update({"model.0.conv": 8}), "model.0.conv: 8"),
    ],
)
def test_damaged_block_is_named(v8n: nn.Module, change: Any, said: str) -> None:
    """A hand-edited block fails with the key and what is wrong, not somewhere in a forward pass."""
    from ultralytics.pruning.errors import PruneError

    d = deepcopy(v8n.yaml)
    change(d["prunekit"])
    with pytest.raises(PruneError) as caught:
        type(v8n)(d, verbose=False)
    assert said in str(caught.value)


def test_guard_without_block(v8n: nn.Module) -> None:
    """Deleting the block does not bring the dense network back."""
    from ultralytics.pruning.errors import PruneError

    d = deepcopy(v8n.yaml)
    del d["prunekit"]
    with pytest.raises(PruneError, match="widths are lost"):
        type(v8n)(d, verbose=False)


def test_split_blocks_cannot_be_closed(upstream: ModuleType) -> None:
    """A checkpoint may only hold stock classes, so closing refuses a network in the middle of surgery."""
    from shrink import shrink
    from ultralytics.prunekit.structure import close_structure
    from ultralytics.pruning.errors import PruneError

    with pytest.raises(PruneError, match="Merge split blocks first"):
        close_structure(shrink(make("yolov8n"), merge=False))


def test_other_heads_are_refused(upstream: ModuleType) -> None:
    """RT-DETR is not a family that is pruned here."""
    from ultralytics.prunekit.structure import output_layers
    from ultralytics.pruning.errors import PruneError

    holder = nn.Module()
    holder.model = nn.Sequential(nn.Conv2d(3, 8, 1))
    with pytest.raises(PruneError, match="ends in Conv2d"):
        output_layers(holder)


def test_half_width_attribute_follows(v8n: nn.Module) -> None:
    """C2f.c, which upstream's forward_split reads, is half of cv1 after a rebuild."""
    import torch
    from ultralytics.prunekit.structure import rebuild

    block = rebuild(v8n).eval().model[2]
    assert block.c == block.cv1.conv.out_channels // 2 == 8
    x = torch.rand(1, block.cv1.conv.in_channels, 8, 8)
    assert torch.equal(block(x), block.forward_split(x))


def _lists(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _lists(item) for key, item in value.items()}
    return [_lists(item) for item in value] if isinstance(value, (list, tuple)) else value
