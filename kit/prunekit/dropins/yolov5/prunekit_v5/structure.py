# SPDX-License-Identifier: AGPL-3.0-or-later
"""The pruned architecture as data: the width block in `model.yaml`, closed with a guard, opened on rebuilding.

`pruning.network.width_block` describes the block. Whoever builds from a YAML inside the fork (--weights, --cfg,
--resume, DDP ranks, the hub, TensorFlow export) passes through `parse_model`, whose hooks call `open_structure` and
`fit_layers`.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from copy import deepcopy
from pathlib import Path
from typing import Any

import torch
from pruning.errors import PruneError
from pruning.family.contract import Network
from pruning.network.surgery import own_rules, sync_halves
from pruning.network.width_block import BLOCK, GUARD_TEXT, close_block, fit, open_block, owner_of, plain_yaml
from torch import nn
from ultralytics.utils import LOGGER

ROOT = Path(__file__).resolve().parents[1]  # the fork's folder
# A stock YOLOv5 evaluates the first row's module name as Python: this expression is a KeyError that shows the text.
GUARD = '{}["' + GUARD_TEXT.format(how="copy the file there") + '"]'


def close_structure(model: Network) -> dict[str, Any]:
    """The `yaml` that a pruned model must carry: upstream's rows, its real anchors, the width block, and the guard.

    Args:
        model: a DetectionModel or SegmentationModel of stock classes. It is not changed.

    Returns:
        A new dict for `model.yaml`; it has been tried: a network built from it takes the model's weights strictly.

    Raises:
        PruneError: the network cannot be rebuilt from a width block, and where.
    """
    plain = {**plain_yaml(model.yaml, GUARD), "anchors": real_anchors(model)}
    owner, fresh = owner_of(model.model), _build(plain)
    return close_block(plain, GUARD, owner, fresh, output_layers(model), sync=sync_attributes)


def open_structure(d: dict[str, Any]) -> dict[str, Any]:
    """Take the guard off, as `pruning.network.width_block.open_block` does."""
    return open_block(d, GUARD)


def fit_layers(layers: Iterable[nn.Module], d: dict[str, Any]) -> int:
    """Give freshly parsed `layers` (in `parse_model`'s order) the structure of the block in `d`, in place.

    Returns:
        The number of layers that changed width; 0 without a block.
    """
    if BLOCK not in d:
        return 0
    owner: Network = owner_of(nn.Sequential(*layers))
    changed = fit(owner, d[BLOCK], sync_attributes)
    for layer in owner.model:
        layer.np = sum(p.numel() for p in layer.parameters())
    return changed


def sync_attributes(owner: Network) -> None:
    """Bring half widths that blocks with a rule of the user's own note beside their layers in line."""
    sync_halves(owner, own_rules(ROOT))


def output_layers(model: Network) -> dict[str, str]:
    """The layers whose output width the task sets, not the architecture: {name: reason}.

    Raises:
        PruneError: the network does not end in a detection or segmentation head.
    """
    from models.yolo import Detect

    head, prefix = model.model[-1], f"model.{len(model.model) - 1}"
    if not isinstance(head, Detect):
        raise PruneError(f"a network that ends in {type(head).__name__} cannot be pruned: expected Detect or Segment")
    found = {f"{prefix}.m.{i}": "output: classes, anchors and masks fix the width" for i in range(head.nl)}
    if hasattr(head, "proto"):
        found[f"{prefix}.proto.cv3.conv"] = "output: mask prototypes fix the width"
    return found


def real_anchors(model: Network) -> list[list[float]]:
    """The anchors in pixels, (levels, 2 * anchors), as AutoAnchor left them; upstream's YAML keeps the old ones."""
    head = model.model[-1]
    pixels = head.anchors.float() * head.stride.float().to(head.anchors.device).view(-1, 1, 1)  # (levels, anchors, 2)
    return [[int(x) if x == int(x) else x for x in level] for level in pixels.flatten(1).tolist()]


def _build(plain: dict[str, Any]) -> Network:
    """A fresh dense network from upstream's rows, without touching the random state or the default activation."""
    from models.common import Conv
    from models.yolo import parse_model
    from utils.torch_utils import initialize_weights

    default = Conv.default_act  # `activation:` in a YAML sets it for all networks after
    with torch.random.fork_rng(devices=[]), _quiet():
        try:
            Conv.default_act = nn.SiLU()
            owner = owner_of(parse_model(deepcopy(plain), ch=[plain.get("ch", 3)])[0])
        finally:
            Conv.default_act = default
    initialize_weights(owner)
    return owner


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the table that `parse_model` prints."""
    level = LOGGER.level
    LOGGER.setLevel(logging.WARNING)
    try:
        yield
    finally:
        LOGGER.setLevel(level)
