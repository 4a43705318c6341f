# SPDX-License-Identifier: AGPL-3.0-or-later
"""What a network has otherwise than a fresh build of its YAML: activations, and the settings of its norms.

Older checkpoints differ: SPPF's first convolution had an activation before 8.4.0; converted networks bring their own
eps and momentum. Rebuilt without it, such a network computes something else, with the same weights.
"""

from __future__ import annotations

from typing import Any

from torch import nn

from .errors import PruneError


def differing_acts(fresh: nn.Module, owner: nn.Module) -> dict[str, str]:
    """{block name: activation class} where a fresh build would have another one."""
    built, found = _act_modules(fresh), {}
    for name, act in _act_modules(owner).items():
        if name not in built or _plain_repr(act) == _plain_repr(built[name]):
            continue
        kind = type(act).__name__
        if not hasattr(nn, kind) or _plain_repr(getattr(nn, kind)()) != _plain_repr(act):
            raise PruneError(f"structure: {name} has the activation {act}, which upstream's YAML cannot rebuild")
        found[name] = kind
    return found


def _act_modules(owner: nn.Module) -> dict[str, nn.Module]:
    # Not by named_modules on the activations: upstream shares one instance among all blocks.
    return {name: m.act for name, m in owner.named_modules() if isinstance(getattr(m, "act", None), nn.Module)}


def _plain_repr(act: nn.Module) -> str:
    return repr(act).replace("inplace=True", "")


def _batch_norms(owner: nn.Module) -> list[tuple[str, nn.Module]]:
    return [(name, m) for name, m in owner.named_modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]


def differing_norms(fresh: nn.Module, owner: nn.Module) -> dict[str, Any]:
    """eps and momentum where a fresh build would differ: one pair for all norms, or [eps, momentum] by name."""
    found = {name: [norm.eps, norm.momentum] for name, norm in _batch_norms(owner)}
    if all([norm.eps, norm.momentum] == found.get(name) for name, norm in _batch_norms(fresh)):
        return {}
    eps, momentum = next(iter(found.values()))
    return {"eps": eps, "momentum": momentum} if all(pair == [eps, momentum] for pair in found.values()) else found


def fit_norms(model: nn.Module, block: dict[str, Any]) -> None:
    """Set eps and momentum of the norms as the block says (again: upstream resets them after parsing)."""
    bn = block.get("bn", {})
    for name, norm in _batch_norms(model):
        if "eps" in bn or name in bn:
            norm.eps, norm.momentum = (bn["eps"], bn["momentum"]) if "eps" in bn else bn[name]
