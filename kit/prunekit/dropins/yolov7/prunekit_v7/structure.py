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

from pruning.errors import PruneError
from pruning.family import yaml_structure
from pruning.family.contract import Network
from pruning.network.surgery import own_rules, sync_halves
from pruning.network.width_block import open_block
from torch import nn

ROOT = Path(__file__).resolve().parents[1]  # the fork's folder
GUARD = yaml_structure.GUARD_EVALUATED
PREFIX = "prunekit."
EXACT = "exact_widths"
HEADS = ("Detect", "IDetect", "IAuxDetect")


def close_structure(model: Network) -> dict[str, Any]:
    """See `pruning.family.yaml_structure.close_structure`; of a `models.yolo.Model`."""
    return yaml_structure.close_structure(model, GUARD, _build, output_layers, sync_attributes)


def open_structure(d: dict[str, Any]) -> dict[str, Any]:
    """What `parse_model` can parse: guard and `prunekit.` taken off; `d` itself where there is neither.

    Raises:
        PruneError: a damaged block (unknown key, newer version, or a guard without its block).
    """
    return _open_rows(open_block(d, GUARD))


def fit_layers(layers: Iterable[nn.Module], d: dict[str, Any]) -> int:
    """See `pruning.family.yaml_structure.fit_layers`."""
    return yaml_structure.fit_layers(layers, d, sync_attributes)


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

    with quiet():
        owner = yaml_structure.built(lambda: parse_model(deepcopy(plain), ch=[plain.get("ch", 3)])[0])
    initialize_weights(owner)
    return owner
