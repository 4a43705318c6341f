# SPDX-License-Identifier: AGPL-3.0-or-later
"""What a checkpoint may name without --trust: exact plain types, and the classes that networks are built of.

torch's restricted unpickler takes a list of objects and the names under which a file may ask for them. A class of a
network is never on that list itself: the file gets a `Bare` in its place, which makes an empty instance and nothing
else. So no constructor runs, and what a constructor would open (another checkpoint, a runtime, a download) stays shut.
"""

from __future__ import annotations

import argparse
import datetime
import importlib
import sys
import types
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from ..errors import PruneError

Entry = tuple[Any, str]  # (object, the name that a file may use for it), as torch.serialization.safe_globals takes it

# Functions that modules of torch keep as attributes; all they do is arithmetic on tensors.
_ACTIVATIONS = ("relu", "gelu", "silu", "mish", "hardswish", "leaky_relu", "sigmoid", "softmax", "elu", "selu")
# Methods that Python calls by itself on an object: a class that has its own may do anything there.
_CALLED_UNASKED = ("__del__", "__new__", "__setstate__", "__getattribute__")
_LIBRARIES = ("torch.nn.modules", "torchvision.models", "torchvision.ops")
_FINE = ("builtins", "typing", "torch.nn.modules", "abc", "collections.abc")


@dataclass(frozen=True)
class Rules:
    """What a family's checkpoints are made of.

    Attributes:
        packages: modules, and what lies below them, whose subclasses of nn.Module a checkpoint may hold.
        whole: modules of which it may hold any class, or single classes (losses, which an interrupted training leaves
            in its network; a classifier's transforms).
        never: names among those that open files or start runtimes when they are used.
        renamed: {old name or old module: today's}, for what older releases wrote.
        exact: {name: class} of plain values on top; their constructors may be called.
        stand_ins: classes that stand for what cannot be imported, and compute nothing.
        methods: functions of classes that its modules hold ("models.yolo.Detect.forward").
    """

    packages: tuple[str, ...] = ()
    whole: tuple[str, ...] = ()
    never: tuple[str, ...] = ()
    renamed: Mapping[str, str] = field(default_factory=dict)
    exact: Mapping[str, type] = field(default_factory=dict)
    stand_ins: tuple[type, ...] = ()
    methods: tuple[str, ...] = ()


class Bare:
    """In the place of a class while a file is read: makes an instance without calling its constructor."""

    def __init__(self, kind: type, name: str) -> None:
        self._kind, self._name = kind, name
        self.__new__ = self._empty  # type: ignore[method-assign, assignment]  # what the unpickler's NEWOBJ calls

    def _empty(self, _: Bare, *args: Any) -> Any:
        """An instance with nothing in it; its state follows in the file."""
        if args:
            self(*args)
        return self._kind.__new__(self._kind)  # type: ignore[call-overload]

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """The unpickler's REDUCE: a constructor, which an ordinary checkpoint does not call."""
        raise PruneError(f"{self._name}(...)")

    def __reduce__(self) -> Any:
        raise PruneError(f"the network keeps the class {self._name} as a value, which cannot be written again")


def entries_for(name: str, rules: Rules) -> list[Entry] | None:
    """What to give torch for a name in a file: entries, or None where it may not be named."""
    if name == "builtins.getattr" and rules.methods:
        return [(_looking_up(rules), name)]
    if name in ("copyreg._reconstructor", "copy_reg._reconstructor"):
        return [(_rebuilt, name)]
    if name in _PLAIN:
        made = _PLAIN[name]
        return [(made, name), *((kind, f"\n{kind.__name__}") for kind in _built_by(made))]
    if name in rules.exact:
        return [(rules.exact[name], name)]
    kind = _class_named(name, rules)
    return None if kind is None else [(Bare(kind, name), name), (kind, f"\n{name}")]  # no file can say "\n"


def _class_named(name: str, rules: Rules) -> type | None:
    """The class that a name means, if it is one that networks of this family are built of."""
    for old, new in rules.renamed.items():
        if name == old or name.startswith(f"{old}."):
            name = new + name.removeprefix(old)
    module, _, attribute = name.rpartition(".")
    kind = vars(sys.modules[module]).get(attribute) if module in sys.modules else None  # nothing is imported for it
    if not isinstance(kind, type):
        return None
    if rules.stand_ins and issubclass(kind, rules.stand_ins):
        return kind
    return kind if _of_a_network(kind, rules) and _quiet(kind, rules) else None


def _of_a_network(kind: type, rules: Rules) -> bool:
    """Is this class a module of torch or of the family, or one of the others that it names?"""
    if never_in(kind, rules):
        return False
    if kind.__module__ in rules.whole or f"{kind.__module__}.{kind.__qualname__}" in rules.whole:
        return not issubclass(kind, (BaseException, type))
    return issubclass(kind, nn.Module) and _below(kind.__module__, (*_LIBRARIES, *rules.packages))


def never_in(kind: type, rules: Rules) -> bool:
    """Does this class open files or start runtimes when it is made or used?"""
    return _below(f"{kind.__module__}.{kind.__qualname__}", rules.never)


def _quiet(kind: type, rules: Rules) -> bool:
    """True unless Python would call code of this class's own while the file is read, or when it is thrown away.

    A family's own modules may complete the state of older files (`__setstate__` of YOLO12's AAttn): that code lies in
    the fork, and sees only what this list lets through.
    """
    own = [base for base in kind.__mro__ if not _below(base.__module__, _FINE)]
    return not any(
        name in vars(base)
        for base in own
        for name in _CALLED_UNASKED
        if name != "__setstate__" or not _below(base.__module__, rules.packages)
    )


def _below(name: str, roots: tuple[str, ...]) -> bool:
    return any(name == root or name.startswith(f"{root}.") for root in roots)


def _rebuilt(kind: Any, base: Any = object, state: Any = None) -> Any:
    """`copyreg._reconstructor`, of pickle protocols 0 and 1, for the classes of a network."""
    if not isinstance(kind, Bare) or state is not None:
        raise PruneError(f"copyreg._reconstructor({kind!r}, ...)")
    return kind._empty(kind)


def _looking_up(rules: Rules) -> Callable[[Any, str], Any]:
    """`getattr`, for the functions of classes that a family's modules hold."""

    def look_up(owner: Any, name: str) -> Any:
        if isinstance(owner, Bare) and f"{owner._name}.{name}" in rules.methods:
            return getattr(owner._kind, name)
        raise FusedError

    return look_up


class FusedError(Exception):
    """A method of an object is pickled: what upstream's fuse() leaves in its modules."""


def _built_by(made: Any) -> list[type]:
    """Types whose instances `made` gives, where they are not `made` itself: the unpickler asks for them, too."""
    if made is _dtype:
        return [type(np.dtype(code)) for code in "?bhilqBHILQefdgFDGSU"]
    return []


def new_dtype(code: Any) -> np.dtype[Any]:
    """A dtype of its own, never the one that all of numpy shares: a file may go on to set its state."""
    if not isinstance(code, str):
        raise PruneError("numpy.dtype(...)")
    return np.dtype(code, False, True)


def _dtype(code: Any, align: Any = False, copy: Any = True) -> np.dtype[Any]:
    """`numpy.dtype` of plain values; of objects and of records, whose state can name an address, none is made."""
    made = new_dtype(code)
    if made.hasobject or made.kind in "OV":
        raise PruneError(f"numpy.dtype({code!r})")
    return made


def _numpy_makers() -> dict[str, Any]:
    """numpy's makers of arrays and scalars, by the names that numpy 1 and numpy 2 give them."""
    try:
        core = importlib.import_module("numpy._core.multiarray")
    except ImportError:  # numpy 1
        core = importlib.import_module("numpy.core.multiarray")
    names = ("_reconstruct", "scalar")
    return {f"numpy.{part}.multiarray.{name}": getattr(core, name) for part in ("core", "_core") for name in names}


def _paths() -> dict[str, Any]:
    """Paths, of whichever system wrote them, as paths of this one."""
    kinds = ("PosixPath", "WindowsPath", "Path", "PurePath", "PurePosixPath", "PureWindowsPath")
    return {f"{module}.{kind}": type(Path()) for module in ("pathlib", "pathlib._local") for kind in kinds}


_PLAIN: dict[str, Any] = {
    **_paths(),
    **_numpy_makers(),
    **{f"torch.nn.functional.{name}": getattr(nn.functional, name) for name in _ACTIVATIONS},
    **{f"torch._C._nn.{name}": getattr(torch._C._nn, name) for name in _ACTIVATIONS if hasattr(torch._C._nn, name)},
    **{f"datetime.{name}": getattr(datetime, name) for name in ("datetime", "date", "time", "timedelta", "timezone")},
    "numpy.ndarray": np.ndarray,
    "numpy.dtype": _dtype,
    "argparse.Namespace": argparse.Namespace,
    "types.SimpleNamespace": types.SimpleNamespace,
    "builtins.slice": slice,
    "builtins.range": range,
    "builtins.frozenset": frozenset,
}
for _kind in _built_by(_dtype):  # numpy 1.25 and newer pickle some of them by their own name
    _PLAIN.setdefault(f"numpy.dtypes.{_kind.__name__}", _kind)
