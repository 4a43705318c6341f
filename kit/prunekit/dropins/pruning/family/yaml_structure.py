# SPDX-License-Identifier: AGPL-3.0-or-later
"""The pruned architecture as data, as far as it is the same wherever a YAML of rows is parsed into a list of layers.

`pruning.network.width_block` describes the block; here it meets what the upstreams' networks have in common: layers in
order, a count of parameters (`np`) beside each, anchors at the head.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from typing import Any

import torch
from torch import nn

from ..network.width_block import BLOCK, GUARD_TEXT, close_block, fit, owner_of, plain_yaml
from .contract import Network

# An upstream that evaluates the first row's module name as Python meets a KeyError that shows the text.
GUARD_EVALUATED = '{}["' + GUARD_TEXT.format(how="copy the file there") + '"]'


def close_structure(
    model: Network,
    guard: str,
    build: Callable[[dict[str, Any]], Network],
    outputs: Callable[[Network], Collection[str]],
    sync: Callable[[Network], Any],
    rows: Callable[[Any], dict[str, Any]] = lambda plain: plain,
) -> dict[str, Any]:
    """The `yaml` that a pruned model must carry: upstream's rows, its real anchors, the width block, and the guard.

    Args:
        model: of stock classes. It is not changed.
        guard: what stands in the place of the first row's module name.
        build: a fresh dense network from rows, its layers as `.model`.
        outputs: the layers whose output width the task sets.
        sync: brings plain attributes in line with the layers.
        rows: brings the dense network's YAML in line with blocks that have lost bottlenecks.

    Returns:
        A new dict for `model.yaml`; it has been tried: a network built from it takes the model's weights strictly.

    Raises:
        PruneError: the network cannot be rebuilt from a width block, and where.
    """
    plain = rows(plain_yaml(model.yaml, guard))
    if hasattr(model.model[-1], "anchors"):
        plain["anchors"] = real_anchors(model)
    return close_block(plain, guard, owner_of(model.model), build(plain), outputs(model), sync=sync)


def fit_layers(layers: Iterable[nn.Module], d: dict[str, Any], sync: Callable[[Network], Any]) -> int:
    """Give freshly parsed `layers` (in `parse_model`'s order) the structure of the block in `d`, in place.

    Returns:
        The number of layers that changed width; 0 without a block.
    """
    if BLOCK not in d:
        return 0
    owner: Network = owner_of(nn.Sequential(*layers))
    changed = fit(owner, d[BLOCK], sync)
    for layer in owner.model:
        layer.np = sum(p.numel() for p in layer.parameters())
    return changed


def built(parse: Callable[[], nn.Module]) -> Network:
    """What `parse` makes of rows, under the names of a task model's state dict; the random state is left as it was."""
    with torch.random.fork_rng(devices=[]):
        return owner_of(parse())


def real_anchors(model: Network) -> list[list[float]]:
    """The anchors in pixels, (levels, 2 * anchors), as AutoAnchor left them; upstream's YAML keeps the old ones."""
    head = model.model[-1]
    pixels = head.anchors.float() * head.stride.float().to(head.anchors.device).view(-1, 1, 1)  # (levels, anchors, 2)
    return [[int(x) if x == int(x) else x for x in level] for level in pixels.flatten(1).tolist()]
