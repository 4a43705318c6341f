# SPDX-License-Identifier: AGPL-3.0-or-later
"""Training form -> deploy form: implicit knowledge folded into the output convolutions, auxiliary branches left out.

A trainable head computes im * (W (x + ia) + b) for each level (YOLOR, arXiv 2105.04206): one convolution with weights
im * W and bias im * (W ia + b). Rows that only an auxiliary head reads are dropped. RepConv stays as it is: upstream
fuses it, and every BatchNorm, when it loads a network.
"""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import torch
from models.yolo import Model
from pruning.errors import PruneError
from pruning.family.contract import Network
from torch import Tensor, nn

from .pruned_yaml import exact_structure
from .quiet import quiet

IMPLICIT = ("IDetect", "IAuxDetect")
TOLERANCE = 1e-5  # of the largest output


def deploy_structure(made: dict[str, Any]) -> tuple[dict[str, Any], list[int]]:
    """The YAML of the deploy form, and for each of its rows the row of `made` that it comes from.

    Args:
        made: a YAML that ends in IDetect or IAuxDetect.

    Raises:
        PruneError: it ends in something else.
    """
    rows = [*made["backbone"], *made["head"]]
    f, n, name, args = rows[-1]
    if name not in IMPLICIT:
        raise PruneError(f"the network ends in {name}: it is in deploy form already ({', '.join(IMPLICIT)} are not).")
    outputs = f[: len(f) // 2] if name == "IAuxDetect" else f
    rows = [*rows[:-1], [outputs, n, "Detect", args]]
    kept = _reachable(rows)
    new = [_moved(rows[old], old, kept) for old in kept]
    cut = sum(old < len(made["backbone"]) for old in kept)
    return {**made, "backbone": new[:cut], "head": new[cut:]}, kept


def deployed(model: Network) -> Network:
    """The deploy form of a network, in evaluation mode; `model` is not changed.

    Raises:
        PruneError: the network has no trainable head, its rows cannot be written down, or the outputs differ.
    """
    made, kept = deploy_structure(exact_structure(model))
    with quiet(), torch.random.fork_rng(devices=[]):
        new = Model(deepcopy(made), ch=model.yaml.get("ch", 3))
    new.load_state_dict(_weights(model, kept), strict=True)
    for key in ("names", "hyp", "class_weights", "gr"):
        if hasattr(model, key):
            setattr(new, key, deepcopy(getattr(model, key)))
    return new.float().eval()


def apart(model: Network, other: nn.Module) -> float:
    """How far the boxes of two networks are from each other on a few images, relative to the largest output."""
    size = 2 * int(model.stride.max())
    images = torch.rand(2, model.yaml.get("ch", 3), size, size, generator=torch.Generator().manual_seed(0))
    modes = [each.training for each in (model, other)]
    with torch.inference_mode():
        wanted, got = (each.eval()(images)[0] for each in (model, other))
    for each, mode in zip((model, other), modes, strict=True):
        each.train(mode)
    return float((got - wanted).abs().max() / wanted.abs().max())


def _weights(model: Network, kept: list[int]) -> dict[str, Tensor]:
    """The state of the deploy form: kept rows renumbered, the head folded."""
    last, number = len(model.model) - 1, {old: new for new, old in enumerate(kept)}
    state = {}
    for name, value in model.state_dict().items():
        _, row, rest = name.split(".", 2)
        if int(row) in number and int(row) != last:
            state[f"model.{number[int(row)]}.{rest}"] = value
    head, prefix = model.model[-1], f"model.{number[last]}"
    state.update({f"{prefix}.anchors": head.anchors, f"{prefix}.anchor_grid": head.anchor_grid})
    for level in range(head.nl):
        weight, bias = folded(head.m[level], head.ia[level].implicit, head.im[level].implicit)
        state.update({f"{prefix}.m.{level}.weight": weight, f"{prefix}.m.{level}.bias": bias})
    return state


def folded(conv: nn.Conv2d, added: Tensor, factor: Tensor) -> tuple[Tensor, Tensor]:
    """Weight (out, in, 1, 1) and bias (out) of factor * conv(x + added), summed in double precision.

    Args:
        conv: a 1x1 convolution.
        added: (1, in, 1, 1).
        factor: (1, out, 1, 1).
    """
    assert conv.bias is not None  # where upstream has such a layer, it has one
    weight, bias = conv.weight.detach().double(), conv.bias.detach().double()
    scale = factor.detach().double().flatten()
    shifted = bias + weight.flatten(1) @ added.detach().double().flatten()
    return (weight * scale.view(-1, 1, 1, 1)).float(), (shifted * scale).float()


def _reachable(rows: list[list[Any]]) -> list[int]:
    """Numbers of the rows that the last one needs, in order."""
    needed, open_rows = {len(rows) - 1}, [len(rows) - 1]
    while open_rows:
        row = open_rows.pop()
        for source in _sources(rows[row][0], row):
            if source >= 0 and source not in needed:
                needed.add(source)
                open_rows.append(source)
    return sorted(needed)


def _sources(f: int | list[int], row: int) -> list[int]:
    """The rows that a row reads; -1 is the image for the first."""
    return [x if x >= 0 else row + x for x in ([f] if isinstance(f, int) else f)]


def _moved(row: list[Any], old: int, kept: list[int]) -> list[Any]:
    """A row in its new place: negative sources stay negative where they still point at the same row."""
    number = {was: now for now, was in enumerate(kept)}

    def moved(x: int) -> int:
        if x < 0 and old + x < 0:
            return x  # the image
        source = number[x if x >= 0 else old + x]
        return source if x >= 0 else source - number[old]

    f = row[0]
    return [moved(f) if isinstance(f, int) else [moved(x) for x in f], *row[1:]]
