# SPDX-License-Identifier: AGPL-3.0-or-later
"""A data set's label caches are pickles, too, and lie in its folder, whoever made it: numpy's values, nothing else.

Upstreams read them with `numpy.load(..., allow_pickle=True)`. One that names anything else is not read; upstream then
scans the labels again, as it does for a cache that is stale.
"""

from __future__ import annotations

import io
import os
import pickle
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from .allowed import _PLAIN, new_dtype


class CacheRefused(AssertionError, FileNotFoundError):
    """A cache that would run code; by its kinds each upstream takes it for one that is not there."""


class _Values(pickle.Unpickler):
    """Reads numpy's arrays and scalars, and the containers that Python has opcodes for."""

    def find_class(self, module: str, name: str) -> Any:
        """See `pickle.Unpickler.find_class`."""
        if (module, name) == ("numpy", "dtype"):
            return lambda code, align=False, copy=True: new_dtype(code)  # of objects, too: looked at in `_forged`
        known = _PLAIN.get(f"{module}.{name}")
        if known is not None and name == "scalar":  # of objects it would take bytes for an address, at once
            return partial(_scalar, known)
        if "." in name or known is None:
            raise CacheRefused(f"{module}.{name}")
        return known


def read_cache(path: Path) -> Any:
    """An array of objects as `numpy.save` writes it, of plain values.

    Raises:
        CacheRefused: it names anything else, or is no array.
    """
    data = io.BytesIO(path.read_bytes())
    try:
        version = np.lib.format.read_magic(data)
        header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, _, dtype = header(data)
        if not dtype.hasobject:
            return np.load(path, allow_pickle=False)
        array = _Values(data).load()
        if _forged(array):
            raise CacheRefused("a forged array")
        array.shape = shape
        return array
    except CacheRefused as error:
        print(f"warning: {path}: this label cache would run {error}: not read, the labels are scanned again")
        raise
    except Exception as error:
        raise CacheRefused(f"{path}: {error}") from error


def _scalar(make: Callable[..., Any], dtype: Any, *value: Any) -> Any:
    """numpy's maker of scalars, for plain values."""
    if getattr(dtype, "kind", "O") in "OV":
        raise CacheRefused("a forged scalar")
    return make(dtype, *value)


def _forged(value: Any) -> bool:
    """Does an array in these values say that it holds objects, and mean addresses? No element of it is touched."""
    pending, seen = [value], set()
    while pending:
        found = pending.pop()
        if id(found) in seen:
            continue
        seen.add(id(found))
        if isinstance(found, np.ndarray):
            if found.dtype.kind == "V" or (found.dtype.kind == "O") != found.dtype.hasobject:
                return True
            pending += list(found.flat) if found.dtype.hasobject else []
        elif isinstance(found, dict):
            pending += [*found, *found.values()]
        elif isinstance(found, (list, tuple, set, frozenset)):
            pending += found
    return False


@contextmanager
def restricted_arrays(trusted: Callable[[], bool]) -> Iterator[None]:
    """Within it `numpy.load(allow_pickle=True)` of a file reads as `read_cache` does, unless `trusted` says yes."""
    original = np.load

    def load(file: Any, mmap_mode: Any = None, allow_pickle: bool = False, *args: Any, **how: Any) -> Any:
        if not allow_pickle or trusted():
            return original(file, mmap_mode, allow_pickle, *args, **how)
        if isinstance(file, (str, os.PathLike)) and Path(file).is_file():
            return read_cache(Path(file))
        return original(file, mmap_mode, False, *args, **how)

    np.load = load
    try:
        yield
    finally:
        np.load = original
