# SPDX-License-Identifier: AGPL-3.0-or-later
"""The pruned architecture as data: the width block in `model.yaml`, closed with a guard, opened on rebuilding.

The block and its guard are described in prunekit's docs/series.md. Whoever rebuilds from `model.yaml` inside the fork
(train, resume, DDP children, the tuner, YOLO("pruned.yaml")) passes through `parse_model`, whose two hooks call
`open_structure` and `fit_layers`. A stock upstream stops at the guard instead of building the dense network.
"""

from __future__ import annotations

from collections.abc import Iterable
from copy import deepcopy
from pathlib import Path
from typing import Any

import torch
from torch import nn
from ultralytics.nn.modules import Classify, Detect
from ultralytics.nn.tasks import DetectionModel, parse_model
from ultralytics.pruning.errors import PruneError
from ultralytics.pruning.family import yaml_structure
from ultralytics.pruning.family.contract import Network
from ultralytics.pruning.network.stacks import with_numbers
from ultralytics.pruning.network.surgery import own_rules, sync_halves
from ultralytics.pruning.network.width_block import (
    GUARD_TEXT,
    close_block,
    open_block,
    owner_of,
    plain_yaml,
)
from ultralytics.utils.torch_utils import initialize_weights

from .blocks import RULES, stacks

ROOT = Path(__file__).resolve().parents[2]  # the fork's folder

# Upstream resolves names with "nn." or "torchvision.ops." in them differently, so neither may occur here: any other
# unknown name is a KeyError that shows it.
GUARD = GUARD_TEXT.format(how="install it with 'pip install -e .' in the fork's folder")

# Branches of a head whose last plain convolution has a width set by the task, and what sets it.
_BRANCHES = {
    "cv2": "box output (reg_max)",
    "cv3": "class output (nc)",
    "cv4": "mask, angle or keypoint output",
    "cv4_kpts": "keypoint output (kpt_shape)",
    "cv4_sigma": "keypoint output (kpt_shape)",
}
_OUTPUTS = {
    "dfl.conv": "box integral (reg_max)",
    "proto.cv3.conv": "mask output (nm)",
    "proto.semseg.2": "class output (nc)",
}


def close_structure(model: Network) -> dict[str, Any]:
    """The `yaml` that a pruned model must carry: upstream's rows, the width block, and the guard.

    Args:
        model: an ultralytics task model of stock classes (split blocks merged). It is not changed.

    Returns:
        A new dict for `model.yaml`; it has been tried: a network built from it takes the model's weights strictly.

    Raises:
        PruneError: the network cannot be rebuilt from a width block, and where.
    """
    plain, owner, extra = _deep(plain_structure(model.yaml), model.model), owner_of(model.model), {}
    fresh = _build(plain, isinstance(model, DetectionModel))
    if plain.get("scales"):
        plain["scale"] = extra["scale"] = plain.get("scale") or next(iter(plain["scales"]))
    return close_block(plain, GUARD, owner, fresh, output_layers(model), sync=sync_attributes, **extra)


def _deep(plain: dict[str, Any], layers: Network) -> dict[str, Any]:
    """Rows that build the bottlenecks that these layers have: some may have been removed."""
    depth, scales = plain.get("depth_multiple", 1.0), plain.get("scales")
    if scales:
        depth = scales[plain.get("scale") or next(iter(scales))][0]
    return with_numbers(plain, {int(name): len(layers[int(name)].m) for name in stacks(layers, "")}, depth)


def plain_structure(d: dict[str, Any]) -> dict[str, Any]:
    """A copy of a `model.yaml` without block and guard: the dense network's."""
    return plain_yaml(d, GUARD)


def open_structure(d: dict[str, Any]) -> dict[str, Any]:
    """Take the guard off, as `pruning.network.width_block.open_block` does."""
    return open_block(d, GUARD)


def fit_layers(layers: Iterable[nn.Module], d: dict[str, Any]) -> int:
    """See `pruning.family.yaml_structure.fit_layers`."""
    return yaml_structure.fit_layers(layers, d, sync_attributes)


def rebuild(model: Network) -> Network:
    """A new network from `model.yaml` with the model's weights, loaded strictly: the proof of a structure.

    Raises:
        RuntimeError: torch's own, if a weight does not fit.
    """
    d = deepcopy(model.yaml)
    with torch.random.fork_rng(devices=[]):
        new = type(model)(d, ch=_channels(d), nc=d["nc"], verbose=False)
    new.load_state_dict(model.float().state_dict(), strict=True)
    for key in ("names", "args", "task", "stride"):
        if hasattr(model, key):
            setattr(new, key, deepcopy(getattr(model, key)))
    return new.train(model.training)


def output_layers(model: Network) -> dict[str, str]:
    """The layers whose output width the task sets, not the architecture: {name: reason}.

    Raises:
        PruneError: the head is of a kind that prunekit does not know.
    """
    head, prefix = model.model[-1], f"model.{len(model.model) - 1}"
    if isinstance(head, Classify):
        return {f"{prefix}.linear": "class output (nc)"}
    if not isinstance(head, Detect):
        raise PruneError(f"a network that ends in {type(head).__name__} cannot be pruned: expected Detect or Classify")
    found = {}
    for branch, reason in _BRANCHES.items():
        for name in (branch, f"one2one_{branch}"):
            for i, path in enumerate(getattr(head, name, None) or ()):
                last = path[-1] if isinstance(path, nn.Sequential) else path
                inner = f".{len(path) - 1}" if isinstance(path, nn.Sequential) else ""
                if isinstance(last, nn.Conv2d):
                    found[f"{prefix}.{name}.{i}{inner}"] = reason
    inside = dict(head.named_modules())
    return {**found, **{f"{prefix}.{name}": reason for name, reason in _OUTPUTS.items() if name in inside}}


def sync_attributes(model: Network) -> int:
    """Bring `.c` (half width, in channels) of C2f, C2, C2PSA and their kin in line with the layers; count changes.

    Only `forward_split` and `split((c, c))` read it; it is stale after every change of width.
    """
    return sync_halves(model, (*RULES, *own_rules(ROOT)))


def _channels(d: dict[str, Any]) -> int:
    return d.get("channels") or d.get("ch") or 3


def _build(plain: dict[str, Any], initialize: bool) -> Network:
    """A fresh dense network from upstream's rows, without touching the random state."""
    owner = yaml_structure.built(lambda: parse_model(deepcopy(plain), ch=_channels(plain), verbose=False)[0])
    if initialize:
        initialize_weights(owner)
    return owner
