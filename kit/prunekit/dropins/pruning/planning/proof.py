# SPDX-License-Identifier: AGPL-3.0-or-later
"""The proof before a run: a pruned copy of the network computes what the dense one computes without the channels.

About half of each group's channels, drawn at random, are taken out of one copy by the very functions that prune; in
another copy the layers that would lose them as inputs get zeros for them in their weights. All weights and statistics
are random first (a zero hides an error behind it). Both copies see one random image, in float64, and the input and
the output of *every module* must agree: an error inside an attention block is invisible at the output of a random
network.
A module that does not agree is not looked into any more: what is tied to it keeps its channels, and the proof begins
again, until it holds.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch_pruning import ops

from ..errors import PruneError, Unreachable
from ..network.calls import place_of
from ..network.graph import PruningGraph
from ..network.surgery import SwapRule, merge_blocks
from .apply import Unremovable, apply_plan
from .compare import Differs, Film, by_chance, play, record
from .draw import DRAWS, Tracing, evaluating, images, lost, randomise
from .plan import make_plan

_ROUNDS = 32  # modules that may fail before the network is given up
_GOLDEN = (5**0.5 - 1) / 2  # its multiples, without the whole part, lie evenly and do not repeat


@dataclass(frozen=True)
class Proof:
    """What was compared, and what must not be looked into.

    Attributes:
        error: largest difference of a compared tensor, relative to its largest value.
        tensors: how many were compared, in the inputs and outputs of all modules.
        size: height and width of the image.
        seconds: what it took, all rounds together.
        opaque: module name -> why it failed; for `PruningGraph.build`.
        kept: layer name -> why its channels cannot be removed.
    """

    error: float = 0.0
    tensors: int = 0
    size: int = 0
    seconds: float = 0.0
    opaque: Mapping[str, str] = field(default_factory=dict)
    kept: Mapping[str, str] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        """For the report."""
        return {**vars(self), "opaque": dict(self.opaque), "kept": dict(self.kept)}

    def __str__(self) -> str:
        failed = f", {len(self.opaque) + len(self.kept)} parts kept" if self.opaque or self.kept else ""
        return (
            f"pruned equals masked in {self.tensors} inputs and outputs of modules (largest difference "
            f"{self.error:.0e}, {self.size} px, {self.seconds:.1f} s{failed})"
        )


def prove(
    model: nn.Module,
    example: Tensor,
    *,
    tracing: Tracing,
    ignored: Mapping[str, str] | None = None,
    rules: Iterable[SwapRule] = (),
    form: object = None,
) -> Proof:
    """Prove that `model` (after surgery) can be pruned exactly, and find what has to be kept for it.

    Args:
        example: one image of the run; a smaller one is taken where the network takes it.
        tracing: the state in which every branch shows, as for the graph.
        ignored: layers whose channels stay, as for the graph.
        form: `PruningGraph.form` at the run's size; where a smaller image gives another one, a larger one is taken.

    Raises:
        PruneError: nothing can be pruned, or the network fails outside any module that could be kept.
    """
    started = time.perf_counter()
    dense = copy.deepcopy(model).cpu().double()
    own = _Own(dense, images(dense, example, tracing), form)
    opaque: dict[str, str] = {}
    kept: dict[str, str] = {}
    calm: set[str] = set()
    compared = _calmed(tracing, calm)
    for _ in range(_ROUNDS):
        randomise(dense, model, own.draw)  # again: a round masks its weights
        try:
            film = _compared(dense, own, (tracing, compared), {**(ignored or {}), **kept}, tuple(rules), opaque)
            seconds = time.perf_counter() - started
            return Proof(film.error, film.compared, own.image.shape[-1], seconds, opaque, kept)
        except _Again:
            continue
        except Unremovable as stop:
            kept[stop.layer] = f"its channels cannot be removed ({stop.reason})"
        except Differs as stop:
            with compared(dense), torch.no_grad():
                chance = by_chance(dense, own.image)
            if chance and chance not in calm:
                calm.add(chance)
                continue
            where = next((name for name in stop.places if name not in opaque), None)
            if where is None:
                raise PruneError(
                    f"This network cannot be pruned exactly: {stop.reason}, at {stop.seen or 'its outputs'}. Put what "
                    "its own forward computes there into a module."
                ) from stop
            opaque[where] = f"{place_of(dense, where)}: {stop.reason}"
    some = next(iter({**opaque, **kept}))
    raise PruneError(f"This network cannot be pruned exactly: {_ROUNDS} parts differ when pruned, such as {some}.")


def _calmed(tracing: Tracing, calm: Collection[str]) -> Tracing:
    """As `tracing`, with these modules out of training: there they draw lots."""

    @contextmanager
    def calmed(model: nn.Module) -> Iterator[None]:
        with tracing(model):
            for name in calm:
                model.get_submodule(name).eval()
            yield

    return calmed


class _Again(Exception):
    """Another image, or other weights, have to be taken."""


@dataclass
class _Own:
    """What is left to try: images, from small to the run's own size, and draws of weights.

    Attributes:
        form: of the graph at the run's size; None once it was compared.
    """

    dense: nn.Module
    sizes: Iterator[Tensor]
    form: object
    draw: int = 0

    def __post_init__(self) -> None:
        self.image = next(self.sizes)

    def check_form(self, graph: PruningGraph) -> None:
        """The graph that is proven is the run's, as far as it can be seen."""
        form, self.form = self.form, None
        if form is not None and graph.form != form:
            larger = next(self.sizes, None)
            if larger is not None:
                self.image, self.form = larger, form
                raise _Again

    def check_finite(self, film: Film) -> None:
        """Values that are not numbers are equal whatever is done to them: nothing would be proven."""
        where = lost(film)
        if where is not None and self.draw < DRAWS - 1:
            self.draw += 1
            raise _Again
        if where is not None and lost(Film(film.frames[-1:])) is not None:
            raise PruneError(
                f"{place_of(self.dense, where) if where else 'The network'} gives values that are not finite, with "
                "random weights and with its own: whether it can be pruned exactly cannot be seen."
            )


def _compared(
    dense: nn.Module,
    own: _Own,
    states: tuple[Tracing, Tracing],
    ignored: Mapping[str, str],
    rules: tuple[SwapRule, ...],
    opaque: Mapping[str, str],
) -> Film:
    """One round: prune a copy, mask `dense` itself (networks of gigabytes are not copied twice), compare.

    Args:
        states: in which the graph is traced, and in which the two are compared.

    Raises:
        Differs: naming the modules in question, innermost first.
        Unremovable: torch-pruning could not take a group's channels out.
    """
    pruned, image, (tracing, compared) = copy.deepcopy(dense), own.image, states
    with tracing(pruned):
        graph = PruningGraph.build(pruned, image, ignored=ignored, rules=rules, opaque=opaque)
    own.check_form(graph)
    generator = torch.Generator().manual_seed(1)
    scores = {  # not the same share of each group: sizes that a forward computes of two would agree
        group.name: torch.rand(group.channels, generator=generator) * (0.7 + 0.6 * (number * _GOLDEN % 1))
        for number, group in enumerate(graph.groups)
    }
    try:
        plan = make_plan(graph, scores, scope="global", ratio=0.5, floor=1)
    except Unreachable:  # groups of one channel only
        return Film()
    removed = {
        entry.name: set(torch.argsort(scores[entry.name], stable=True)[: entry.channels - entry.keep].tolist())
        for entry in plan.entries
    }
    _mask(dense, graph, removed)
    apply_plan(graph, plan, scores)
    with compared(dense), torch.no_grad():
        film = record(dense, image)
    own.check_finite(film)
    with compared(pruned), torch.no_grad():
        play(pruned, image, film)
    used = _used(dense, pruned, image)
    _check_merge(pruned, image, compared, rules)
    return Film([], max(film.error, used.error), film.compared + used.compared)


def _used(dense: nn.Module, pruned: nn.Module, image: Tensor) -> Film:
    """The same in eval mode, in which a module may compute otherwise than it is trained.

    Raises:
        Differs: naming the modules in question, innermost first.
    """
    with evaluating(dense), torch.no_grad():
        try:
            film = record(dense, image)
        except Exception:  # noqa: BLE001 - dense, at this size or in this precision: not a matter of pruning
            return Film()
    with evaluating(pruned), torch.no_grad():
        return play(pruned, image, film)


def _check_merge(pruned: nn.Module, image: Tensor, tracing: Tracing, rules: tuple[SwapRule, ...]) -> None:
    """The stock blocks that twins are merged back to compute the same; a user's own rule may be wrong.

    Raises:
        PruneError: naming the block.
    """
    twins = {rule.split_type for rule in rules}
    swapped = {name: type(module).__name__ for name, module in pruned.named_modules() if type(module) in twins}
    if not swapped:
        return
    with tracing(pruned), torch.no_grad():
        film = record(pruned, image, only={"", *swapped})
    merge_blocks(pruned, rules)
    try:
        with tracing(pruned), torch.no_grad():
            play(pruned, image, film, only={"", *swapped})
    except Differs as stop:
        twin = swapped.get(stop.seen, "a twin")
        raise PruneError(
            f"{stop.seen or 'The network'}: merged back from {twin}, the block computes something else than the twin. "
            "The rule that swaps it is wrong (prunekit_rules.py, docs/own-modules.md)."
        ) from stop


def _mask(model: nn.Module, graph: PruningGraph, removed: Mapping[str, set[int]]) -> None:
    """Zero, in `model`, the weights of what the removed channels of each group go into."""
    names = {module: name for name, module in graph.model.named_modules()}
    for group, items in graph.items.items():
        for item in items:
            module, handler = item.dep.target.module, item.dep.handler
            if not isinstance(module, (ops.TORCH_CONV, ops.TORCH_LINEAR)):
                continue
            if graph.dependencies.is_out_channel_pruning_fn(handler):
                continue
            places = [place for place, root in zip(item.idxs, item.root_idxs, strict=True) if root in removed[group]]
            weight = model.get_submodule(names[module]).get_parameter("weight").data
            if isinstance(module, nn.modules.conv._ConvTransposeNd):
                weight[places] = 0
            else:
                weight[:, places] = 0
