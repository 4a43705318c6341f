# SPDX-License-Identifier: AGPL-3.0-or-later
"""A network as a row of stages that are run one by one on batches kept between them.

Every YOLO family calls its parsed layers in turn and says by `f` where each takes its input from. A network of another
form is one stage. Working on a stage again and again then costs that stage, not all before it.
"""

from __future__ import annotations

import copy
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

LARGE = 1 << 28  # bytes of a stage's outputs for all batches above which they are not kept in memory


class Stages:
    """The stages of a network, and the outputs that later ones still need.

    Attributes:
        modules: the stages, in order.
        batches: images, each (n, channels, h, w).
    """

    def __init__(self, model: nn.Module, batches: list[Tensor]) -> None:
        """Begin before the first stage."""
        row: Any = getattr(model, "model", None)
        listed = isinstance(row, nn.Sequential) and all(hasattr(m, "f") and hasattr(m, "i") for m in row)
        self.modules: list[Any] = list(row) if listed and isinstance(row, nn.Sequential) else [model]
        self.batches = batches
        self._sources = [_absolute(module.f, at) if listed else -1 for at, module in enumerate(self.modules)]
        self._last = {at: number for number, source in enumerate(self._sources) for at in _listed(source, number)}
        self._made: dict[int, list[Any]] = {-1: list(batches)}
        self._changed: dict[tuple[int, int], Any] = {}  # (source, batch) -> what the stage has made of it, in place

    def inputs(self, number: int, batch: int) -> Any:
        """What a stage is given for a batch: copies, for it is run again and may change them in place."""
        source = self._sources[number]
        if isinstance(source, int):
            return _copied(self._made[source][batch])
        return [_copied(self._made[at][batch]) for at in source]

    def keep(self, number: int, outputs: list[Any]) -> None:
        """Take a stage's outputs, one for each batch, and let go of what no later stage needs."""
        self._made[number] = outputs
        for (at, batch), value in self._changed.items():
            self._made[at][batch] = value
        self._changed.clear()
        for at in [at for at in self._made if self._last.get(at, -1) <= number and at != len(self.modules) - 1]:
            del self._made[at]

    def run(self, number: int, batch: int) -> Any:
        """A stage's output for a batch; a large one lies in a file that the system keeps in memory as far as it can."""
        given, source = self.inputs(number, batch), self._sources[number]
        each = [(source, given)] if isinstance(source, int) else list(zip(source, given, strict=True))
        output = self.modules[number](given)
        for at, value in each:  # as in the network, later stages see it changed
            if isinstance(value, Tensor) and value._version and at >= 0:
                self._changed[at, batch] = value
        large = isinstance(output, Tensor) and output.nbytes * len(self.batches) > LARGE
        return _parked(output) if large else output

    def outputs_from(self, number: int) -> list[Any]:
        """The last stage's outputs, one for each batch, by running this stage and all after it; nothing is kept."""
        ahead = copy.copy(self)
        ahead._made, ahead._changed = {at: list(outputs) for at, outputs in self._made.items()}, {}
        for each in range(number, len(self.modules)):
            ahead.keep(each, [ahead.run(each, at) for at in range(len(self.batches))])
        return ahead.outputs

    @property
    def outputs(self) -> list[Any]:
        """The last stage's, one for each batch."""
        return self._made[len(self.modules) - 1]


def _parked(tensor: Tensor) -> Tensor:
    """A copy that is mapped to a temporary file without a name; the tensor itself where the folder has no room.

    A sparse file that cannot be filled would end the process (SIGBUS), so its room is taken first.
    """
    try:
        with tempfile.NamedTemporaryFile(prefix="prunekit-") as file:
            _take_room(file.fileno(), tensor.nbytes)
            mapped = torch.from_file(file.name, shared=True, size=tensor.numel(), dtype=tensor.dtype)
    except OSError:
        return tensor
    return mapped.view(tensor.shape).copy_(tensor)


def _take_room(file: int, size: int) -> None:
    """Bytes that are there, not only promised: OSError if they are not."""
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(file, 0, size)
        return
    block = bytes(1 << 20)  # macOS, Windows
    for start in range(0, size, len(block)):
        os.write(file, block[: size - start])


def _copied(value: Any) -> Any:
    """A nested value with copies of its tensors."""
    if isinstance(value, Tensor):
        return value.clone()
    if isinstance(value, dict):
        return {key: _copied(part) for key, part in value.items()}
    return type(value)(_copied(part) for part in value) if type(value) in (list, tuple) else value


def _absolute(source: int | list[int], at: int) -> int | list[int]:
    if isinstance(source, int):
        return source if source >= 0 else at + source
    return [each if each >= 0 else at + each for each in source]


def _listed(source: int | list[int], number: int) -> list[int]:
    return [source] if isinstance(source, int) else list(source)


@contextmanager
def hooked(hooks: list[Any]) -> Iterator[None]:
    """Remove these hooks afterwards."""
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def frozen_modes(model: nn.Module) -> None:
    """Statistics and dropout as in inference, whatever mode the rest is in."""
    for module in model.modules():
        if isinstance(module, (nn.modules.batchnorm._BatchNorm, nn.modules.dropout._DropoutNd)):
            module.training = False


def in_batches(images: list[Tensor], size: int) -> list[Tensor]:
    """Images (1, channels, h, w) as batches of `size`."""
    return [torch.cat(images[at : at + size]) for at in range(0, len(images), size)]
