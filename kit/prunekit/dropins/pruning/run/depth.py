# SPDX-License-Identifier: AGPL-3.0-or-later
"""Fewer layers: whole bottlenecks taken out of the dense network, before any channel goes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ..errors import PruneError
from ..family.contract import Family
from ..files import write_whole
from ..network.counts import count
from ..network.stacks import Stack, cut, find_stacks, mask
from ..planning.depth import BlockEntry, blocks_line, choose_blocks, fitting
from ..planning.depth_proof import prove_cut
from ..scratch import temporary_folder
from ..settings import Settings
from .framed import framed_images
from .repair_step import repaired

IMAGES = 64  # that are looked at to choose
Say = Callable[[str], None]


@dataclass(frozen=True)
class Shallow:
    """A checkpoint without some bottlenecks, and which."""

    weights: Path
    blocks: tuple[BlockEntry, ...]


@contextmanager
def tried(
    family: Family, weights: Path, settings: Settings, blocks: Sequence[BlockEntry] = (), say: Say = print
) -> Iterator[Shallow | None]:
    """The network without the bottlenecks that go, for plans and targets; None where none goes. It is not repaired.

    Args:
        blocks: which go, by a plan; otherwise as many as the settings ask for, chosen on training images.

    Raises:
        PruneError: no block has more than one, there are no images, or the plan is of another network.
    """
    entries = tuple(blocks)
    if settings.remove_blocks and not entries:
        entries = _chosen(family, weights, settings, say)
    if not entries:
        yield None
        return
    with temporary_folder() as folder:
        target = Path(folder) / "shallow.pt"
        model, removed = _masked(family, weights, entries)
        yield _saved(family, model, removed, weights, target, entries)


def remove_blocks(
    family: Family, weights: Path, entries: tuple[BlockEntry, ...], target: Path, settings: Settings, say: Say
) -> tuple[Shallow, dict[str, Any]]:
    """Write the network without these bottlenecks; what repair did, where the settings ask for one."""
    dense = family.load(weights)
    model, removed = _masked(family, weights, entries)
    before = count(dense, family.example(dense))
    film = prove_cut(dense, family.example(dense), removed, family.tracing)
    say(
        f"Proof: without the bottlenecks as with the identity in their place, in {film.compared} inputs and outputs "
        f"(largest difference {film.error:.0e})"
    )
    repair = repaired(family, weights, model, dense, {}, settings, say) if settings.repair else {}
    made = _saved(family, model, removed, weights, target, entries)
    after = count(model, family.example(model))
    macs, params = after.macs / before.macs, after.params / before.params
    say(f"{blocks_line(entries)}: {macs:.1%} of the MACs, {params:.1%} of the parameters left")
    return made, repair


def _masked(
    family: Family, weights: Path, entries: Sequence[BlockEntry]
) -> tuple[nn.Module, list[tuple[Stack, list[int]]]]:
    """The network with the identity in the place of what goes."""
    model = family.load(weights)
    stacks = find_stacks(model, family.stacks(model), family.example(model), family.tracing)
    removed = fitting(entries, stacks)
    for stack, gone in removed:
        mask(model, stack, gone)
    return model, removed


def _saved(
    family: Family,
    model: nn.Module,
    removed: Sequence[tuple[Stack, list[int]]],
    weights: Path,
    target: Path,
    entries: tuple[BlockEntry, ...],
) -> Shallow:
    for stack, gone in removed:
        cut(model, stack, gone)
    write_whole(target, lambda scratch: family.save(model, weights, scratch))
    return Shallow(target, entries)


def _chosen(family: Family, weights: Path, settings: Settings, say: Say) -> tuple[BlockEntry, ...]:
    """The bottlenecks that cost least, outside what --ignore names."""
    model = family.load(weights)
    readers = family.stacks(model)
    if not readers:
        raise PruneError(f"--remove-blocks {settings.remove_blocks}: this network's YAML repeats no bottlenecks.")
    free = {name: reader for name, reader in readers.items() if not _ignored(name, settings.ignore)}
    stacks = find_stacks(model, free, family.example(model), family.tracing)
    most = sum(min(len(stack) - 1, len(stack.removable())) for stack in stacks)
    if not most:
        raise PruneError(
            f"--remove-blocks {settings.remove_blocks}: none of the {len(free)} blocks has more than one bottleneck, "
            "and each keeps one. Larger networks have more (m, l, x); leave the option out for this one."
        )
    if most < settings.remove_blocks:
        say(f"--remove-blocks {settings.remove_blocks}: {most} can go, for one of each block stays")
    number = min(most, settings.remove_blocks)
    entries = choose_blocks(
        model, stacks, number, _images(family, weights, model), tracing=family.tracing, seed=settings.seed
    )
    say(blocks_line(entries))
    return entries


def _ignored(name: str, ignore: Sequence[str]) -> bool:
    """The block is named, or is in what is named, or something in it is."""
    return any(f"{name}.".startswith(f"{other}.") or other.startswith(f"{name}.") for other in ignore)


def _images(family: Family, weights: Path, model: nn.Module) -> list[torch.Tensor]:
    try:
        found = framed_images(family, weights, model, IMAGES)
    except Exception as error:  # upstreams' loaders fail in many ways
        first = next(iter(str(error).strip().splitlines()), type(error).__name__)[:200]
        raise PruneError(f"no training images for --remove-blocks: {first} (--data DATA.yaml)") from error
    if not found:
        raise PruneError("no training images for --remove-blocks: the training set is empty (--data DATA.yaml)")
    return found
