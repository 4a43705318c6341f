# SPDX-License-Identifier: AGPL-3.0-or-later
"""Splitting and merging blocks: no output changes, and what comes back is the stock block."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from engine_helpers import all_outputs, build, image, randomise, relative
from torch import Tensor, nn

pytestmark = pytest.mark.upstream
NAMES = ["yolov8n", "yolo11n", "yolo12n", "yolo26n"]
BLOCKS = {"yolov8n": 8, "yolo11n": 9, "yolo12n": 3, "yolo26n": 9}


def describe(model: nn.Module) -> list[tuple[str, type]]:
    return [(name, type(module)) for name, module in model.named_modules()]


@pytest.mark.parametrize("name", NAMES)
def test_surgery_changes_no_output(kit: SimpleNamespace, name: str) -> None:
    model, x, rules = build(kit, name), image(), kit.blocks.RULES
    dense, before, state = all_outputs(kit, model, x), describe(model), model.state_dict()
    assert kit.surgery.split_blocks(model, rules) == BLOCKS[name]
    assert kit.surgery.split_blocks(model, rules) == 0
    assert relative(all_outputs(kit, model, x), dense) == 0
    assert not any(type(module) in {rule.stock for rule in rules} for module in model.modules())
    assert kit.surgery.merge_blocks(model, rules) == BLOCKS[name]
    assert kit.surgery.merge_blocks(model, rules) == 0
    assert relative(all_outputs(kit, model, x), dense) == 0
    assert describe(model) == before  # same modules, same classes, same order: no node more
    merged = model.state_dict()
    assert list(merged) == list(state) and all(torch.equal(merged[key], state[key]) for key in state)


@pytest.mark.parametrize("name", NAMES)
def test_surgery_in_float32(kit: SimpleNamespace, name: str) -> None:
    model, x = build(kit, name, dtype=torch.float32), image(dtype=torch.float32)
    dense = all_outputs(kit, model, x)
    kit.surgery.split_blocks(model, kit.blocks.RULES)
    assert relative(all_outputs(kit, model, x), dense) < 1e-6
    kit.surgery.merge_blocks(model, kit.blocks.RULES)
    assert relative(all_outputs(kit, model, x), dense) < 1e-6


def test_everything_but_the_weights_is_kept(kit: SimpleNamespace) -> None:
    model = build(kit, "yolov8n", dtype=torch.float32).half()
    block, calls = model.model[4], []
    block.train()
    block.cv1.bn.eps, block.cv1.bn.momentum = 7e-3, 0.42
    block.cv1.conv.weight.requires_grad_(False)
    block.cv1.act = nn.ReLU()
    block.register_forward_hook(lambda *args: calls.append(1))
    plain = {key: getattr(block, key) for key in ("i", "f", "type", "np")}
    for swap in (kit.surgery.split_blocks, kit.surgery.merge_blocks):
        swap(model, kit.blocks.RULES)
        block = model.model[4]
        halves = [block.cv0, block.cv1] if hasattr(block, "cv0") else [block.cv1]
        assert {key: getattr(block, key) for key in plain} == plain
        assert block.training and not model.model[2].training
        for half in halves:
            assert (half.bn.eps, half.bn.momentum, half.bn.training) == (7e-3, 0.42, True)
            assert half.conv.weight.dtype == half.bn.running_var.dtype == torch.float16
            assert not half.conv.weight.requires_grad and half.bn.weight.requires_grad
            assert type(half.act) is nn.ReLU and half.conv.out_channels == half.bn.num_features
    assert type(block) is kit.block.C2f and block.c == 32 and not hasattr(block, "stock")
    model.float()(torch.zeros(1, 3, 64, 64))
    assert calls == [1]


class C2f_v2(nn.Module):  # the name that published scripts gave it
    """The split block of published scripts."""

    def __init__(self, kit: SimpleNamespace, c1: int, first: int, second: int, c2: int, kind: str) -> None:
        super().__init__()
        conv, block = kit.block.Conv, kit.block
        self.c = second
        self.cv0, self.cv1 = conv(c1, first), conv(c1, second)
        make = {
            "add": lambda: block.Bottleneck(second, second, True, e=1.0),
            "plain": lambda: block.Bottleneck(second, second, False, e=1.0),
            "c3k": lambda: block.C3k(second, second, 2, True),
        }[kind]
        self.m = nn.ModuleList(make() for _ in range(2))
        self.cv2 = conv(first + 3 * second, c2)

    def forward(self, x: Tensor) -> Tensor:
        y = [self.cv0(x), self.cv1(x)]
        y.extend(m(y[-1]) for m in self.m)
        return self.cv2(torch.cat(y, 1))


@pytest.mark.parametrize("kind", ["add", "plain", "c3k"])
@pytest.mark.parametrize("halves", [(16, 16), (12, 20), (20, 12)])
def test_foreign_split_blocks_become_stock(kit: SimpleNamespace, halves: tuple[int, int], kind: str) -> None:
    model = nn.Sequential(C2f_v2(kit, 8, *halves, 24, kind)).double().eval()
    randomise(model)
    x = torch.randn(2, 8, 6, 6, dtype=torch.float64)
    with torch.no_grad():
        wanted = model(x)
        assert kit.blocks.merge_split_blocks(model) == 1
        assert kit.blocks.merge_split_blocks(model) == 0
        assert relative([model(x)], [wanted]) < 1e-14
    block = model[0]
    assert type(block) is (kit.block.C3k2 if kind == "c3k" else kit.block.C2f)
    assert block.c == max(halves) and block.cv1.conv.out_channels == 2 * max(halves)


def test_foreign_network_becomes_stock(kit: SimpleNamespace) -> None:
    model, x = build(kit, "yolov8n"), image()
    dense, before = all_outputs(kit, model, x), describe(model)
    for index in (2, 4, 6, 8, 12, 15, 18, 21):
        stock = model.model[index]
        kit.surgery.split_blocks(holder := nn.Sequential(stock), kit.blocks.RULES)
        foreign = C2f_v2.__new__(C2f_v2)
        foreign.__dict__.update({key: value for key, value in holder[0].__dict__.items() if key != "stock"})
        model.model[index] = foreign
    assert kit.blocks.merge_split_blocks(model) == 8
    assert describe(model) == before
    assert relative(all_outputs(kit, model, x), dense) == 0


def test_foreign_block_that_computes_something_else(kit: SimpleNamespace) -> None:
    class Odd(C2f_v2):
        def forward(self, x: Tensor) -> Tensor:
            return -super().forward(x)

    with pytest.raises(kit.errors.PruneError, match="Odd is not a split C2f: merged, its output differs by"):
        kit.blocks.merge_split_blocks(nn.Sequential(Odd(kit, 8, 16, 16, 24, "add")).eval())


def test_halves_that_no_stock_block_holds(kit: SimpleNamespace) -> None:
    model = nn.Sequential(kit.block.C2PSA(128, 128)).eval()
    kit.surgery.split_blocks(model, kit.blocks.RULES)
    model[0].cv1.conv.out_channels = 32
    with pytest.raises(kit.errors.PruneError, match="Halves of 64 and 32 channels around attention"):
        kit.surgery.merge_blocks(model, kit.blocks.RULES)
    model = nn.Sequential(kit.block.C2f(16, 16)).eval()
    kit.surgery.split_blocks(model, kit.blocks.RULES)
    model[0].cv1.act = nn.ReLU()
    with pytest.raises(kit.errors.PruneError, match="cannot be merged, they differ"):
        kit.surgery.merge_blocks(model, kit.blocks.RULES)


def test_silence_needs_an_activation_that_keeps_zero(kit: SimpleNamespace) -> None:
    model = nn.Sequential(C2f_v2(kit, 8, 12, 20, 24, "plain")).eval()
    model[0].cv0.act = model[0].cv1.act = nn.Sigmoid()
    with pytest.raises(kit.errors.PruneError, match=r"Sigmoid\(0\) is not 0"):
        kit.blocks.merge_split_blocks(model)


def test_odd_width_cannot_be_halved(kit: SimpleNamespace) -> None:
    model = nn.Sequential(kit.block.C2f(16, 16)).eval()
    model[0].cv1 = kit.block.Conv(16, 15)
    with pytest.raises(kit.errors.PruneError, match="15 output channels has no equal halves"):
        kit.surgery.split_blocks(model, kit.blocks.RULES)
