# SPDX-License-Identifier: AGPL-3.0-or-later
"""A pruned network's architecture as people write such files: upstream's YAML with each layer's real width in its row.

`structure` describes exact rows; `parse_model` builds them through this package. Every path that reads a --cfg takes
such a file: train.py, train_aux.py, the hub; and a network that was trained from it can be pruned again.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
import yaml
from models.common import SPPCSPC, Conv, DownC, RepConv
from models.yolo import Model, parse_model
from pruning.errors import PruneError
from pruning.family.contract import Network
from pruning.family.yaml_structure import real_anchors
from pruning.network.differences import differing_acts, differing_norms
from pruning.network.width_block import BLOCK, owner_of, yaml_text
from torch import Tensor
from utils.general import make_divisible
from utils.torch_utils import initialize_weights

from .quiet import quiet
from .rows import widths_of_block
from .structure import EXACT, HEADS, PREFIX, open_structure

PARTS = ("backbone", "head")


def exact_structure(model: Network) -> dict[str, Any]:
    """The YAML of exact rows that builds a network; it has been tried.

    Args:
        model: a `models.yolo.Model` of stock classes, in training form. It is not changed.

    Raises:
        PruneError: a layer whose widths no row can say, and which.
    """
    opened = open_structure(model.yaml)
    rows = [*opened["backbone"], *opened["head"]]
    exact = [_exact_row(row, layer, number) for number, (row, layer) in enumerate(zip(rows, model.model, strict=True))]
    cut = len(opened["backbone"])
    known = {"nc", "ch", "depth_multiple", "width_multiple", "anchors", "backbone", "head", BLOCK, EXACT}
    made = {
        "nc": opened["nc"],
        **({} if opened.get("ch", 3) == 3 else {"ch": opened["ch"]}),
        "depth_multiple": 1.0,
        "width_multiple": 1.0,
        **{k: v for k, v in opened.items() if k not in known},
        "anchors": real_anchors(model),
        "backbone": exact[:cut],
        "head": exact[cut:],
    }
    _check(model, made)
    return made


def width_pairs(made: Mapping[str, Any], dense: Mapping[str, Any]) -> list[tuple[int, int] | None]:
    """For each row (width in an exact structure, width that upstream builds from the row of `dense`), or None."""
    rows = zip(*([*d["backbone"], *d["head"]] for d in (made, dense)), strict=True)
    return [(own[3][0], _built_width(was, dense)) if str(own[2]).startswith(PREFIX) else None for own, was in rows]


def text_of(made: Mapping[str, Any], dense: Mapping[str, Any], title: str) -> str:
    """An exact structure as a file: a row a line, behind it its number and the width that `dense` has there."""
    pairs = iter(enumerate(width_pairs(made, dense)))
    lines = [f"# {line}" for line in title.splitlines()]
    lines += yaml_text({key: value for key, value in made.items() if key not in PARTS}).splitlines()
    for part in PARTS:
        name, *rows = yaml_text({part: made[part]}).splitlines()
        lines += ["", name, *(f"{row}  # {_note(*next(pairs))}" for row in rows)]
    return "\n".join(lines) + "\n"


def _note(number: int, pair: tuple[int, int] | None) -> str:
    return f"{number}: {pair[1]}" if pair else str(number)


def verify(model: Network, file: Path) -> float:
    """Build a network from a file, load the weights of `model` strictly, and compare outputs; the largest difference.

    Both forms are compared, inference and training (where an auxiliary head gives its second branch), on one image.

    Raises:
        PruneError: a weight does not fit, or an output differs.
    """
    with quiet(), torch.random.fork_rng(devices=[]):
        built = Model(str(file), ch=model.yaml.get("ch", 3))
    try:
        built.load_state_dict(model.state_dict(), strict=True)
    except RuntimeError as error:
        raise PruneError(f"{file} does not build this network: {str(error).splitlines()[-1].strip()}") from error
    size = 2 * int(model.stride.max())
    image = torch.rand(1, model.yaml.get("ch", 3), size, size, generator=torch.Generator().manual_seed(0))
    worst = 0.0
    for training in (False, True):
        pairs = zip(_outputs(built, image, training), _outputs(model, image, training), strict=True)
        worst = max([worst, *(float((a - b).abs().max()) for a, b in pairs)])
    if worst != 0:
        raise PruneError(f"{file} builds a network whose outputs differ by up to {worst:.3g}")
    return worst


def _outputs(model: Network, image: Tensor, training: bool) -> list[Tensor]:
    """All tensors that a network gives for an image, norms as in evaluation; its mode is put back."""
    mode, head = model.training, model.model[-1]
    model.eval()
    head.training = training
    try:
        with torch.inference_mode():
            return _tensors(model(image))
    finally:
        model.train(mode)


def _tensors(output: Any) -> list[Tensor]:
    return [output] if isinstance(output, Tensor) else [tensor for part in output for tensor in _tensors(part)]


def check_same_rows(model: Network, dense: Mapping[str, Any], name: str, weights: Path) -> None:
    """Hold a network against the YAML that it is said to be pruned from: the same rows but for their widths.

    Raises:
        PruneError: naming the first row that differs.
    """
    own = open_structure(model.yaml)
    ours, theirs = ([*d["backbone"], *d["head"]] for d in (own, open_structure(dict(dense))))
    for number, (mine, given) in enumerate(zip(ours, theirs, strict=False)):
        if mine[:3] != given[:3]:
            raise PruneError(
                f"--model {name}: row {number} is {given[:3]}, but {weights} has {mine[:3]} there. Give the YAML that "
                "this network was trained with (cfg/training/..., not cfg/deploy/...), or other --weights."
            )
    if len(ours) != len(theirs):
        raise PruneError(f"--model {name} has {len(theirs)} rows, {weights} {len(ours)}: it is not its YAML.")


def _exact_row(row: list[Any], layer: Network, number: int) -> list[Any]:
    """A row with the layer's own width in it; a row without a width is taken as it stands."""
    f, n, name, args = row
    if n != 1:
        raise PruneError(f"row {number} ({name}) stands for {n} layers: no row can say each one's width.")
    width = _width(layer)
    if width is None:
        if next(layer.parameters(), None) is not None and type(layer).__name__ not in HEADS:
            raise PruneError(f"row {number}: the widths inside a {name} cannot be written into a row.")
        return [f, n, name, list(args)]
    rest = [value for value in args[1:] if not isinstance(value, dict)]
    inner = widths_of_block(layer)
    return [f, n, f"{PREFIX}{name}", [width, *rest, *([inner] if inner else [])]]


def _width(layer: Network) -> int | None:
    """Output channels of a layer whose row says them; None for one that has none of its own."""
    kind = type(layer)
    if kind is Conv:
        return layer.conv.out_channels
    if kind is RepConv:
        return layer.rbr_dense[0].out_channels
    if kind is SPPCSPC:
        return layer.cv7.conv.out_channels
    if kind is DownC:
        return layer.cv2.conv.out_channels + layer.cv3.conv.out_channels
    return None


def _built_width(row: list[Any], dense: Mapping[str, Any]) -> int:
    """The width that upstream builds from a row of a YAML."""
    width, outputs = row[3][0], len(dense["anchors"][0]) // 2 * (dense["nc"] + 5)
    if str(row[2]).startswith(PREFIX) or width == outputs:
        return width
    return int(make_divisible(width * dense["width_multiple"], 8))


def _check(model: Network, made: dict[str, Any]) -> None:
    """PruneError unless a fresh build has every tensor, activation and norm of `model`; shapes only, no memory."""
    with quiet(), torch.device("meta"):
        layers = parse_model(yaml.safe_load(yaml_text(made)), ch=[model.yaml.get("ch", 3)])[0]
    fresh, owner = owner_of(layers), owner_of(model.model)
    initialize_weights(fresh)
    have, want = ({k: tuple(v.shape) for k, v in each.state_dict().items()} for each in (fresh, owner))
    if odd := [key for key in sorted(have.keys() | want.keys()) if have.get(key) != want.get(key)]:
        raise PruneError(
            f"{len(odd)} tensors cannot be built from rows, first {odd[0]}: {want.get(odd[0])} in the network, "
            f"{have.get(odd[0])} from the rows."
        )
    for what, differs in (("activations", differing_acts(fresh, owner)[0]), ("norms", differing_norms(fresh, owner))):
        if differs:
            raise PruneError(f"the network has {what} that its YAML does not build ({next(iter(differs))}).")
