# SPDX-License-Identifier: AGPL-3.0-or-later
"""Channel widths of a network as plain data: read them from one model, apply them to another.

A width map is ``{module name: [in, out]}``. ``null`` (None) means "as the model was built": the image channels of the
stem and every output that depends on the task (classes, keypoints, ...). A BatchNorm called ``X.bn`` beside a
convolution ``X.conv`` follows that convolution and has no row of its own, unless its width is another (it stands before
the convolution); other norms stand as ``[n, n]``, and a bare parameter with one long axis (a layer scale) as
``[null, n]``.
"""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterator, Mapping
from typing import Any

import torch
from torch import nn
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.modules.conv import _ConvNd, _ConvTransposeNd

from ..errors import PruneError

Width = list  # [in channels or None, out channels or None]


def read_widths(model: nn.Module, open_outputs: Collection[str], stem: str) -> dict[str, Width]:
    """Read the widths of every layer below `model`, in `named_modules` order.

    Args:
        model: the network; names are those of `model.named_modules()`.
        open_outputs: layers and bare parameters whose width belongs to the task (classes, keypoints): not recorded.
        stem: the layer whose input width belongs to the image and is not recorded.

    Raises:
        PruneError: `stem` or an open output is not a layer of the model.
    """
    layers = dict(_sized_layers(model))
    bare = {name: p.numel() for name, _, p in _bare_parameters(model)}
    for name in (*open_outputs, stem):
        if name not in layers and name not in bare:
            raise PruneError(f"widths: '{name}' is no layer with a width in this model{_nearest(name, layers)}")
    widths: dict[str, Width] = {}
    for name, layer in layers.items():
        if _follows_conv(name, layers):
            continue
        width = _width(layer)
        width[0] = None if name == stem else width[0]
        width[1] = None if name in open_outputs else width[1]
        if width != [None, None]:
            widths[name] = width
    widths.update({name: [None, size] for name, size in bare.items() if name not in open_outputs})
    return widths


def apply_widths(model: nn.Module, widths: Mapping[str, Width]) -> int:
    """Resize the layers of a freshly built `model` in place to `widths`; return how many layers changed.

    A layer that changes is initialised again by its own `reset_parameters`, so the map is for building: weights are
    loaded afterwards. A layer may also grow: what a head is built with depends on the number of classes.

    Raises:
        PruneError: a name that the model does not have, or a width that does not fit the layer.
    """
    layers = dict(_sized_layers(model))
    bare = {name: (owner, p) for name, owner, p in _bare_parameters(model)}
    changed = 0
    for name, width in widths.items():
        new_in, new_out = _checked(name, width)
        if name in bare:
            changed += _resize_bare(name, *bare[name], new_out)
        elif name in layers:
            changed += _resize(name, layers[name], new_in, new_out)
            norm = None if _norm_name(name) in widths else layers.get(_norm_name(name))
            changed += _resize(_norm_name(name), norm, new_out, new_out) if norm is not None else 0
        else:
            raise PruneError(f"widths: the model has no layer '{name}'{_nearest(name, layers)}")
    return changed


def _sized_layers(model: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """Yield the layers that have an input and an output width."""
    for name, module in model.named_modules():
        if isinstance(module, (_ConvNd, nn.Linear, _NormBase)):
            yield name, module


def _bare_parameters(model: nn.Module) -> Iterator[tuple[str, nn.Module, nn.Parameter]]:
    """Yield parameters held outside convolutions, linear layers and norms that have exactly one long axis."""
    for prefix, module in model.named_modules():
        if isinstance(module, (_ConvNd, nn.Linear, _NormBase)):
            continue
        for key, parameter in module.named_parameters(recurse=False):
            if parameter.numel() == max(parameter.shape, default=0) > 1:
                yield f"{prefix}.{key}" if prefix else key, module, parameter


def _norm_name(name: str) -> str:
    """Name of the norm that follows the convolution `name` ("a.conv" -> "a.bn"; "" if there can be none)."""
    owner, _, leaf = name.rpartition(".")
    return f"{owner}.bn" if leaf == "conv" else ""


def _follows_conv(name: str, layers: Mapping[str, nn.Module]) -> bool:
    owner, _, leaf = name.rpartition(".")
    conv: Any = layers.get(f"{owner}.conv")
    return leaf == "bn" and isinstance(conv, _ConvNd) and conv.out_channels == _width(layers[name])[1]


def _width(layer: nn.Module) -> Width:
    """[in, out] of one layer."""
    if isinstance(layer, _ConvNd):
        return [layer.in_channels, layer.out_channels]
    if isinstance(layer, nn.Linear):
        return [layer.in_features, layer.out_features]
    return [layer.num_features, layer.num_features]


def _checked(name: str, width: Width) -> tuple[int | None, int | None]:
    """Check one row of the map, which a person may have edited."""
    ok = isinstance(width, (list, tuple)) and len(width) == 2
    if not ok or any(w is not None and (type(w) is not int or w < 1) for w in width):
        raise PruneError(f"widths: '{name}: {width}' is not [in, out] with whole numbers of 1 or more, or null")
    return width[0], width[1]


def _resize(name: str, layer: nn.Module, new_in: int | None, new_out: int | None) -> int:
    """Resize one layer; 1 if anything changed."""
    old = _width(layer)
    new = [old[0] if new_in is None else new_in, old[1] if new_out is None else new_out]
    if new == old:
        return 0
    if isinstance(layer, _NormBase):
        _resize_norm(layer, new[1])
    elif isinstance(layer, nn.Linear):
        layer.in_features, layer.out_features = new
        _renew(layer, weight=(new[1], new[0]), bias=(new[1],))
    else:
        assert isinstance(layer, nn.modules.conv._ConvNd)  # _width knows no other kind
        _resize_conv(name, layer, *new)
    again: Any = layer
    again.reset_parameters()
    return 1


def _resize_conv(name: str, conv: _ConvNd, new_in: int, new_out: int) -> None:
    """Resize a convolution; a depthwise one stays depthwise, any other keeps its number of groups."""
    depthwise = conv.groups > 1 and conv.groups == conv.in_channels == conv.out_channels
    groups = new_out if depthwise else conv.groups
    if new_in % groups or new_out % groups:
        kind = "a depthwise convolution" if depthwise else f"its {groups} groups"
        raise PruneError(f"widths: '{name}: [{new_in}, {new_out}]' does not fit {kind}")
    conv.in_channels, conv.out_channels, conv.groups = new_in, new_out, groups
    first, second = (new_in, new_out) if isinstance(conv, _ConvTransposeNd) else (new_out, new_in)
    _renew(conv, weight=(first, second // groups, *conv.kernel_size), bias=(new_out,))


def _resize_norm(norm: _NormBase, channels: int) -> None:
    norm.num_features = channels
    _renew(norm, weight=(channels,), bias=(channels,))
    for key in ("running_mean", "running_var"):
        if getattr(norm, key) is not None:
            setattr(norm, key, getattr(norm, key).new_empty(channels))


def _renew(layer: nn.Module, **shapes: tuple[int, ...]) -> None:
    """Replace parameters by empty ones of the given shapes: same dtype, device and requires_grad."""
    for key, shape in shapes.items():
        old = getattr(layer, key)
        if old is not None:
            setattr(layer, key, nn.Parameter(old.data.new_empty(shape), requires_grad=old.requires_grad))


def _resize_bare(name: str, owner: nn.Module, old: nn.Parameter, size: int | None) -> int:
    """Resize a parameter with one long axis, filled with the mean of what it held (layer scales start constant)."""
    if size is None or size == old.numel():
        return 0
    shape = [size if n == old.numel() else n for n in old.shape]
    fresh = torch.full(shape, float(old.detach().float().mean()), dtype=old.dtype, device=old.device)
    setattr(owner, name.rpartition(".")[2], nn.Parameter(fresh, requires_grad=old.requires_grad))
    return 1


def _nearest(name: str, known: Mapping[str, nn.Module]) -> str:
    near = difflib.get_close_matches(name, known, 1)
    return f"; the nearest name is '{near[0]}'" if near else ""
