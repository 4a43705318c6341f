# SPDX-License-Identifier: AGPL-3.0-or-later
"""The pruned architecture as data, in the two forms that `parse_model` builds through this module.

* The width block: upstream's rows, the widths of every layer beside them, a guard in the first row.
  `pruning.network.width_block` describes it; checkpoints carry it in `model.yaml`.
* Exact rows, which a person can read and edit: module names begin with `prunekit.`, each row's own width is taken as it
  stands (upstream rounds up to multiples of 8), and the last argument of a block with inner layers is their widths:

      [-1, 1, prunekit.Conv, [19, 3, 1]]
      [-1, 1, prunekit.SPPCSPC, [130, {cv1: 97, cv2: 80, cv3: 99, cv4: 101, cv5: 77, cv6: 98}]]
      [-1, 1, prunekit.DownC, [70, {cv1: 33, cv2: 37, cv3: 33}]]  # 70 = cv2 + cv3
      [-1, 1, prunekit.RepConv, [64, 3, 1, {identity: false}]]  # no identity branch, although 64 go in and 64 come out

A stock YOLOv7 evaluates a row's module name as Python. The guard is a KeyError there, `prunekit.` a NameError: a pruned
network is never trained in its dense shape in silence.
"""

from __future__ import annotations

from collections.abc import Iterable
from copy import deepcopy
from pathlib import Path
from typing import Any

import torch
from pruning.errors import PruneError
from pruning.family.contract import Network
from pruning.network.surgery import own_rules, sync_halves
from pruning.network.width_block import BLOCK, GUARD_TEXT, close_block, fit, open_block, owner_of, plain_yaml
from torch import nn

ROOT = Path(__file__).resolve().parents[1]  # the fork's folder
GUARD = '{}["' + GUARD_TEXT.format(how="copy the file there") + '"]'
PREFIX = "prunekit."
EXACT = "exact_widths"
HEADS = ("Detect", "IDetect", "IAuxDetect")


def close_structure(model: Network) -> dict[str, Any]:
    """The `yaml` that a pruned model must carry: its rows, its real anchors, the width block, and the guard.

    Args:
        model: a `models.yolo.Model` of stock classes. It is not changed.

    Returns:
        A new dict for `model.yaml`; it has been tried: a network built from it takes the model's weights strictly.

    Raises:
        PruneError: the network cannot be rebuilt from a width block, and where.
    """
    plain = {**plain_yaml(model.yaml, GUARD), "anchors": real_anchors(model)}
    return close_block(plain, GUARD, owner_of(model.model), _build(plain), output_layers(model), sync=sync_attributes)


def open_structure(d: dict[str, Any]) -> dict[str, Any]:
    """What `parse_model` can parse: guard and `prunekit.` taken off; `d` itself where there is neither.

    Raises:
        PruneError: a damaged block (unknown key, newer version, or a guard without its block).
    """
    return _open_rows(open_block(d, GUARD))


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
    """Bring the widths that YOLOv7's modules note beside their layers in line: fusing a RepConv reads them."""
    from models.common import ImplicitA, ImplicitM, RepConv

    sync_halves(owner, own_rules(ROOT))
    for module in owner.modules():
        if isinstance(module, RepConv) and isinstance(module.rbr_dense, nn.Sequential):
            module.in_channels = module.rbr_dense[0].in_channels
            module.out_channels = module.rbr_dense[0].out_channels
            module.groups = module.rbr_dense[0].groups
            module.__dict__.pop("id_tensor", None)  # of the width before
        elif isinstance(module, (ImplicitA, ImplicitM)):
            module.channel = module.implicit.shape[1]


def output_layers(model: Network) -> dict[str, str]:
    """The layers whose width the task sets, not the architecture: {name: reason}. ImplicitM's are bare parameters.

    Raises:
        PruneError: the network does not end in one of the heads that train.py and train_aux.py train.
    """
    head, prefix = model.model[-1], f"model.{len(model.model) - 1}"
    kind = type(head).__name__
    if kind not in HEADS:
        raise PruneError(f"a network that ends in {kind} cannot be pruned: expected {', '.join(HEADS)}")
    found = {f"{prefix}.m.{i}": "output: classes and anchors fix the width" for i in range(head.nl)}
    if kind == "IAuxDetect":
        found.update({f"{prefix}.m2.{i}": "output: classes and anchors fix the width" for i in range(head.nl)})
    if hasattr(head, "im"):
        found.update({f"{prefix}.im.{i}.implicit": "output: multiplies the outputs" for i in range(head.nl)})
    return found


def real_anchors(model: Network) -> list[list[float]]:
    """The anchors in pixels, (levels, 2 * anchors), as autoanchor left them; upstream's YAML keeps the old ones."""
    head = model.model[-1]
    pixels = head.anchors.float() * head.stride.float().to(head.anchors.device).view(-1, 1, 1)  # (levels, anchors, 2)
    return [[int(x) if x == int(x) else x for x in level] for level in pixels.flatten(1).tolist()]


def row_widths(args: list[Any]) -> dict[str, Any]:
    """Take the explicit widths off the end of an exact row's arguments, in place; empty where there are none."""
    return args.pop() if args and isinstance(args[-1], dict) else {}


def fit_row(block: Network, widths: dict[str, Any]) -> None:
    """Give a freshly built SPPCSPC, DownC or RepConv the inner widths of its row, in place.

    Raises:
        PruneError: a width is missing or too many, or does not fit the row.
    """
    if not widths:
        return
    from .rows import fitted

    fitted(block, widths)


def _open_rows(d: dict[str, Any]) -> dict[str, Any]:
    """Take `prunekit.` off the module names of exact rows, and remember that they are exact."""
    rows = [*d["backbone"], *d["head"]]
    if not any(str(m).startswith(PREFIX) for _, _, m, _ in rows):
        return d
    bare = [[f, n, str(m).removeprefix(PREFIX), args] for f, n, m, args in rows]
    cut = len(d["backbone"])
    return {**d, "backbone": bare[:cut], "head": bare[cut:], EXACT: True}


def _build(plain: dict[str, Any]) -> Network:
    """A fresh network from `plain` rows, without touching the random state."""
    from models.yolo import parse_model
    from utils.torch_utils import initialize_weights

    from .quiet import quiet

    with torch.random.fork_rng(devices=[]), quiet():
        owner = owner_of(parse_model(deepcopy(plain), ch=[plain.get("ch", 3)])[0])
    initialize_weights(owner)
    return owner
