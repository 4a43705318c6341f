# SPDX-License-Identifier: AGPL-3.0-or-later
"""Blocks that hold a number of bottlenecks, one behind the other, and how one of them is taken out exactly.

A removed bottleneck first becomes the identity (`mask`): what reads it gets the output of the one before. Where the
block also hands each output to a convolution (C2f), the weights for that slice become zero. `cut` then takes the slice
and the bottleneck away, which changes nothing any more.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import AbstractContextManager
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import PruneError

Layer = Any  # an nn.Module; to a checker each attribute of one is a Tensor or a Module
Tracing = Callable[[nn.Module], AbstractContextManager[Any]]


@dataclass(frozen=True)
class Stack:
    """A block with bottlenecks in its child `m`.

    Attributes:
        name: of the block.
        reader: name of the convolution that reads what they give.
        joined: it reads each one's output (an nn.ModuleList, as in C2f), not the last one's only (an nn.Sequential).
        takes, gives: channels in and out of each bottleneck.
    """

    name: str
    reader: str
    joined: bool
    takes: tuple[int, ...]
    gives: tuple[int, ...]

    def __len__(self) -> int:
        """Bottlenecks."""
        return len(self.gives)

    def removable(self) -> list[int]:
        """The bottlenecks in whose place the identity fits."""
        return [at for at, (a, b) in enumerate(zip(self.takes, self.gives, strict=True)) if a == b]

    def slice_of(self, at: int, conv: Layer) -> slice:
        """The input channels of the reader that are the output of bottleneck `at`; of `joined` ones only."""
        start = conv.in_channels - sum(self.gives[at:])
        return slice(start, start + self.gives[at])


def find_stacks(model: nn.Module, readers: Mapping[str, str], example: Tensor, tracing: Tracing) -> list[Stack]:
    """The blocks of more than one bottleneck, in the model's order.

    Args:
        readers: block -> its convolution that reads the bottlenecks' outputs, a name within the block.
        example: one image; the network is run on it once.
        tracing: the family's.
    """
    widths: dict[nn.Module, tuple[int, int]] = {}

    def see(module: nn.Module, args: Any, output: Tensor) -> None:
        widths[module] = (args[0].shape[1], output.shape[1])

    blocks: dict[str, Layer] = {name: model.get_submodule(name) for name in readers}
    blocks = {name: block for name, block in blocks.items() if len(block.m) > 1}
    hooks = [each.register_forward_hook(see) for block in blocks.values() for each in block.m]
    modes = {module: module.training for module in model.modules()}
    try:
        with tracing(model), torch.no_grad():
            for module in model.modules():  # statistics stay, whatever mode the rest is in
                if isinstance(module, nn.modules.batchnorm._NormBase):
                    module.training = False
            model(example if not hooks else example.to(next(model.parameters())))
    finally:
        for hook in hooks:
            hook.remove()
        for module, mode in modes.items():
            module.training = mode
    return [_stack(name, f"{name}.{readers[name]}", block, widths) for name, block in blocks.items()]


def _stack(name: str, reader: str, block: Layer, widths: Mapping[nn.Module, tuple[int, int]]) -> Stack:
    takes, gives = zip(*(widths[each] for each in block.m), strict=True)
    return Stack(name, reader, isinstance(block.m, nn.ModuleList), takes, gives)


def mask(model: nn.Module, stack: Stack, gone: Collection[int]) -> None:
    """Put the identity in the place of these bottlenecks, in place; their slices of the reader's weights become 0."""
    block, conv = model.get_submodule(stack.name), model.get_submodule(stack.reader)
    children: Layer = block.m
    for at in gone:
        children[at] = nn.Identity()
        if stack.joined:
            conv.get_parameter("weight").data[:, stack.slice_of(at, conv)] = 0


def cut(model: nn.Module, stack: Stack, gone: Collection[int]) -> None:
    """Take masked bottlenecks away, in place; the outputs stay, whatever the reader's weights for them have become.

    The slice of an identity is the one before it a second time, so their weights add up.
    """
    block: Layer = model.get_submodule(stack.name)
    if stack.joined:
        _cut_inputs(model.get_submodule(stack.reader), stack, sorted(gone, reverse=True))
    left = [child for at, child in enumerate(block.m) if at not in gone]
    block.m._modules.clear()
    block.m._modules.update({str(at): child for at, child in enumerate(left)})


def _cut_inputs(conv: Layer, stack: Stack, gone: Sequence[int]) -> None:
    weight, kept = conv.weight.data.clone(), torch.ones(conv.in_channels, dtype=torch.bool)
    for at in gone:  # the last first: what it hands on may be handed on again
        own = stack.slice_of(at, conv)
        weight[:, own.start - stack.gives[at] : own.start] += weight[:, own]
        kept[own] = False
    conv.weight = nn.Parameter(weight[:, kept].clone(), requires_grad=conv.weight.requires_grad)
    conv.in_channels = conv.weight.shape[1]


def with_numbers(rows: Mapping[str, Any], counts: Mapping[int, int], depth: float) -> dict[str, Any]:
    """A network's YAML whose rows build these numbers of bottlenecks; a row that does already stays as it is.

    Args:
        rows: the YAML, with `backbone` and `head`: rows of [from, number, module, arguments].
        counts: {number of a row: bottlenecks}.
        depth: upstream's multiple of every number above 1.
    """
    changed = deepcopy(dict(rows))
    for at, row in enumerate([*changed["backbone"], *changed["head"]]):
        if at in counts and _built(row[1], depth) != counts[at]:
            row[1] = _number(counts[at], depth)
    return changed


def _built(number: float, depth: float) -> float:
    """What upstreams make of a row's number."""
    return max(round(number * depth), 1) if number > 1 else number


def _number(wanted: int, depth: float) -> float:
    """The least whole number that becomes `wanted`; where a multiple above 1 leaves it out, a fraction that does.

    Raises:
        PruneError: there is none.
    """
    found = (number for number in range(1, 2 + math.ceil((wanted + 1) / depth)) if _built(number, depth) == wanted)
    number: float = next(found, round(wanted / depth, 3))
    if _built(number, depth) != wanted:
        raise PruneError(f"no number of a YAML row builds {wanted} bottlenecks at a depth multiple of {depth}.")
    return number
