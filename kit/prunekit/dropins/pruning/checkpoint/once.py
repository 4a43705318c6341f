# SPDX-License-Identifier: AGPL-3.0-or-later
"""Open each checkpoint once: a run asks for its dense network a dozen times."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import Any, TypeVar

Content = TypeVar("Content")  # a network, or one with what stands beside it
MOST = 2  # networks that are kept: the dense one, and that of the step


class Opened:
    """Networks by file; a file that was written again is opened again."""

    def __init__(self) -> None:
        self._kept: OrderedDict[tuple[str, int, int], Any] = OrderedDict()

    def __call__(self, path: Path, load: Callable[[Path], Content]) -> Content:
        """A copy of what `load` finds in `path`, which the caller may change; it opens the file the first time."""
        if not path.is_file():
            return load(path)  # says what is wrong
        stat = path.stat()
        key = (str(path.resolve()), stat.st_mtime_ns, stat.st_size)
        if key not in self._kept:
            self._kept[key] = load(path)
            while len(self._kept) > MOST:
                self._kept.popitem(last=False)
        self._kept.move_to_end(key)
        found: Content = deepcopy(self._kept[key])
        return found
