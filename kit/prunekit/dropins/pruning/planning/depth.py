# SPDX-License-Identifier: AGPL-3.0-or-later
"""Which bottlenecks go: those without which a block's reader, with the best weights for what is left, errs least.

The reader is the convolution behind the bottlenecks. Its inputs without a bottleneck and its outputs in the dense
network are seen on images; the squared error that ridge regression leaves counts by what an error there does to the
network's outputs, as in `reconstruction`. Bottlenecks go one by one; a block that has lost one is looked at again.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import PruneError
from ..network.graph import nearest
from ..network.stacks import Stack, Tracing
from ..repair import layer as layers
from ..repair.ridge import Moments, solve
from ..repair.stages import frozen_modes, hooked, in_batches
from .reconstruction import sensitivities

BATCH, PENALTY = 8, 1e-2
LEAST_PLACES, PER_FEATURE = 16, 6  # samples
HELD = 4  # every fourth batch is kept out of the fits, and they are judged by it


@dataclass(frozen=True)
class BlockEntry:
    """A block that loses bottlenecks: how many it has, which stay, and what that costs.

    Attributes:
        error: of its reader, with the best weights, as a share of the variance of the network's outputs.
        line: where the entry stands in the file it was read from.
    """

    name: str
    blocks: int
    keep: tuple[int, ...]
    error: float | None = None
    line: int | None = field(default=None, compare=False, repr=False)

    @property
    def gone(self) -> list[int]:
        """The bottlenecks that are removed."""
        return [at for at in range(self.blocks) if at not in self.keep]

    def as_dict(self) -> dict[str, Any]:
        """For plans and records."""
        error = {} if self.error is None else {"error": self.error}
        return {"name": self.name, "blocks": self.blocks, "keep": list(self.keep), **error}

    def __str__(self) -> str:
        error = "" if self.error is None else f", error {self.error:.3g}"
        return f"{self.name} keeps {len(self.keep)} of {self.blocks} (without {_listed(self.gone)}{error})"


def _listed(numbers: Sequence[int]) -> str:
    return ", ".join(f"m.{number}" for number in numbers)


def blocks_line(entries: Sequence[BlockEntry]) -> str:
    """What goes, for the console, the plan's table and the report."""
    number = sum(len(entry.gone) for entry in entries)
    what = "1 bottleneck" if number == 1 else f"{number} bottlenecks"
    return f"{what} removed: {'; '.join(map(str, entries))}"


@torch.no_grad()
def choose_blocks(
    model: nn.Module, stacks: Sequence[Stack], number: int, images: list[Tensor], *, tracing: Tracing, seed: int = 0
) -> tuple[BlockEntry, ...]:
    """The `number` bottlenecks that cost least, or as many as can go; at least one of each block stays.

    Args:
        images: each (1, channels, h, w), without labels.
        tracing: the family's: the mode in which every branch runs.
        seed: of the positions that are looked at.
    """
    modes = {module: module.training for module in model.modules()}
    batches = in_batches(images, BATCH)
    gone: dict[str, list[int]] = {stack.name: [] for stack in stacks}
    errors: dict[str, dict[int, float]] = {}
    paid: dict[str, float] = {}
    try:
        with tracing(model):
            frozen_modes(model)
            named = {stack.reader: model.get_submodule(stack.reader) for stack in stacks}
            share = sensitivities(model, named, batches[0])
            stale = list(stacks)
            for _ in range(number):
                measured = _errors(model, [(stack, gone[stack.name]) for stack in stale], batches, seed)
                errors.update(measured)
                left = [
                    (error * share[stack.reader], place, at)
                    for place, stack in enumerate(stacks)
                    for at, error in errors[stack.name].items()
                ]
                if not left:
                    break
                error, place, at = min(left)
                gone[stacks[place].name].append(at)
                paid[stacks[place].name] = error
                stale = [stacks[place]]
    finally:
        for module, mode in modes.items():
            module.training = mode
    return tuple(
        BlockEntry(s.name, len(s), tuple(at for at in range(len(s)) if at not in gone[s.name]), paid[s.name])
        for s in stacks
        if gone[s.name]
    )


def _errors(
    model: nn.Module, wanted: list[tuple[Stack, list[int]]], batches: list[Tensor], seed: int
) -> dict[str, dict[int, float]]:
    """{block: {bottleneck: what the reader's outputs are off by without it and without those that are gone}}."""
    looks = [_Look(model, stack, gone, seed, sum(map(len, batches))) for stack, gone in wanted]
    for at, batch in enumerate(batches):
        held = at % HELD == HELD - 1 or 0 < at == len(batches) - 1 < HELD
        with hooked([hook for look in looks for hook in look.hooks(at, held)]):
            model(batch)
    return {look.stack.name: look.errors() for look in looks}


class _Look:
    """One block: what its reader is given without each bottleneck, against what it gives in the dense network."""

    def __init__(self, model: nn.Module, stack: Stack, gone: list[int], seed: int, images: int) -> None:
        self.stack, self.block, self.conv = stack, model.get_submodule(stack.name), model.get_submodule(stack.reader)
        free = [at for at in stack.removable() if at not in gone]
        self.sets = {at: [*gone, at] for at in free if len(gone) + 1 < len(stack)}
        self.number = max(LEAST_PLACES, -(-PER_FEATURE * layers.features_of(self.conv) // images))
        self.sums: dict[tuple[int, bool], Moments] = {}  # by bottleneck, and whether the batch is held out
        self.seed = seed
        self._given: Any = None
        self._output: Any = None

    def hooks(self, batch: int, held: bool) -> list[Any]:
        """To be there while the network runs on a batch; one that is held out says what the best weights are worth."""

        def read(module: nn.Module, args: Any, output: Tensor) -> None:
            self._given, self._output = args[0], output

        def after(module: nn.Module, args: Any, output: Any) -> None:
            self._look(args[0], batch, held)

        return [self.conv.register_forward_hook(read), self.block.register_forward_hook(after)]

    def _look(self, x: Tensor, batch: int, held: bool) -> None:
        generator = torch.Generator().manual_seed(zlib.crc32(f"{self.seed} {batch} {self.stack.reader}".encode()))
        at = layers.places(self.conv, self._output, self.number, generator)
        wanted = layers.targets(self.conv, self._output, at)[None]
        for key, gone in self.sets.items():
            given = layers.features(self.conv, self._without(x, gone), at)
            weights = layers.matrix(self.conv)
            if self.stack.joined:
                for each in gone:
                    weights[:, self.stack.slice_of(each, self.conv)] = 0
            made = Moments.of(given, wanted, weights, layers.shift(self.conv), True)
            place = (key, held)
            self.sums[place] = self.sums[place] + made if place in self.sums else made

    def _without(self, x: Tensor, gone: list[int]) -> Tensor:
        """What the reader is given where these bottlenecks are the identity."""
        children: Any = self.block.m
        own = {at: children[at] for at in gone}
        try:
            for at in gone:
                children[at] = nn.Identity()
            type(self.block).forward(self.block, x)
        finally:
            for at, child in own.items():
                children[at] = child
        given: Tensor = self._given
        return given

    def errors(self) -> dict[int, float]:
        """{bottleneck: squared error that the best weights leave, relative to the outputs' variance}."""
        found = {}
        for at in self.sets:
            fitted = self.sums[at, False]
            judged = self.sums.get((at, True), fitted)
            found[at] = min(judged.error(), judged.error(solve(fitted, PENALTY, True)))
        return found


def fitting(entries: Sequence[BlockEntry], stacks: Sequence[Stack]) -> list[tuple[Stack, list[int]]]:
    """Each block with the bottlenecks that go.

    Raises:
        PruneError: a block that the network does not have, or with another number, or nothing that could stand in.
    """
    known: Mapping[str, Stack] = {stack.name: stack for stack in stacks}
    found = []
    for entry in entries:
        where = f"Plan, line {entry.line}: " if entry.line else "Plan: "
        stack = known.get(entry.name)
        if stack is None:
            hint = nearest(entry.name, tuple(known)) or f" Those that do: {', '.join(known) or 'none'}."
            raise PruneError(f"{where}{entry.name} is no block with more than one bottleneck here.{hint}")
        if len(stack) != entry.blocks:
            raise PruneError(
                f"{where}{entry.name} has {len(stack)} bottlenecks in this network, {entry.blocks} in the plan: it was "
                "made for another network. Make a new one with --plan-only."
            )
        if odd := [at for at in entry.gone if at not in stack.removable()]:
            raise PruneError(
                f"{where}{entry.name}: m.{odd[0]} cannot be left out: it takes {stack.takes[odd[0]]} channels and "
                f"gives {stack.gives[odd[0]]}."
            )
        found.append((stack, entry.gone))
    return found
