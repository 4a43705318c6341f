# SPDX-License-Identifier: AGPL-3.0-or-later
"""Look at a checkpoint before anything in it is executed.

A YOLO checkpoint pickles whole modules, so loading one runs what it names. The names are read first, without running
any: code of torch and of the family's own package is expected; anything else is shown to the user and refused unless
they say otherwise.
"""

from __future__ import annotations

import pickletools
import zipfile
from collections.abc import Collection
from pathlib import Path
from typing import Any

import torch

from .errors import PruneError

# Top-level modules whose classes a detector's checkpoint is made of, whatever the family. What torch itself holds to be
# safe (tensors, OrderedDict) never gets as far as this list.
COMMON = ("torch", "torchvision", "numpy", "pathlib", "datetime", "types", "argparse", "collections")
# YOLOv5 and YOLOv7 note their best fitness as an array or a scalar of numpy: its plain makers of values, by the names
# that numpy 1 and numpy 2 give them. A stripped checkpoint no longer has it, one of an interrupted training does.
MAKERS = [f"numpy.{core}.multiarray.{name}" for core in ("core", "_core") for name in ("_reconstruct", "scalar")]
NUMPY = frozenset({"numpy.dtype", "numpy.ndarray", *MAKERS})
KINDS = {"models": "a YOLOv5 or YOLOv7", "ultralytics": "an ultralytics (YOLOv8 or later)"}


def check_checkpoint(
    path: Path, package: tuple[str, ...], *, trust: bool = False, names: Collection[str] = (),
    methods: Collection[str] = (),
) -> None:
    """Refuse a checkpoint that is missing, damaged, or that would run foreign code.

    Args:
        path: the `.pt` file.
        package: top-level module names of the family ("ultralytics",).
        trust: load it all the same; what will run is printed.
        names: foreign classes that the family replaces by its own when it loads ("__main__.C2f_v2").
        methods: functions of classes that the family's modules hold ("models.yolo.Detect.forward"); pickle looks them
            up with getattr, which is refused for anything else.

    Raises:
        PruneError: naming the file, what is wrong with it, and what to do.
    """
    if not path.is_file():
        raise PruneError(f"{path}: no such file. Give a trained checkpoint with --weights.")
    foreign = [name for name in _globals_of(path) if name not in names and not _expected(name, package)]
    if methods and "builtins.getattr" in foreign and _looks_up(path) <= set(methods):
        foreign.remove("builtins.getattr")
    if not foreign:
        return
    for prefix, kind in KINDS.items():
        if prefix not in package and any(name.startswith(prefix + ".") for name in foreign):
            raise PruneError(f"{path}: this is {kind} checkpoint. Prune it in a fork of that upstream: prunekit list")
    if foreign == ["builtins.getattr"] and not trust:  # a bound method: what upstream's fuse() leaves in its modules
        raise PruneError(
            f"{path}: a fused network, by the methods pickled in it; it cannot be trained again. Give the checkpoint "
            "that training wrote (weights/best.pt)."
        )
    listed = ", ".join(sorted(foreign)[:8])
    if not trust:
        raise PruneError(
            f"{path}: loading this file would run {listed}, which is neither torch's nor {package[0]}'s. "
            "If you trust whoever made it, add --trust."
        )
    print(f"warning: loading {path} runs {listed} (--trust)")


def _globals_of(path: Path) -> list[str]:
    """The names a pickle would import, read without importing them."""
    if not hasattr(torch.serialization, "get_unsafe_globals_in_checkpoint"):
        raise PruneError(f"torch {torch.__version__} cannot look into a checkpoint: install torch 2.6 or newer.")
    if not zipfile.is_zipfile(path):
        raise PruneError(
            f"{path}: not a torch checkpoint, or a damaged one (no zip archive, as torch writes since 1.6). Copy it "
            "again, or save it anew with a current torch."
        )
    try:
        return list(torch.serialization.get_unsafe_globals_in_checkpoint(path))
    except Exception as error:
        raise PruneError(f"{path}: damaged checkpoint ({error}). Copy it again, or use another one.") from error


def _expected(name: str, package: tuple[str, ...]) -> bool:
    """True for a class that checkpoints of this family are made of; of functions (lower case) only numpy's few."""
    module, _, attribute = name.rpartition(".")
    return name in NUMPY or (module.split(".")[0] in (*COMMON, *package) and attribute[:1].isupper())


def _looks_up(path: Path) -> set[str]:
    """What a checkpoint's pickles look up with getattr ("models.yolo.Detect.forward"); "?" for what is not plain.

    Plain is how pickle writes a function of a class: getattr, class and name straight after each other, called at once.
    """
    found: set[str] = set()
    with zipfile.ZipFile(path) as archive:
        for name in archive.namelist():
            if name.endswith("/data.pkl"):
                found |= _getattrs(list(pickletools.genops(archive.read(name))))
    return found


def _getattrs(ops: list[tuple[Any, Any, int | None]]) -> set[str]:
    """The getattr calls among the opcodes of one pickle."""
    puts, gets = ("BINPUT", "LONG_BINPUT", "PUT", "MEMOIZE"), ("BINGET", "LONG_BINGET", "GET")
    kept: list[tuple[str, Any]] = []
    memo: set[Any] = set()  # memo places of getattr itself
    found: set[str] = set()
    for op, value, _ in ops:
        if op.name in puts:
            memo |= {value} if kept and kept[-1] == ("GLOBAL", "builtins getattr") else set()
        else:
            found |= {"?"} if op.name in gets and value in memo else set()  # called again, with who knows what
            kept.append((op.name, value))
    for place, step in enumerate(kept):
        if step[1] == "builtins getattr" or step[0] == "STACK_GLOBAL":
            names, values = zip(*kept[place : place + 5], strict=True)
            plain = names == ("GLOBAL", "GLOBAL", "BINUNICODE", "TUPLE2", "REDUCE")
            found.add(f"{values[1].replace(' ', '.')}.{values[2]}" if plain else "?")
    return found
