# SPDX-License-Identifier: AGPL-3.0-or-later
"""Networks as users build them: pruned exactly, or kept with the reason; and the proof that finds out by itself."""

from __future__ import annotations

import copy
import io
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from engine_helpers import masked, modules, relative, tensors
from own_blocks import OTHERS, SILENT, WHOLE, net
from torch import nn

OUTPUTS = {"out": "output", "other": "output"}


@pytest.fixture(scope="module")
def parts(engine: SimpleNamespace) -> SimpleNamespace:
    """The engine with its proof."""
    more = vars(modules("planning.proof", "network.flow", "planning.compare", "network.groups"))
    return SimpleNamespace(**vars(engine), **more)


def proved(parts: SimpleNamespace, model: nn.Module, x: torch.Tensor, ignored: Mapping[str, str] = OUTPUTS) -> Any:
    return parts.proof.prove(model, x, tracing=lambda model: nullcontext(), ignored=ignored)


def graph_of(parts: SimpleNamespace, model: nn.Module, x: torch.Tensor, proof: Any) -> Any:
    return parts.graph.PruningGraph.build(model, x, ignored={**OUTPUTS, **proof.kept}, opaque=proof.opaque)


def same_when_pruned(parts: SimpleNamespace, model: nn.Module, x: torch.Tensor, graph: Any) -> float:
    """How far the pruned network is from the masked one; `graph` is spent."""
    dense = copy.deepcopy(model)
    for module in dense.modules():
        module._forward_hooks.clear()
    scores = parts.scores.score_groups(graph, "random", seed=1)
    plan = parts.plan.make_plan(graph, scores, ratio=0.5, floor=1)
    groups = graph.groups
    parts.apply.apply_plan(graph, plan, scores)
    with torch.no_grad():
        return relative(tensors(model(x)), tensors(masked(dense, groups, plan, scores)(x)))


@pytest.mark.parametrize("kind", [*SILENT, *OTHERS, *WHOLE])
def test_each_kind_is_exact_or_kept_with_a_reason(parts: SimpleNamespace, kind: str) -> None:
    model, x = net(kind)
    proof = proved(parts, model, x)
    graph = graph_of(parts, model, x, proof)
    assert proof.error < 1e-12 and proof.tensors > 20
    prunable = {group.name for group in graph.groups}
    assert {"stem.0", "after", "free"} <= prunable  # the rest is pruned
    if kind in WHOLE:
        assert "before.0" in prunable and not proof.opaque and set(graph.frozen) == set(OUTPUTS)
    elif kind != "fused":
        assert set(graph.frozen) > set(OUTPUTS) and all(graph.frozen.values())
    if kind != "last":  # the mask takes channels to lie second
        assert same_when_pruned(parts, model, x, graph) < 1e-12


def test_weights_of_a_fusion_are_not_cut(parts: SimpleNamespace) -> None:
    model, x = net("fused")
    graph = graph_of(parts, model, x, proved(parts, model, x))
    assert {"block.ins.0", "before.0"} <= {group.name for group in graph.groups}
    same_when_pruned(parts, model, x, graph)
    assert model.block.w.shape == (3,) and model.block.gate.out_channels == 1


@pytest.mark.parametrize("kind", SILENT)
def test_the_proof_finds_each_silent_kind_by_itself(
    parts: SimpleNamespace, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    """With the rules that freeze switched off: what torch-pruning takes for element-wise, is."""
    tracer, flow = parts.trace, parts.flow

    def ruleless(model: nn.Module, outputs: Any, calls: Any, opaque: Any) -> Any:
        found = flow.follow(model, outputs, calls, opaque)
        found.barriers = {node: why for node, why in found.barriers.items() if opaque(node)}
        found.cuts = set()
        return found

    monkeypatch.setattr(tracer, "follow", ruleless)
    monkeypatch.setattr(parts.groups, "item_width", lambda item, channels: 1)
    for name in ("_outside", "_node_obstacle"):
        monkeypatch.setattr(parts.groups, name, lambda *args: None)
    model, x = net(kind)
    proof = proved(parts, model, x)
    assert proof.opaque or proof.kept
    graph = graph_of(parts, model, x, proof)
    assert {"free"} <= {group.name for group in graph.groups}
    assert same_when_pruned(parts, model, x, graph) < 1e-12


def test_an_error_that_the_output_hides_is_seen_at_the_module(parts: SimpleNamespace) -> None:
    """Two forms that differ within a block by half and at the output by nothing."""

    class Hidden(nn.Module):
        def __init__(self, off: float) -> None:
            super().__init__()
            self.inner, self.off = nn.Identity(), off

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x + 1e-12 * self.inner(x * self.off)

    x = torch.randn(1, 4, 3, 3, dtype=torch.float64)
    first, second = (nn.Sequential(nn.Conv2d(4, 4, 1), Hidden(off)).double() for off in (1.0, 1.5))
    second.load_state_dict(first.state_dict())
    with torch.no_grad():
        assert relative([second(x)], [first(x)]) < 1e-11
        film = parts.compare.record(first, x)
        with pytest.raises(parts.compare.Differs) as stop:
            parts.compare.play(second, x, film)
    assert stop.value.seen == "1.inner" and stop.value.places[0] == "1"


def test_lacking_channels_are_found_in_their_order(parts: SimpleNamespace) -> None:
    whole = torch.randn(2, 6, 3, dtype=torch.float64)
    assert parts.compare.difference(whole[:, [0, 3, 4]], whole) == 0
    assert parts.compare.difference(whole[:, [3, 0]], whole) == float("inf")
    assert parts.compare.difference(whole[:, [0, 3, 4]] * 1.001, whole) == float("inf")
    dead = torch.stack([whole[:, 0] * 1e-9, whole[:, 1] * 1e-9, whole[:, 2]], 1)  # nearly dead, and not the same
    assert parts.compare.difference(dead[:, 1:], dead) == 0
    assert parts.compare.difference(torch.zeros(2, 2, 3), torch.zeros(2, 6, 3)) == 0


def test_a_module_that_cannot_be_traced_is_kept_and_the_rest_is_pruned(parts: SimpleNamespace) -> None:
    model, x = net("numpy")
    graph = parts.graph.PruningGraph.build(model, x, ignored=OUTPUTS)
    assert graph.frozen["before.0"] == graph.frozen["block.cv"]
    assert graph.frozen["block.cv"].startswith("block Numpy cannot be traced (RuntimeError: Can't call numpy()")
    assert {group.name for group in graph.groups} == {"stem.0", "after", "free"}
    again = parts.graph.PruningGraph.build(model, x, ignored={**OUTPUTS, "block": "--ignore"})
    assert again.groups == graph.groups and again.frozen["block.cv"] == "--ignore"


def test_a_failed_trace_leaves_no_hook(parts: SimpleNamespace) -> None:
    """torch-pruning's own would stay, and a network that holds them cannot be saved."""
    model, x = net("numpy")
    parts.graph.PruningGraph.build(model, x, ignored=OUTPUTS)
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())
    torch.save(model, io.BytesIO())


def test_a_network_that_does_not_run_is_named(parts: SimpleNamespace) -> None:
    class Broken(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            raise ValueError("no such thing")

    model, x = net("silu")
    model.block = Broken()
    with pytest.raises(parts.errors.PruneError, match="Cannot trace block Broken of Net: ValueError: no such thing"):
        parts.graph.PruningGraph.build(model, x, ignored=OUTPUTS)


def test_couplings_without_end_are_kept(parts: SimpleNamespace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parts.groups, "_MOST_COUPLINGS", 3)
    model, x = net("silu")
    graph = parts.graph.PruningGraph.build(model, x, ignored=OUTPUTS)
    assert "its couplings have no end" in graph.frozen["stem.0"] and [g.name for g in graph.groups] == ["after", "free"]


class Csp(nn.Module):
    """A user's block that cuts one convolution's output into halves."""

    class Conv(nn.Module):
        def __init__(self, a: int, b: int) -> None:
            super().__init__()
            self.conv, self.bn, self.act = nn.Conv2d(a, b, 1, bias=False), nn.BatchNorm2d(b), nn.SiLU()

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.act(self.bn(self.conv(x)))

    def __init__(self) -> None:
        super().__init__()
        self.c, self.first, self.m, self.last = 8, self.Conv(16, 16), self.Conv(8, 8), self.Conv(16, 16)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        a, b = self.first(x).split((self.c, self.c), 1)
        return self.last(torch.cat((self.m(a), b), 1))


class SplitCsp(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.last(torch.cat((self.m(self.cv0(x)), self.cv1(x)), 1))


class WrongCsp(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.last(torch.cat((self.m(self.cv1(x)), self.cv0(x)), 1))


class Same(Csp):
    """Inherits the forward."""


class Other(Csp):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return 2 * super().forward(x)


@pytest.mark.parametrize("kind", [Csp, Same, Other])
def test_a_rule_of_ones_own(parts: SimpleNamespace, kind: type) -> None:
    """Swapped, pruned, merged back into the class it came from; a subclass with a forward of its own is kept."""
    rules = (parts.surgery.halved(Csp, SplitCsp, whole="first"),)
    model, x = net("silu")
    model.block, model.after = kind().double().eval(), nn.Conv2d(16, 12, 1).double()
    names = list(model.state_dict())
    swapped = parts.surgery.split_blocks(model, rules)
    assert swapped == (kind is not Other)
    proof = parts.proof.prove(model, x, tracing=lambda model: nullcontext(), ignored=OUTPUTS, rules=rules)
    graph = parts.graph.PruningGraph.build(model, x, ignored=OUTPUTS, rules=rules, opaque=proof.opaque)
    ties = {group.tie for group in graph.groups} - {None}
    assert ties == ({"block"} if swapped else set()) and ("block.first.conv" in graph.frozen) is not bool(swapped)
    assert same_when_pruned(parts, model, x, graph) < 1e-12
    with torch.no_grad():
        twin = tensors(model(x))
        parts.surgery.merge_blocks(model, rules)
        assert relative(tensors(model(x)), twin) < 1e-12
    assert type(model.block) is kind and list(model.state_dict()) == names
    assert model.block.c == (4 if swapped else 8)


def test_a_wrong_rule_is_said(parts: SimpleNamespace) -> None:
    rules = (parts.surgery.halved(Csp, WrongCsp, whole="first"),)
    model, x = net("silu")
    model.block = Csp().double().eval()
    parts.surgery.split_blocks(model, rules)
    with pytest.raises(parts.errors.PruneError, match="block: merged back from WrongCsp, the block computes something"):
        parts.proof.prove(model, x, tracing=lambda model: nullcontext(), ignored=OUTPUTS, rules=rules)


def test_a_file_of_own_rules(parts: SimpleNamespace, tmp_path: Any) -> None:
    assert parts.surgery.own_rules(tmp_path) == ()
    file = tmp_path / "prunekit_rules.py"
    for text, said in (("x = 1", "defines no 'RULES'"), ("1 / 0", "ZeroDivisionError"), ("RULES = [1]", "must hold")):
        file.write_text(text)
        with pytest.raises(parts.errors.PruneError, match=said):
            parts.surgery.own_rules(tmp_path)


@contextmanager
def in_training(model: nn.Module) -> Iterator[None]:
    """As the families trace: BatchNorm in eval."""
    model.train()
    for module in model.modules():
        module.training = not isinstance(module, nn.BatchNorm2d)
    yield
    model.eval()


class Path(nn.Module):
    """Another path outside training: channels move there."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x if self.training else x.roll(1, 1)


class Scaled(nn.Module):
    """Another path outside training, with a parameter that training never sees."""

    def __init__(self) -> None:
        super().__init__()
        self.g = nn.Parameter(torch.rand(16))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x if self.training else x * self.g.view(1, -1, 1, 1)


class Computed(nn.Module):
    """As many channels as another layer has: all, if both lose the same share."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.gate = nn.Conv2d(16, 16, 1), nn.Conv2d(16, 16, 1), nn.Conv2d(16, 1, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.a(x)
        return self.b(x[:, : y.shape[1]]) * self.gate(y).sigmoid()


class Chance(nn.Module):
    """A dropout written out, by the mode; a loss of its own is kept, and how often it was asked."""

    def __init__(self) -> None:
        super().__init__()
        self.cv = nn.Conv2d(16, 16, 1)
        self.register_buffer("asked", torch.zeros(()))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.cv(nn.functional.dropout(x, 0.5, self.training))
        self.loss = x.mean()
        self.asked += 1
        return x


def traced(parts: SimpleNamespace, block: nn.Module) -> tuple[Any, Any]:
    """Proof and graph of a network with `block`, traced in training mode; pruned, it is the masked one in eval mode."""
    model, x = net("silu")
    model.block = block.double().eval()
    proof = parts.proof.prove(model, x, tracing=in_training, ignored=OUTPUTS)
    assert proof.error < 1e-12 and proof.tensors > 20
    with in_training(model):
        graph = graph_of(parts, model, x, proof)
    names = {group.name for group in graph.groups}
    copy.deepcopy(model)
    assert same_when_pruned(parts, model, x, graph) < 1e-12
    return proof, names


@pytest.mark.parametrize("kind", [Path, Scaled, Computed])
def test_what_training_or_even_widths_hide_is_kept(parts: SimpleNamespace, kind: type) -> None:
    proof, names = traced(parts, kind())
    assert proof.opaque and "before.0" not in names and names >= {"stem.0", "free"}


def test_chance_and_what_a_forward_keeps_are_no_reason(parts: SimpleNamespace) -> None:
    """Pruned all the same; a graph that an attribute would hold is gone, and buffers are as before."""
    proof, names = traced(parts, Chance())
    assert not proof.opaque and {"before.0", "block.cv"} <= names
    model, x = net("silu")
    block = Chance()
    model.block = nn.Sequential(block, nn.InstanceNorm2d(16, track_running_stats=True)).double().eval()
    before = {name: buffer.clone() for name, buffer in model.named_buffers()}
    with in_training(model):
        parts.graph.PruningGraph.build(model, x, ignored=OUTPUTS)
    assert all(torch.equal(buffer, before[name]) for name, buffer in model.named_buffers())
    assert getattr(block, "loss", x).grad_fn is None


def test_half_widths_are_synced_where_a_rule_swaps(parts: SimpleNamespace) -> None:
    """`c` is half of the cut layer's outputs there; in any other block it is the user's own number."""
    rules = (parts.surgery.halved(Csp, SplitCsp, whole="first"),)
    model = nn.ModuleList([Csp(), Same(), Other()])
    for block in model:
        block.first.conv.out_channels, block.cv1 = 12, block.first
    assert parts.surgery.sync_halves(model, rules) == 2 and parts.surgery.sync_halves(model, rules) == 0
    assert [block.c for block in model] == [6, 6, 8]


def test_batch_statistics_stay_out_of_the_proof(parts: SimpleNamespace) -> None:
    """A family that traces in training mode: four positions' variance would magnify rounding to an error."""

    @contextmanager
    def training(model: nn.Module) -> Iterator[None]:
        model.train()
        yield
        model.eval()

    model, x = net("silu")
    seen: list[bool] = []
    model.stem[1].register_forward_hook(lambda module, *_: seen.append(module.training))
    mean = model.stem[1].running_mean.clone()
    proof = parts.proof.prove(model, x[..., :2, :2], tracing=training, ignored=OUTPUTS)
    assert not proof.opaque and not proof.kept and proof.error < 1e-13
    assert len(seen) > 3 and not any(seen) and torch.equal(model.stem[1].running_mean, mean)
