# SPDX-License-Identifier: AGPL-3.0-or-later
"""Model surgery: swap blocks that hide a channel split for twins with one convolution per half, and back.

torch-pruning cannot follow `chunk` through a block. In the twin each half comes from a convolution of its own, so the
graph sees plain concatenations. Both directions are pure rearrangements of weights: no output changes.
"""

from __future__ import annotations

import copy
import runpy
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import PruneError

Layer = Any  # an nn.Module; to a checker each attribute of one is a Tensor or a Module, numbers included


@dataclass(frozen=True)
class SwapRule:
    """One block type and its twin for pruning.

    Attributes:
        stock: the upstream class; a subclass counts where its forward is the inherited one.
        split: stock block -> twin.
        split_type: class of the twin.
        merge: twin -> stock block.
        halves: the twin's two convolutions whose widths must stay equal, so that `merge` is exact without padding.
        whole: the child of the stock block whose outputs are cut; an attribute `c` is half their number.
    """

    stock: type
    split: Callable[[nn.Module], nn.Module]
    split_type: type
    merge: Callable[[nn.Module], nn.Module]
    halves: tuple[str, str]
    whole: str = "cv1"


def split_blocks(model: nn.Module, rules: Iterable[SwapRule]) -> int:
    """Replace every stock block below `model` by its twin, in place. Returns how many; 0 when done before."""
    return swap_modules(model, {rule.stock: rule.split for rule in rules})


def own_rules(root: Path) -> tuple[SwapRule, ...]:
    """The rules of a user's own blocks: `RULES` in the file `prunekit_rules.py` of a fork's folder, if it is there.

    Raises:
        PruneError: the file cannot be run, or holds no rules.
    """
    file = root / "prunekit_rules.py"
    if not file.is_file():
        return ()
    try:
        rules = tuple(runpy.run_path(str(file))["RULES"])
    except KeyError as error:
        raise PruneError(f"{file}: defines no {error}; docs/own-modules.md shows what it holds.") from error
    except Exception as error:
        raise PruneError(f"{file}: {type(error).__name__}: {next(iter(str(error).splitlines()), '')}") from error
    if not all(isinstance(rule, SwapRule) for rule in rules):
        raise PruneError(f"{file}: RULES must hold what pruning.network.surgery.halved made, or SwapRule objects.")
    return rules


def sync_halves(model: nn.Module, rules: Iterable[SwapRule]) -> int:
    """Bring `c` (half width, in channels) of every stock block that a rule swaps in line with its layers, in place.

    Only these: in a user's other blocks `c` may be any number. Returns how many changed.
    """
    wholes = {rule.stock: rule.whole for rule in rules}
    changed = 0
    for module in model.modules():
        kind = _key(module, wholes)
        if kind is not None and type(getattr(module, "c", None)) is int:
            half: Any = getattr(module, wholes[kind]).conv.out_channels // 2
            changed += module.c != half
            module.c = half
    return changed


def merge_blocks(model: nn.Module, rules: Iterable[SwapRule]) -> int:
    """Replace every twin below `model` by its stock block, in place. Returns how many; 0 when there is none.

    Raises:
        PruneError: two halves that no stock block can hold.
    """
    return swap_modules(model, {rule.split_type: rule.merge for rule in rules})


def swap_modules(model: nn.Module, swaps: Mapping[type, Callable[[nn.Module], nn.Module]]) -> int:
    """Replace each submodule whose type is a key by what the value makes of it, innermost first.

    A subclass of a key is replaced, too, unless it computes something else: its forward is the key's own.
    """
    done: dict[nn.Module, nn.Module] = {}
    for parent in reversed(list(model.modules())):
        for name, child in list(parent._modules.items()):
            key = None if child is None else _key(child, swaps)
            if child is not None and key is not None:
                if child not in done:
                    done[child] = swaps[key](child)
                parent._modules[name] = done[child]
    return len(done)


def _key(module: nn.Module, swaps: Mapping[type, object]) -> type | None:
    """The nearest class of a module that is a key and has the module's forward."""
    if "forward" in module.__dict__:
        return None
    kinds = (kind for kind in type(module).__mro__ if kind in swaps)
    return next((kind for kind in kinds if type(module).forward is kind.forward), None)  # type: ignore[attr-defined]


def halved(
    stock: type, twin: type, *, whole: str = "cv1", merge: Callable[[nn.Module], nn.Module] | None = None
) -> SwapRule:
    """The rule for a block that cuts the output of one conv (+ bn + act) block into two halves.

    Args:
        stock: the block's class; it calls `chunk(2, 1)` or the like on the output of its child `whole`.
        twin: a class with nothing but a `forward`, which takes the first half from `self.cv0` and the second from
            `self.cv1`, and everything else from where `stock` takes it.
        whole: the child that is cut; in the twin it is `cv0` and `cv1`.
        merge: twin -> stock, if it is more than putting the halves together.
    """

    def split(block: nn.Module) -> nn.Module:
        kind, taken = type(block).__name__, {"cv0", "cv1"} & set(block._modules) - {whole}
        if taken:
            raise PruneError(f"{kind} has its own {taken.pop()}: the halves of the twin take that name.")
        first, second = halve(getattr(block, whole))
        made = recast(block, twin, _replaced(block, (whole,), {"cv0": first, "cv1": second}))
        made.stock = type(block)  # type: ignore[assignment]
        return made

    def together(block: Layer) -> nn.Module:
        kind: Any = block.stock
        made = recast(block, kind, _replaced(block, ("cv0", "cv1"), {whole: join(block.cv0, block.cv1)}))
        del made.stock
        if hasattr(made, "c"):
            made.c = getattr(made, whole).conv.out_channels // 2
        return made

    return SwapRule(stock, split, twin, merge or together, ("cv0.conv", "cv1.conv"), whole)


def _replaced(block: nn.Module, old: Sequence[str], new: Mapping[str, nn.Module]) -> dict[str, nn.Module]:
    """The children of `block` in their order, with `new` in the place of the first of `old`."""
    found: dict[str, nn.Module] = {}
    for name, child in block._modules.items():
        found.update(new if name == old[0] else {} if name in old or child is None else {name: child})
    return found


def recast(block: nn.Module, kind: type, modules: Mapping[str, nn.Module]) -> nn.Module:
    """A `kind` with the submodules `modules` and everything else of `block`: plain attributes, hooks, training flag."""
    twin: nn.Module = kind.__new__(kind)  # type: ignore[call-overload]
    twin.__dict__.update({key: value for key, value in block.__dict__.items() if key != "_modules"})
    twin.__dict__["_modules"] = type(block._modules)(modules)
    return twin


def halve(block: Layer) -> tuple[Layer, Layer]:
    """Two blocks that give the first and the second half of the output channels of a conv (+ bn + act) `block`."""
    width = block.conv.out_channels
    if width % 2:
        raise PruneError(f"A block with {width} output channels has no equal halves: this is not a stock checkpoint.")
    return _slice(block, slice(0, width // 2)), _slice(block, slice(width // 2, width))


def join(first: Layer, second: Layer) -> Layer:
    """One conv (+ bn + act) block with the output channels of `first`, then those of `second`.

    Raises:
        PruneError: they differ in more than their weights.
    """
    if _form(first) != _form(second):
        raise PruneError(f"Two halves cannot be merged, they differ: {_form(first)} and {_form(second)}.")
    whole = _clone(first)
    _set_outputs(whole, lambda name: torch.cat([_leaf(first, name), _leaf(second, name)]))
    return whole


def pad_outputs(block: Layer, extra: int) -> None:
    """Append `extra` output channels that are exactly zero to a conv (+ bn + act) block, in place.

    Raises:
        PruneError: the activation does not map zero to zero, so the channels would not stay silent.
    """
    probe = torch.zeros(1, dtype=block.conv.weight.dtype, device=block.conv.weight.device)
    if bool(block.act(probe).ne(0)):
        raise PruneError(f"Cannot pad with zero channels: {type(block.act).__name__}(0) is not 0.")
    ones = {"bn.running_var"}  # an unused variance of 1 keeps the normalisation finite
    _set_outputs(block, lambda name: _grow(_leaf(block, name), 0, extra, 1.0 if name in ones else 0.0))


def pad_inputs(conv: Layer, at: Sequence[int], extra: int) -> None:
    """Insert `extra` ignored input channels into a plain convolution before each of the original positions `at`."""
    if conv.groups != 1:
        raise PruneError("Cannot pad the input of a grouped convolution: merge such a block by hand.")
    pieces, start = [], 0
    for stop in [*at, conv.in_channels]:
        pieces.append(conv.weight.data[:, start:stop])  # (out, channels, k, k)
        start = stop
    zeros = torch.zeros_like(conv.weight.data[:, :1]).repeat(1, extra, 1, 1)
    joined = [part for piece in pieces for part in (piece, zeros)][:-1]
    conv.weight = nn.Parameter(torch.cat(joined, 1), requires_grad=conv.weight.requires_grad)
    conv.in_channels = conv.weight.shape[1]


_PER_OUTPUT = ("conv.weight", "conv.bias", "bn.weight", "bn.bias", "bn.running_mean", "bn.running_var")


def _form(block: Layer) -> tuple[object, ...]:
    conv, norm = block.conv, getattr(block, "bn", None)
    shape = (conv.in_channels, conv.kernel_size, conv.stride, conv.padding, conv.dilation, conv.groups)
    return (*shape, conv.bias is None, norm is None, getattr(norm, "eps", None), repr(block.act))


def _leaf(block: Layer, name: str) -> Any:
    owner, _, key = name.partition(".")
    return getattr(getattr(block, owner, None), key, None)


def _clone(block: Layer) -> Layer:
    # Upstream shares one activation object between its blocks: share it on.
    return copy.deepcopy(block, {id(block.act): block.act})


def _slice(block: Layer, part: slice) -> Layer:
    half = _clone(block)
    _set_outputs(half, lambda name: _leaf(block, name)[part].clone())
    return half


def _grow(tensor: Tensor, dim: int, extra: int, value: float) -> Tensor:
    shape = list(tensor.shape)
    shape[dim] = extra
    return torch.cat([tensor, tensor.new_full(shape, value)], dim)


def _set_outputs(block: Layer, make: Callable[[str], Tensor]) -> None:
    """Replace each per-output-channel tensor of `block` by `make(name)` and update the recorded widths."""
    with torch.no_grad():
        fresh = {name: make(name).detach() for name in _PER_OUTPUT if _leaf(block, name) is not None}
    for name, tensor in fresh.items():
        owner, _, key = name.partition(".")
        module, old = getattr(block, owner), _leaf(block, name)
        setattr(module, key, nn.Parameter(tensor, old.requires_grad) if isinstance(old, nn.Parameter) else tensor)
    block.conv.out_channels = block.conv.weight.shape[0]
    if getattr(block, "bn", None) is not None:
        block.bn.num_features = block.conv.out_channels
