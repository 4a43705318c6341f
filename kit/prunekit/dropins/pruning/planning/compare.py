# SPDX-License-Identifier: AGPL-3.0-or-later
"""Compare two forms of a network, module by module: what goes into each and what comes out, in order."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

TOLERANCE = 1e-8  # of the largest value; float64 rounding stays below 1e-12, an error is not below 1e-6

MATCH = 1e-11  # likewise, to tell channels apart: nearly dead ones of a large network lie closer than TOLERANCE


class Differs(Exception):
    """The two forms are not the same.

    Attributes:
        reason: what was found.
        seen: the module at whose input or output.
        places: modules whose forward may be the cause, the nearest first.
    """

    def __init__(self, reason: str, seen: str, places: list[str]) -> None:
        super().__init__(f"{reason} at {seen}")
        self.reason, self.seen, self.places = reason, seen, places


@dataclass
class Film:
    """Inputs and outputs of a network's modules, in order."""

    frames: list[tuple[str, str, list[Tensor]]] = field(default_factory=list)
    error: float = 0.0
    compared: int = 0


See = Callable[[str, str, list[Tensor], list[str]], None]


def record(model: nn.Module, image: Tensor, only: Collection[str] | None = None) -> Film:
    """The first form's run; of the modules in `only`, if given."""
    film = Film()

    def keep(name: str, side: str, found: list[Tensor], active: list[str]) -> None:
        film.frames.append((name, side, [tensor.detach().clone() for tensor in found]))

    _watched(model, image, keep, [], only)
    return film


def play(model: nn.Module, image: Tensor, film: Film, only: Collection[str] | None = None) -> Film:
    """The second form's run, held against the first's.

    A tensor may lack channels: then those it has must be some of the other's, in their order.

    Raises:
        Differs: at the first difference.
    """
    frames = iter(film.frames)
    active: list[str] = []

    def hold(name: str, side: str, found: list[Tensor], active: list[str]) -> None:
        # what goes into a module, the one that called it has computed
        places = [each for each in reversed(active if side == "out" else active[:-1]) if each]
        places += [name] if name and name not in places else []
        frame = next(frames, None)
        if frame is None or frame[:2] != (name, side) or len(frame[2]) != len(found):
            raise Differs("it runs through other modules when it is pruned", name, places)
        for own, other in zip(found, frame[2], strict=True):
            error = difference(own, other)
            if not error <= TOLERANCE:
                raise Differs("pruned, it computes something else", name, places)
            film.error, film.compared = max(film.error, error), film.compared + 1

    try:
        _watched(model, image, hold, active, only)
    except Differs:
        raise
    except Exception as error:
        own = [n for n in active if n and not type(model.get_submodule(n)).__module__.startswith("torch.nn")]
        first = next(iter(str(error).strip().splitlines()), "")[:120]
        places = [*reversed(own), *(n for n in reversed(active) if n and n not in own)]
        where = active[-1] if active else ""
        raise Differs(f"pruned, it fails ({type(error).__name__}: {first})", where, places) from error
    return film


def by_chance(model: nn.Module, image: Tensor) -> str | None:
    """The module that gives something else each time it is asked (a dropout written out), if there is one."""
    film = record(model, image)
    try:
        play(model, image, film)
    except Differs as stop:
        return next(iter(stop.places), None)
    return None


def difference(own: Tensor, other: Tensor) -> float:
    """Largest difference relative to the largest value; of an `own` that lacks channels, to the best choice of them."""
    if own.shape == other.shape:
        return _relative(own, other)
    axes = [axis for axis, (a, b) in enumerate(zip(own.shape, other.shape)) if a != b]  # noqa: B905
    if own.dim() != other.dim() or len(axes) != 1 or own.shape[axes[0]] > other.shape[axes[0]]:
        return float("inf")
    rows, whole = (tensor.movedim(axes[0], 0).flatten(1) for tensor in (own, other))
    chosen = _chosen(rows, whole)
    return float("inf") if chosen is None else _relative(rows, whole[chosen])


def _relative(own: Tensor, other: Tensor) -> float:
    if not own.numel():
        return 0.0
    finite = torch.isfinite(other)
    if not torch.equal(finite, torch.isfinite(own)):
        return float("inf")
    own, other = own[finite], other[finite]
    if not own.numel():
        return 0.0
    return float((own - other).abs().max() / other.abs().max().clamp(min=1e-30))


def _chosen(rows: Tensor, whole: Tensor) -> list[int] | None:
    """Places in `whole` (many, n) of `rows` (few, n), in order; None if they are not there."""
    generator = torch.Generator().manual_seed(3)
    direction = torch.randn(rows.shape[1], generator=generator, dtype=rows.dtype)
    room = MATCH * float(whole.abs().max()) * float(direction.abs().sum())
    wanted, known = ((tensor @ direction).tolist() for tensor in (rows, whole))
    places: list[int] = []
    place = 0
    for value in wanted:
        while place < len(known) and not abs(known[place] - value) <= room:
            place += 1
        if place == len(known):
            return None
        places.append(place)
        place += 1
    return places


def settle(model: nn.Module) -> None:
    """Take chance and batch statistics out of training mode: a few positions' variance would magnify rounding."""
    for module in model.modules():
        chance = "Drop" in type(module).__name__ or isinstance(module, nn.RReLU)
        if chance or isinstance(module, nn.modules.batchnorm._NormBase):
            module.training = False
        if isinstance(module, (nn.MultiheadAttention, nn.RNNBase)):
            module.dropout = 0.0


def _watched(model: nn.Module, image: Tensor, see: See, active: list[str], only: Collection[str] | None = None) -> None:
    """Run `model`, and show `see` the input and the output of each module (of `only`) as it is called."""

    def before(name: str) -> Any:
        def hook(module: nn.Module, args: Any, kwargs: Any) -> None:
            active.append(name)
            see(name, "in", _floats([args, kwargs]), active)

        return hook

    def after(name: str) -> Any:
        def hook(module: nn.Module, args: Any, output: Any) -> None:
            see(name, "out", _floats(output), active)
            active.pop()

        return hook

    hooks = []
    settle(model)
    for name, module in model.named_modules():
        if only is not None and name not in only:
            continue
        hooks += [module.register_forward_pre_hook(before(name), with_kwargs=True)]
        hooks += [module.register_forward_hook(after(name))]
    try:
        model(image)
    finally:
        for hook in hooks:
            hook.remove()


def _floats(value: Any) -> list[Tensor]:
    if isinstance(value, Tensor):
        return [value] if value.is_floating_point() else []
    parts = value.values() if isinstance(value, dict) else value if isinstance(value, (list, tuple)) else ()
    return [tensor for part in parts for tensor in _floats(part)]
