# SPDX-License-Identifier: AGPL-3.0-or-later
"""Which channels of a network must go together, and what each width costs.

torch-pruning's DependencyGraph finds the couplings (Fang et al., DepGraph, CVPR 2023, arXiv:2301.12900). It is built
once; selection reads this module's groups, and applying a plan asks the graph again for the chosen channels only.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
import torch_pruning as tp
from torch import Tensor, nn

from ..errors import PruneError
from .calls import unchanged
from .costs import cost_model
from .counts import Cost, CostModel, Forward, check_example
from .groups import Found, discover
from .surgery import SwapRule
from .trace import Trace, trace


@dataclass(frozen=True)
class Group:
    """Channels that go together.

    Attributes:
        name: of the root, the first convolution or linear layer in the model's order.
        channels: its output channels.
        layers: every convolution and linear layer whose output channels go with them, root first.
        tie: name of a block whose halves must keep equal widths, if the group holds one of them.
    """

    name: str
    channels: int
    layers: tuple[str, ...]
    tie: str | None = None


@dataclass
class PruningGraph:
    """Groups of a model, what stays and why, and the cost of any widths. Valid until a plan is applied.

    Attributes:
        model: the network, split blocks in place.
        groups: what can be pruned, in the model's order.
        frozen: layer name -> why its output channels stay.
        example_shape: (1, channels, height, width) that costs are for.
        items: group name -> torch-pruning's group of all its channels.
        applied: a plan was applied; build a new graph to go on.
        proof: what `pruning.planning.proof` found before it was built, if it was asked.
        operations: the kinds of autograd's nodes, in order: what the network computes at this size.
    """

    model: nn.Module
    groups: tuple[Group, ...]
    frozen: dict[str, str]
    example_shape: tuple[int, ...]
    dependencies: tp.DependencyGraph = field(repr=False)
    items: dict[str, Any] = field(repr=False)
    costs: CostModel = field(repr=False)
    applied: bool = False
    proof: Any = field(default=None, repr=False)
    operations: tuple[str, ...] = field(default=(), repr=False)

    @classmethod
    def build(
        cls,
        model: nn.Module,
        example: Tensor,
        *,
        forward: Forward | None = None,
        ignored: Mapping[str, str] | None = None,
        rules: Iterable[SwapRule] = (),
        opaque: Mapping[str, str] | None = None,
    ) -> PruningGraph:
        """Trace `model` (after surgery) and find its groups. Half precision becomes float32, in place.

        Args:
            model: the network. requires_grad and training flags may be anything; they are as before afterwards.
            example: one image, (1, channels, height, width).
            forward: runs the model so that autograd sees every branch; by default `model(example)` in the mode of each
                module at this moment, BatchNorm in eval.
            ignored: layer or block name -> why its output channels stay.
            rules: the surgery's rules; the halves of each split block get equal widths.
            opaque: module name -> why it is not to be looked into: what is tied to it keeps its channels, too.

        Raises:
            PruneError: nothing can be pruned, an ignored name does not exist, or the graph cannot be followed.
        """
        check_example(example)
        if any(p.dtype in (torch.float16, torch.bfloat16) for p in model.parameters()):
            model.float()
        kept = _expand(model, ignored or {})
        with unchanged(model):  # a computed weight is computed whenever it is asked for
            traced = trace(model, example, forward, opaque)
            found = discover(model, traced, kept, _halves(model, rules))
            if not found.groups:
                raise PruneError(_nothing(found.frozen))
            return cls._of(model, example, traced, found)

    @classmethod
    def _of(cls, model: nn.Module, example: Tensor, traced: Trace, found: Found) -> PruningGraph:
        groups = tuple(Group(f.name, f.channels, f.layers, f.tie) for f in found.groups)
        items = {f.name: f.items for f in found.groups}
        costs = cost_model(model, example, traced, items)
        shape = tuple(example.shape)
        graph = cls(model, groups, found.frozen, shape, traced.dependencies, items, costs)
        graph.operations = traced.operations
        return graph

    @property
    def form(self) -> object:
        """What is computed, and what goes together: equal at two image sizes, the one can be proven for the other."""
        return self.operations, self.groups, tuple(self.frozen)

    def check_usable(self) -> None:
        """PruneError if a plan was applied to this graph: its groups describe a network that is gone."""
        if self.applied:
            raise PruneError("This graph was used up by a plan: build a new PruningGraph from the pruned model.")

    def renewed(self) -> PruningGraph:
        """The graph of the network that a plan has left, without tracing it again; `self` stays spent.

        Couplings do not change when channels go, and costs are formulas in the groups' widths: both are taken over.
        """
        groups, items = [], {}
        for group in self.groups:
            layer = self.model.get_submodule(group.name)
            pruner = self.dependencies.get_pruner_of_module(layer)
            channels = pruner.get_out_channels(layer)
            whole = self.dependencies.get_pruning_group(layer, pruner.prune_out_channels, list(range(channels)))
            groups.append(replace(group, channels=channels))
            items[group.name] = whole
        return replace(self, groups=tuple(groups), items=items, applied=False)

    def group(self, name: str) -> Group:
        """The group of that name.

        Raises:
            PruneError: there is none; names the nearest.
        """
        for group in self.groups:
            if group.name == name:
                return group
        raise PruneError(f"Unknown group {name!r}.{nearest(name, [g.name for g in self.groups])}")

    def cost(self, keep: Mapping[str, int] | None = None) -> Cost:
        """Cost at these widths, without touching the model; a group that is not named stays dense."""
        dense = {group.name: group.channels for group in self.groups}
        for name in keep or {}:
            if name not in dense:
                self.group(name)
        return self.costs({**dense, **(keep or {})})


def nearest(name: str, known: Iterable[str]) -> str:
    """' Did you mean ...?', or nothing."""
    close = difflib.get_close_matches(name, list(known), n=1, cutoff=0.4)
    return f" Did you mean {close[0]!r}?" if close else ""


def _expand(model: nn.Module, ignored: Mapping[str, str]) -> dict[str, str]:
    """Ignored layers, blocks resolved to the layers below them."""
    modules = dict(model.named_modules())
    kept: dict[str, str] = {}
    for name, reason in ignored.items():
        if name not in modules:
            raise PruneError(f"Cannot keep layer {name!r}: the model has none.{nearest(name, modules)}")
        for below, _ in modules[name].named_modules(prefix=name):
            kept.setdefault(below, reason)
    return kept


def _halves(model: nn.Module, rules: Iterable[SwapRule]) -> dict[str, tuple[str, str]]:
    """{split block: the full names of its two halves}."""
    halves = {rule.split_type: rule.halves for rule in rules}
    return {
        name: (f"{name}.{halves[type(module)][0]}", f"{name}.{halves[type(module)][1]}")
        for name, module in model.named_modules()
        if type(module) in halves
    }


def _nothing(frozen: Mapping[str, str]) -> str:
    reasons: dict[str, int] = {}
    for reason in frozen.values():
        reasons[reason] = reasons.get(reason, 0) + 1
    ranked: Sequence[tuple[str, int]] = sorted(reasons.items(), key=lambda item: -item[1])[:3]
    why = "; ".join(f"{number} layers: {reason}" for reason, number in ranked) or "no convolution or linear layer"
    return f"Nothing can be pruned: 0 groups, {len(frozen)} layers kept ({why}). Ignore fewer layers."
