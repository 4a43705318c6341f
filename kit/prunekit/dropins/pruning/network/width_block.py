# SPDX-License-Identifier: AGPL-3.0-or-later
"""The width block in a `model.yaml`, as far as it is the same for every upstream: made, tried, opened, applied.

A pruned network's YAML is upstream's rows, the block, and a guard in the place of the first row's module name. A fork
takes the guard off before it parses the rows and applies the block after; elsewhere building stops at the guard.
"""

from __future__ import annotations

import difflib
import json
import math
from collections.abc import Callable, Collection, Mapping
from copy import deepcopy
from typing import Any

import yaml
from torch import nn

from ..errors import PruneError
from .differences import differing_acts, differing_norms, fit_norms, make_act
from .widths import apply_widths, read_widths

BLOCK = "prunekit"
VERSION = 1
# What a stock upstream shows when it tries to build a pruned network. Adapters wrap it in what their upstream looks up.
GUARD_TEXT = (
    "pruned by prunekit: only a prunekit fork can build this network (elsewhere it can be loaded, validated, used and "
    "exported, but not trained or resumed). Get a fork with 'prunekit setup', {how}, and run the same command again"
)
_KEYS = frozenset({"version", "stem", "scale", "widths", "act", "act_args", "bn"})


def close_block(
    plain: Mapping[str, Any],
    guard: str,
    owner: nn.Module,
    fresh: nn.Module,
    outputs: Collection[str],
    *,
    sync: Callable[[nn.Module], Any] | None = None,
    **extra: Any,
) -> dict[str, Any]:
    """The YAML of a pruned network: `plain` with block and guard. The block has been tried on `fresh`.

    Args:
        plain: the dense network's YAML.
        guard: what stands in the first row instead of its module's name.
        owner: the pruned network, under names as in its state dict; it is not changed.
        fresh: what `plain` builds, under the same names; it is resized.
        outputs: layers whose output width the task sets.
        sync: brings plain attributes of `fresh` in line with its layers.
        extra: further keys of the block.

    Raises:
        PruneError: the network cannot be rebuilt from a width block, and where.
    """
    closed = deepcopy(dict(plain))
    block: dict[str, Any] = {"version": VERSION, "stem": closed["backbone"][0][2], **extra}
    block["widths"] = read_widths(owner, outputs, stem_of(owner))
    # First the widths: an activation with layers of its own (FReLU) reads as another one until they agree.
    there = {name for name, _ in fresh.named_modules()}
    apply_widths(fresh, {name: width for name, width in block["widths"].items() if name in there})
    acts, arguments = differing_acts(fresh, owner)
    differences = {"act": acts, "act_args": arguments, "bn": differing_norms(fresh, owner)}
    block.update({key: value for key, value in differences.items() if value})
    _check_same_names(fresh, owner)
    fit(fresh, block, sync)
    _check_same_shapes(fresh, owner, outputs)
    closed["backbone"][0][2] = guard
    return {**closed, BLOCK: block}


def open_block(d: dict[str, Any], guard: str) -> dict[str, Any]:
    """Take the guard off: a copy of `d` that upstream can parse, the block still in it; `d` itself without one.

    Raises:
        PruneError: a damaged block (unknown key, newer version, or a guard without its block).
    """
    first: Any = d["backbone"][0] if d.get("backbone") else ()
    whole = isinstance(first, (list, tuple)) and len(first) == 4  # else upstream, or the check of rows, says what it is
    if BLOCK not in d or not whole:
        if whole and first[2] == guard:
            raise PruneError(f"this model's YAML has prunekit's guard but no '{BLOCK}:' block: its widths are lost")
        return d
    block = _checked(d[BLOCK])
    f, n, _, args = first
    opened = {**d, "backbone": [[f, n, block["stem"], args], *d["backbone"][1:]]}
    if "scale" in block:  # a file's name gives another scale, or none
        opened["scale"] = block["scale"]
    return opened


def plain_yaml(d: dict[str, Any], guard: str) -> dict[str, Any]:
    """A copy of a `model.yaml` without block and guard: the dense network's."""
    plain = deepcopy(open_block(d, guard))
    plain.pop(BLOCK, None)
    return plain


def fit(owner: nn.Module, block: Mapping[str, Any], sync: Callable[[nn.Module], Any] | None = None) -> int:
    """Give a freshly built network the structure of a block, in place; the number of layers that changed width."""
    changed = apply_widths(owner, block["widths"])
    for name, act in block.get("act", {}).items():
        owner.get_submodule(name).act = make_act(act, block.get("act_args", {}).get(name, {}))
    fit_norms(owner, block)
    if sync is not None:
        sync(owner)
    return changed


def owner_of(layers: nn.Module) -> nn.Module:
    """A module that holds `layers` as `.model`, so that names read as in a task model's state dict."""
    owner = nn.Module()
    owner.model = layers
    return owner


def stem_of(owner: nn.Module) -> str:
    """The first convolution: its input is the image."""
    return next(name for name, module in owner.named_modules() if isinstance(module, nn.Conv2d))


def yaml_text(structure: Mapping[str, Any]) -> str:
    """The structure as people write such files: a line a layer, in `backbone` and `head` and in the width block."""
    lines = []
    for key, value in structure.items():
        if key in ("backbone", "head"):
            lines += [f"{key}:", *(f"  - {_flow(row)}" for row in value)]
        elif isinstance(value, dict):
            lines += [f"{key}:", *(line for name, item in value.items() for line in _nested(name, item))]
        else:
            lines.append(f"{key}: {_flow(value)}")
    return "\n".join(lines) + "\n"


def _nested(name: Any, item: Any) -> list[str]:
    """A key below the top: its mapping a line a key, anything else on one line."""
    if not isinstance(item, dict):
        return [f"  {_flow(name)}: {_flow(item)}"]
    return [f"  {name}:", *(f"    {_flow(key)}: {_flow(value)}" for key, value in item.items())]


def _flow(value: Any) -> str:
    """One line of YAML; tuples as lists."""
    value = json.loads(json.dumps(value)) if isinstance(value, (list, tuple, dict)) else value
    return yaml.safe_dump(value, default_flow_style=True, width=math.inf).removesuffix("\n").removesuffix("\n...")


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
