# SPDX-License-Identifier: AGPL-3.0-or-later
"""Checkpoints that other pruning scripts wrote become ordinary ones: stock blocks, and a width block where one is due.

Such files pickle split blocks by the name of a class in the script that made them (`__main__.C2f_v2`,
`train_utils.C3k2_v2`). A module's weights and children lie in the file, only its `forward` does not; a class that is
not there is stood in for while the file is read, and the blocks are then recognised by their children.
"""

from __future__ import annotations

import re
import sys
import threading
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.machinery import PathFinder
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Any

from torch import nn
from ultralytics.pruning.errors import PruneError
from ultralytics.pruning.family.contract import Network
from ultralytics.pruning.network.differences import fit_norms
from ultralytics.pruning.network.surgery import merge_blocks
from ultralytics.pruning.network.width_block import BLOCK
from ultralytics.pruning.network.widths import read_widths
from ultralytics.utils import LOGGER, RANK, SETTINGS, colorstr

from . import structure
from .blocks import RULES, merge_split_blocks

# Roots that upstream has an answer of its own for (YOLOv5 checkpoints, old names of its own modules), or that no
# split block can come from.
_NOT_OURS = ("models", "utils", "numpy", "torch", "torchvision", "pathlib", "ultralytics.yolo", "ultralytics.utils")
_GLOBAL = re.compile(rb"c([\w.]+)\n(\w+)\n")  # the opcode that names a class in torch.save's pickle protocol 2
_reading = threading.local()  # `files`: those that this thread is reading


class StandIn(nn.Module):
    """In the place of a class that cannot be imported; holds what was pickled, computes nothing."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__()


def read(load: Callable[..., Any], weight: str | Path, *how: Any) -> Any:
    """What `load(weight, *how)`, upstream's own reading, returns: (checkpoint, file), split blocks as stock blocks.

    None for a file that is not here (upstream finds and downloads its own), and within a reading of the same file.

    Raises:
        PruneError: the file holds another class that is not there.
    """
    file = next((str(place) for place in (Path(weight), Path(SETTINGS["weights_dir"]) / weight) if place.is_file()), "")
    within = _reading.__dict__.setdefault("files", set())
    if not file or file in within:
        return None
    within.add(file)
    try:
        with _stand_ins(unknown_classes(file)):
            ckpt, *rest = load(weight, *how)
    finally:
        within.discard(file)
    for model in _models(ckpt):
        if type(getattr(model, "criterion", None)).__name__ == "OldLoss":
            model.__dict__.pop("criterion")  # made again where it is needed; None in its place fails before 8.3
        merged = merge_blocks(model, RULES) + merge_split_blocks(model)
        if merged and RANK in {-1, 0}:
            LOGGER.info(f"{colorstr('prunekit: ')}{file}: {merged} split blocks read as stock blocks")
        _refuse_stand_ins(model, file)
    return ckpt, *rest


def adopt_structure(built: Network, weights: Network) -> None:
    """Before `weights` are loaded into `built`: if it was built from the very YAML of `weights` and that YAML does not
    tell its widths, give `built` these widths, in place, and a YAML that does.

    Any other pair (transfer to another architecture) is left to upstream.
    """
    if not isinstance(getattr(weights, "yaml", None), dict) or weights.yaml is not built.yaml:
        return
    changed = _differing(built, weights)
    if not changed or BLOCK in built.yaml:
        return
    was, nc = sum(p.numel() for p in built.parameters()), built.yaml["nc"]
    built.yaml = {**structure.close_structure(weights), "nc": nc}
    structure.fit_layers(built.model, built.yaml)
    fit_norms(built, built.yaml[BLOCK])
    now = sum(p.numel() for p in built.parameters())
    if RANK in {-1, 0}:
        LOGGER.warning(
            f"{colorstr('prunekit: ')}this checkpoint was pruned but its YAML is the dense network's: {changed} layers "
            f"fitted to the checkpoint ({was:,} -> {now:,} parameters) and recorded from here on"
        )


def unknown_classes(file: str) -> list[tuple[str, str]]:
    """(module, class) names in a checkpoint's pickle that cannot be imported, without importing anything new."""
    if not zipfile.is_zipfile(file):
        return []
    with zipfile.ZipFile(file) as archive:
        pickles = [archive.read(name) for name in archive.namelist() if name.endswith("/data.pkl")]
    found = {(m.decode(), n.decode()) for data in pickles for m, n in _GLOBAL.findall(data)}
    return sorted(pair for pair in found if not _ours_to_skip(pair[0]) and not _importable(*pair))


def _ours_to_skip(module: str) -> bool:
    return any(module == root or module.startswith(root + ".") for root in _NOT_OURS)


def _importable(module: str, name: str) -> bool:
    if module in sys.modules:
        return hasattr(sys.modules[module], name)
    places: Any = None
    for place, part in enumerate(parts := module.split(".")):
        path = ".".join(parts[: place + 1])
        if path in sys.modules:  # find_spec would import the packages above a module, whoever wrote them
            places = getattr(sys.modules[path], "__path__", ())
        else:
            spec = find_spec(part) if places is None and part else PathFinder.find_spec(path, places)
            if spec is None:
                return False
            places = spec.submodule_search_locations or ()
    return True


@contextmanager
def _stand_ins(names: list[tuple[str, str]]) -> Iterator[None]:
    """Make (module, class) names importable for a while."""
    made_modules, made = [], []
    try:
        for module, name in names:
            if module not in sys.modules:
                sys.modules[module] = ModuleType(module)
                made_modules.append(module)
            kind = type(name, (StandIn,), {"__module__": module})
            setattr(sys.modules[module], name, kind)
            made.append((sys.modules[module], name, kind))
        yield
    finally:
        for home, name, kind in made:
            if getattr(home, name, None) is kind:
                delattr(home, name)
        for module in made_modules:
            sys.modules.pop(module, None)


def _models(ckpt: Any) -> list[Network]:
    """The networks in a checkpoint, in any of the forms that `torch_safe_load` accepts."""
    held = [ckpt.get("model"), ckpt.get("ema")] if isinstance(ckpt, dict) else [getattr(ckpt, "model", None)]
    return [model for model in held if isinstance(model, nn.Module)]


def _refuse_stand_ins(model: Network, file: str) -> None:
    left = {f"{type(m).__module__}.{type(m).__name__}" for m in model.modules() if isinstance(m, StandIn)}
    if left:
        raise PruneError(
            f"{file} needs {', '.join(sorted(left))}, which is neither here nor a split block that can be read as a "
            "stock one. Load it with the script that wrote it and save a network of stock blocks"
        )


def _differing(built: nn.Module, weights: nn.Module) -> int:
    """Layers of `built` whose width is not that of `weights`, outputs that the task sets aside."""
    try:
        outputs = structure.output_layers(weights)
    except PruneError:  # a family that is not pruned here (RT-DETR): nothing to adopt
        return 0
    stem = next(name for name, module in weights.named_modules() if isinstance(module, nn.Conv2d))
    have, want = (read_widths(model, outputs, stem) for model in (built, weights))
    return sum(have.get(name) != width for name, width in want.items())
