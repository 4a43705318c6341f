# SPDX-License-Identifier: AGPL-3.0-or-later
"""Which BatchNorm and which activation take a layer's outputs, seen while a network runs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from torch import Tensor, nn

from .nonlinear import ELEMENTWISE


class Consumers:
    """What comes directly after each layer.

    Attributes:
        norms: layer -> the BatchNorm that takes its output.
        activations: layer -> the activation that takes its output, or that of its norm, and that nothing else takes.
    """

    def __init__(self, modules: Mapping[str, nn.Module]) -> None:
        """Of a network's modules by name; nothing has been seen."""
        self.norms: dict[str, str] = {}
        self.activations: dict[str, nn.Module] = {}
        self._modules = modules
        self._last: tuple[Any, str] = (None, "")  # the output that the next module may take, and its layer
        self._passed: tuple[Any, str, nn.Module] = (None, "", nn.Identity())

    def put_out(self, layer: str, output: Tensor) -> None:
        """A layer has run."""
        self._last = (output, layer)

    def hooks(self, layers: Iterable[str], called: Callable[[str], None]) -> list[Any]:
        """On what may follow these layers; `called` is told of each norm that runs."""
        blocks = {self._modules[_parent(name)] for name in layers}
        alike = {module for module in self._modules.values() if isinstance(module, ELEMENTWISE)}
        norms = [
            module.register_forward_hook(self._norm(name, called))
            for name, module in self._modules.items()
            if isinstance(module, nn.modules.batchnorm._BatchNorm) and module.running_mean is not None
        ]
        each = [*(m.register_forward_hook(self._activation) for m in alike)]
        return [*norms, *each, *(module.register_forward_hook(self._block) for module in blocks)]

    def forget(self, norms: set[str]) -> None:
        """Leave these norms out, and what comes after them."""
        gone = {layer for layer, norm in self.norms.items() if norm in norms}
        self.norms = {layer: norm for layer, norm in self.norms.items() if layer not in gone}
        self.activations = {layer: module for layer, module in self.activations.items() if layer not in gone}

    def _norm(self, name: str, called: Callable[[str], None]) -> Any:
        def hook(module: nn.Module, args: Any, output: Tensor) -> None:
            called(name)
            if args[0] is self._last[0]:
                self.norms[self._last[1]] = name
                self._last = (output, self._last[1])

        return hook

    def _activation(self, module: nn.Module, args: Any, output: Tensor) -> None:
        if args[0] is not self._last[0]:
            return
        self._passed = (output, self._last[1], module)
        if type(self._modules[_parent(self._last[1])]) is nn.Sequential:
            self.activations[self._last[1]] = module

    def _block(self, module: nn.Module, args: Any, output: Any) -> None:
        """A block that ends with the activation: whatever takes the layer's output before it would be in the block."""
        if output is self._passed[0] and self._modules[_parent(self._passed[1])] is module:
            self.activations[self._passed[1]] = self._passed[2]


def _parent(name: str) -> str:
    return name.rpartition(".")[0]
