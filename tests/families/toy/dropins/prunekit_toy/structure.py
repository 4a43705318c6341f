# SPDX-License-Identifier: AGPL-3.0-or-later
"""The pruned architecture of toydet as data."""

from __future__ import annotations

from collections.abc import Iterable
from copy import deepcopy
from typing import Any

from net.model import Detect, parse_model
from pruning.errors import PruneError
from pruning.family import yaml_structure
from pruning.family.contract import Network
from pruning.network.width_block import open_block
from torch import nn

GUARD = yaml_structure.GUARD_EVALUATED


def close_structure(model: Network) -> dict[str, Any]:
    """See `pruning.family.yaml_structure.close_structure`."""
    return yaml_structure.close_structure(model, GUARD, _build, output_layers, lambda _: None)


def open_structure(d: dict[str, Any]) -> dict[str, Any]:
    """See `pruning.network.width_block.open_block`."""
    return open_block(d, GUARD)


def fit_layers(layers: Iterable[nn.Module], d: dict[str, Any]) -> int:
    """See `pruning.family.yaml_structure.fit_layers`."""
    return yaml_structure.fit_layers(layers, d, lambda _: None)


def output_layers(model: Network) -> dict[str, str]:
    """The layers whose output width the task sets: {name: reason}."""
    if not isinstance(model.model[-1], Detect):
        raise PruneError(f"a network that ends in {type(model.model[-1]).__name__} cannot be pruned: expected Detect")
    return {f"model.{len(model.model) - 1}.m": "output: box and classes fix the width"}


def _build(plain: dict[str, Any]) -> Network:
    """A fresh dense network from upstream's rows."""
    return yaml_structure.built(lambda: parse_model(deepcopy(plain), 3))
