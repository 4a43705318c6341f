# SPDX-License-Identifier: AGPL-3.0-or-later
"""What a network has otherwise than a fresh build of its YAML: activations, and the settings of its norms.

Older checkpoints differ: SPPF's first convolution had an activation before 8.4.0; converted networks bring their own
eps and momentum. Rebuilt without it, such a network computes something else, with the same weights.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Mapping
from typing import Any

from torch import nn

from ..errors import PruneError


def differing_acts(fresh: nn.Module, owner: nn.Module) -> tuple[dict[str, str], dict[str, dict[str, Any]]]:
    """Where a fresh build would have another activation: {block name: its class in torch.nn}, {block name: arguments}.

    Raises:
        PruneError: an activation that cannot be made again from a class of torch.nn and plain arguments.
    """
    built, kinds, arguments = _act_modules(fresh), {}, {}
    for name, act in _act_modules(owner).items():
        if name not in built or _plain_repr(act) == _plain_repr(built[name]):
            continue
        kind, given = type(act).__name__, _arguments(act)
        if type(act) is not getattr(nn, kind, None) or _plain_repr(make_act(kind, given)) != _plain_repr(act):
            said = " ".join(_plain_repr(act).split())
            raise PruneError(
                f"structure: {name} has the activation {said}, which a rebuild from upstream's YAML would "
                "not have. Name one of torch.nn in the YAML (activation: torch.nn.LeakyReLU(0.1)), or give the blocks "
                "such a one, train that network, and prune it"
            )
        kinds[name] = kind
        arguments.update({name: given} if given else {})
    return kinds, arguments


def make_act(kind: str, given: Mapping[str, Any]) -> nn.Module:
    """An activation of torch.nn, by the name of its class."""
    made: nn.Module = getattr(nn, kind)(**given)
    return made


def _arguments(act: nn.Module) -> dict[str, Any]:
    """The plain arguments of an activation that are not its class's defaults; torch keeps each under its own name."""
    known = inspect.signature(type(act).__init__).parameters.values()
    held = {p.name: (getattr(act, p.name, p.default), p.default) for p in known if p.name not in ("self", "inplace")}
    return {
        name: value
        for name, (value, default) in held.items()
        if isinstance(value, (bool, int, float, str)) and value != default
    }


def _act_modules(owner: nn.Module) -> dict[str, nn.Module]:
    # Not by named_modules on the activations: upstream shares one instance among all blocks.
    return {name: m.act for name, m in owner.named_modules() if isinstance(getattr(m, "act", None), nn.Module)}


def _plain_repr(act: nn.Module) -> str:
    return re.sub(r"(, )?inplace=(True|False)", "", repr(act))


def _batch_norms(owner: nn.Module) -> list[tuple[str, nn.Module]]:
    return [(name, m) for name, m in owner.named_modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]


def differing_norms(fresh: nn.Module, owner: nn.Module) -> dict[str, Any]:
    """eps and momentum where a fresh build would differ: one pair for all norms, or [eps, momentum] by name."""
    found = {name: [norm.eps, norm.momentum] for name, norm in _batch_norms(owner)}
    if all([norm.eps, norm.momentum] == found.get(name) for name, norm in _batch_norms(fresh)):
        return {}
    eps, momentum = next(iter(found.values()))
    return {"eps": eps, "momentum": momentum} if all(pair == [eps, momentum] for pair in found.values()) else found


def fit_norms(model: nn.Module, block: Mapping[str, Any]) -> None:
    """Set eps and momentum of the norms as the block says (again: upstream resets them after parsing)."""
    bn = block.get("bn", {})
    for name, norm in _batch_norms(model):
        if "eps" in bn or name in bn:
            norm.eps, norm.momentum = (bn["eps"], bn["momentum"]) if "eps" in bn else bn[name]
