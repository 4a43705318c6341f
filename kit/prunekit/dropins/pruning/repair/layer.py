# SPDX-License-Identifier: AGPL-3.0-or-later
"""One layer as a linear map of features to targets, whatever its kind: sampled positions, features, matrix and back.

Convolutions (plain, grouped, depthwise), transposed convolutions whose kernel is their stride, linear layers. Arrays
are (groups, samples, ...): a depthwise convolution has as many groups as channels, a plain layer one.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

Layer = Any  # an nn.Module; to a checker each attribute of one is a Tensor or a Module, numbers included

KINDS = (nn.Conv2d, nn.ConvTranspose2d, nn.Linear)


def obstacle(layer: Layer) -> str | None:
    """Why this layer cannot be solved here, if so."""
    if isinstance(layer, nn.ConvTranspose2d):
        square = layer.kernel_size == layer.stride and len(set(layer.stride)) == 1
        plain = layer.groups == 1 and not any((*layer.padding, *layer.output_padding)) and set(layer.dilation) == {1}
        return None if square and plain else "transposed convolution whose kernels overlap or are grouped"
    return None


def features_of(layer: Layer) -> int:
    """Inputs that one output sums over (without the bias)."""
    if isinstance(layer, nn.ConvTranspose2d):
        return layer.in_channels
    return int(layer.weight[0].numel())


def places(layer: Layer, output: Tensor, number: int, generator: torch.Generator) -> Tensor:
    """Random places to look at: (images, number) flat positions; for a linear layer (number,) of all its rows."""
    if isinstance(layer, nn.Linear):
        rows = output.numel() // output.shape[-1]
        return torch.randperm(rows, generator=generator)[: min(rows, number * output.shape[0])]
    rows, columns = output.shape[2:]
    if isinstance(layer, nn.ConvTranspose2d):
        rows, columns = rows // layer.stride[0], columns // layer.stride[1]
    chosen = [torch.randperm(rows * columns, generator=generator)[:number] for _ in range(output.shape[0])]
    return torch.stack(chosen)


def targets(layer: Layer, output: Tensor, at: Tensor, kept: Sequence[int] | None = None) -> Tensor:
    """(samples, outputs) of a layer's output at these places; only the channels `kept`."""
    if isinstance(layer, nn.Linear):
        rows = output.reshape(-1, output.shape[-1])[at]
        return rows if kept is None else rows[:, list(kept)]
    if kept is not None and len(kept) != output.shape[1]:
        output = output[:, list(kept)]
    if isinstance(layer, nn.ConvTranspose2d):
        output = functional.pixel_unshuffle(output, layer.stride[0])
    return _at(output, at)


def features(layer: Layer, given: Tensor, at: Tensor) -> Tensor:
    """(groups, samples, features) that a layer's outputs at these places are sums of."""
    if isinstance(layer, nn.Linear):
        return given.reshape(-1, given.shape[-1])[at][None]
    if isinstance(layer, nn.ConvTranspose2d):
        return _at(given, at)[None]
    patches = _patches(layer, given, at)  # (samples, channels, kernel)
    return patches.reshape(len(patches), layer.groups, -1).transpose(0, 1)


def grouped(layer: Layer, rows: Tensor) -> Tensor:
    """(samples, outputs) as (groups, samples, outputs of a group)."""
    groups = getattr(layer, "groups", 1)
    return rows.reshape(len(rows), groups, -1).transpose(0, 1)


def matrix(layer: Layer) -> Tensor:
    """The weights as (groups, features, outputs of a group), float64."""
    weight = layer.weight.detach().double()
    if isinstance(layer, nn.ConvTranspose2d):
        return weight.reshape(1, layer.in_channels, -1)
    groups = getattr(layer, "groups", 1)
    return weight.reshape(groups, weight.shape[0] // groups, -1).transpose(1, 2)


def write(layer: Layer, solved: Tensor) -> None:
    """Put a matrix of the form that `matrix` gives back into the weights."""
    flat = solved if isinstance(layer, nn.ConvTranspose2d) else solved.transpose(1, 2)
    layer.weight.data.copy_(flat.reshape(layer.weight.shape))


def _at(maps: Tensor, at: Tensor) -> Tensor:
    """(n, channels, h, w) at (n, places) -> (n * places, channels)."""
    flat = maps.flatten(2)
    chosen = torch.gather(flat, 2, at[:, None].expand(-1, flat.shape[1], -1))
    return chosen.transpose(1, 2).reshape(-1, flat.shape[1])


def _patches(layer: Layer, given: Tensor, at: Tensor) -> Tensor:
    """(n * places, channels, kernel height * width) of what a convolution sees at (n, places) of its output."""
    (kh, kw), (sh, sw), (dh, dw) = layer.kernel_size, layer.stride, layer.dilation
    padding = layer._reversed_padding_repeated_twice  # left, right, top, bottom, also where it was given as a word
    mode = "constant" if layer.padding_mode == "zeros" else layer.padding_mode
    padded = functional.pad(given, padding, mode=mode)
    columns = (padded.shape[3] - dw * (kw - 1) - 1) // sw + 1
    top, left = at // columns * sh, at % columns * sw  # (n, places)
    rows = top[..., None, None] + torch.arange(kh)[:, None] * dh
    sides = left[..., None, None] + torch.arange(kw) * dw
    image = torch.arange(len(at))[:, None, None, None]
    found = padded[image, :, rows, sides]  # (n, places, kh, kw, channels)
    return found.flatten(0, 1).flatten(1, 2).transpose(1, 2)


def shift(layer: Any) -> Tensor:
    """The bias as (groups, 1, outputs of a group), float64; zeros where there is none."""
    width = matrix(layer).shape[2]
    groups = getattr(layer, "groups", 1)
    if layer.bias is None:
        return torch.zeros(groups, 1, width, dtype=torch.float64)
    bias = layer.bias.detach().double()
    return bias.repeat_interleave(width * groups // len(bias)).reshape(groups, 1, width)
