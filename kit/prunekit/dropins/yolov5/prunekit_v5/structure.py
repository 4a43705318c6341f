# SPDX-License-Identifier: AGPL-3.0-or-later
"""The pruned architecture as data: the width block in `model.yaml`, closed with a guard, opened on rebuilding.

`pruning.network.width_block` describes the block. Whoever builds from a YAML inside the fork (--weights, --cfg,
--resume, DDP ranks, the hub, TensorFlow export) passes through `parse_model`, whose hooks call `open_structure` and
`fit_layers`.
"""

from __future__ import annotations

from collections.abc import Iterable
from copy import deepcopy
from pathlib import Path
from typing import Any

from pruning.errors import PruneError
from pruning.family import defaults, yaml_structure
from pruning.family.contract import Network
from pruning.network.stacks import with_numbers
from pruning.network.surgery import own_rules, sync_halves
from pruning.network.width_block import open_block
from torch import nn
from ultralytics.utils import LOGGER

ROOT = Path(__file__).resolve().parents[1]  # the fork's folder
GUARD = yaml_structure.GUARD_EVALUATED
# Blocks whose number of bottlenecks is the number of their row, and the convolution that reads what they give.
READERS = {"C3": "cv3.conv"}


def close_structure(model: Network) -> dict[str, Any]:
    """See `pruning.family.yaml_structure.close_structure`; of a DetectionModel or SegmentationModel.

    The rows build the bottlenecks that the network has: some may have been removed.
    """
    counts = {at: len(layer.m) for at, layer in enumerate(model.model) if type(layer).__name__ in READERS}

    def rows(plain: dict[str, Any]) -> dict[str, Any]:
        return with_numbers(plain, counts, plain["depth_multiple"])

    return yaml_structure.close_structure(model, GUARD, _build, output_layers, sync_attributes, rows)


def open_structure(d: dict[str, Any]) -> dict[str, Any]:
    """Take the guard off, as `pruning.network.width_block.open_block` does."""
    return open_block(d, GUARD)


def fit_layers(layers: Iterable[nn.Module], d: dict[str, Any]) -> int:
    """See `pruning.family.yaml_structure.fit_layers`."""
    return yaml_structure.fit_layers(layers, d, sync_attributes)


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


def _build(plain: dict[str, Any]) -> Network:
    """A fresh dense network from upstream's rows, without touching the random state or the default activation."""
    from models.common import Conv
    from models.yolo import parse_model
    from utils.torch_utils import initialize_weights

    default = Conv.default_act  # `activation:` in a YAML sets it for all networks after
    with defaults.quiet(LOGGER):
        try:
            Conv.default_act = nn.SiLU()
            owner = yaml_structure.built(lambda: parse_model(deepcopy(plain), ch=[plain.get("ch", 3)])[0])
        finally:
            Conv.default_act = default
    initialize_weights(owner)
    return owner
