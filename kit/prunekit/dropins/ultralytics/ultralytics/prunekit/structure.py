# SPDX-License-Identifier: AGPL-3.0-or-later
"""The pruned architecture as data: the width block in `model.yaml`, closed with a guard, opened on rebuilding.

The block and its guard are described in prunekit's docs/series.md. Whoever rebuilds from `model.yaml` inside the fork
(train, resume, DDP children, the tuner, YOLO("pruned.yaml")) passes through `parse_model`, whose two hooks call
`open_structure` and `fit_layers`. A stock upstream stops at the guard instead of building the dense network.
"""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterable
from copy import deepcopy
from typing import Any

import torch
from torch import nn
from ultralytics.nn.modules import Classify, Detect
from ultralytics.nn.tasks import DetectionModel, parse_model
from ultralytics.pruning.errors import PruneError
from ultralytics.pruning.widths import apply_widths, read_widths
from ultralytics.utils.torch_utils import initialize_weights

from .differences import differing_acts, differing_norms, fit_norms

BLOCK = "prunekit"
VERSION = 1
# Stands where the first row's module name was. Upstream resolves names with "nn." or "torchvision.ops." in them
# differently, so neither may occur here: any other unknown name is a KeyError that shows it.
GUARD = (
    "pruned by prunekit: only a prunekit fork can build this network (elsewhere it can be loaded, validated, used and "
    "exported, but not trained or resumed). Get a fork with 'prunekit setup', install it with 'pip install -e .' in "
    "the fork's folder, and run the same command again"
)
_KEYS = frozenset({"version", "stem", "scale", "widths", "act", "bn"})

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


def close_structure(model: nn.Module) -> dict[str, Any]:
    """The `yaml` that a pruned model must carry: upstream's rows, the width block, and the guard.

    Args:
        model: an ultralytics task model of stock classes (split blocks merged). It is not changed.

    Returns:
        A new dict for `model.yaml`; it has been tried: a network built from it takes the model's weights strictly.

    Raises:
        PruneError: the network cannot be rebuilt from a width block, and where.
    """
    plain, owner = plain_structure(model.yaml), _owner(model.model)
    fresh = _build(plain, isinstance(model, DetectionModel))
    block: dict[str, Any] = {"version": VERSION, "stem": plain["backbone"][0][2]}
    if plain.get("scales"):
        plain["scale"] = block["scale"] = plain.get("scale") or next(iter(plain["scales"]))
    outputs = output_layers(model)
    block["widths"] = read_widths(owner, outputs, _stem(owner))
    differences = {"act": differing_acts(fresh, owner), "bn": differing_norms(fresh, owner)}
    block.update({key: value for key, value in differences.items() if value})
    _check_same_names(fresh, owner)
    _fit(fresh, block)
    _check_same_shapes(fresh, owner, outputs)
    plain["backbone"][0][2] = GUARD
    return {**plain, BLOCK: block}


def plain_structure(d: dict[str, Any]) -> dict[str, Any]:
    """A copy of a `model.yaml` without block and guard: the dense network's."""
    plain = deepcopy(open_structure(d))
    plain.pop(BLOCK, None)
    return plain


def open_structure(d: dict[str, Any]) -> dict[str, Any]:
    """Take the guard off: a copy of `d` that `parse_model` can read, the block still in it; `d` itself without one.

    Raises:
        PruneError: a damaged block (unknown key, newer version, or a guard without its block).
    """
    if BLOCK not in d:
        if d["backbone"][0][2] == GUARD:
            raise PruneError(f"this model's YAML has prunekit's guard but no '{BLOCK}:' block: its widths are lost")
        return d
    block = _checked(d[BLOCK])
    (f, n, _, args), *rest = d["backbone"]
    opened = {**d, "backbone": [[f, n, block["stem"], args], *rest]}
    if "scale" in block:  # a file's name gives another scale, or none
        opened["scale"] = block["scale"]
    return opened


def fit_layers(layers: Iterable[nn.Module], d: dict[str, Any]) -> int:
    """Give freshly parsed `layers` (in `parse_model`'s order) the structure of the block in `d`, in place.

    Returns:
        The number of layers that changed width; 0 without a block.
    """
    if BLOCK not in d:
        return 0
    owner = _owner(nn.Sequential(*layers))
    changed = _fit(owner, d[BLOCK])
    for layer in owner.model:
        layer.np = sum(p.numel() for p in layer.parameters())
    return changed


def rebuild(model: nn.Module) -> nn.Module:
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


def output_layers(model: nn.Module) -> dict[str, str]:
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


def sync_attributes(model: nn.Module) -> int:
    """Bring `.c` (half width, in channels) of C2f, C2, C2PSA and their kin in line with the layers; count changes.

    Only `forward_split` and `split((c, c))` read it; it is stale after every change of width.
    """
    changed = 0
    for module in model.modules():
        if isinstance(getattr(module, "c", None), int) and hasattr(getattr(module, "cv1", None), "conv"):
            half = module.cv1.conv.out_channels // 2
            changed += module.c != half
            module.c = half
    return changed


def _owner(layers: nn.Module) -> nn.Module:
    """A module that holds `layers` as `.model`, so that names read as in a task model's state dict."""
    owner = nn.Module()
    owner.model = layers
    return owner


def _channels(d: dict[str, Any]) -> int:
    return d.get("channels") or d.get("ch") or 3


def _build(plain: dict[str, Any], initialize: bool) -> nn.Module:
    """A fresh dense network from upstream's rows, without touching the random state."""
    with torch.random.fork_rng(devices=[]):
        owner = _owner(parse_model(deepcopy(plain), ch=_channels(plain), verbose=False)[0])
    if initialize:
        initialize_weights(owner)
    return owner


def _fit(owner: nn.Module, block: dict[str, Any]) -> int:
    changed = apply_widths(owner, block["widths"])
    for name, act in block.get("act", {}).items():
        owner.get_submodule(name).act = getattr(nn, act)()
    fit_norms(owner, block)
    sync_attributes(owner)
    return changed


def _stem(owner: nn.Module) -> str:
    return next(name for name, module in owner.named_modules() if isinstance(module, nn.Conv2d))


def _check_same_names(built: nn.Module, owner: nn.Module) -> None:
    have, want = built.state_dict().keys(), owner.state_dict().keys()
    if odd := [key for key in want if key not in have] or [key for key in have if key not in want]:
        raise PruneError(
            f"structure: upstream's YAML does not build this network, '{odd[0]}' is in one of the two only. Merge "
            "split blocks first; a network that was changed by hand cannot be closed"
        )


def _check_same_shapes(built: nn.Module, owner: nn.Module, outputs: Collection[str]) -> None:
    """Every tensor of the two has the same shape, outside the output layers (whose task may just be changing)."""
    have, want = ({k: tuple(v.shape) for k, v in m.state_dict().items()} for m in (built, owner))
    closed = [key for key in want if not key.startswith(tuple(outputs))]
    if wrong := [key for key in closed if have[key] != want[key]]:
        raise PruneError(
            f"structure: {len(wrong)} tensors cannot be rebuilt from this model's YAML, first '{wrong[0]}': the model "
            f"has {want[wrong[0]]}, a rebuild {have[wrong[0]]}. prunekit does not know this architecture"
        )


def _checked(block: Any) -> dict[str, Any]:
    """Validate a block that may have been edited."""
    if not isinstance(block, dict) or not {"version", "stem", "widths"} <= block.keys():
        raise PruneError(f"'{BLOCK}:' block of this model's YAML needs the keys version, stem and widths")
    for key in block.keys() - _KEYS:
        near = difflib.get_close_matches(str(key), _KEYS, 1)
        raise PruneError(f"'{BLOCK}:' block: unknown key '{key}'" + (f" (did you mean '{near[0]}'?)" if near else ""))
    if block["version"] != VERSION:
        raise PruneError(
            f"'{BLOCK}:' block has version {block['version']}, this fork reads version {VERSION}: set up a newer fork"
        )
    return block
