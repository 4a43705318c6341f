# SPDX-License-Identifier: AGPL-3.0-or-later
"""Run a model once under torch-pruning's tracer, whatever state its checkpoint left it in."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
import torch_pruning as tp
from torch import Tensor, nn
from torch_pruning.ops import TORCH_BATCHNORM
from torch_pruning.utils.op_counter import MODULES_MAPPING, pool_flops_counter_hook

from .counts import TRANSPOSED, Forward, fit_example
from .errors import PruneError


@dataclass(frozen=True)
class Call:
    """One call of a layer without weights: its autograd node, channels, and elements that count as MACs."""

    function: Any
    channels: int
    elements: int


@dataclass
class Trace:
    """What one traced forward showed.

    Attributes:
        dependencies: torch-pruning's graph.
        names: module -> first name in the model's order.
        outputs: the autograd nodes of the model's outputs.
        calls: for each counted layer without weights (pooling, upsampling, ...): what each of its calls was.
        places: transposed convolution -> positions of its input and of its output, summed over its calls.
    """

    dependencies: tp.DependencyGraph
    names: dict[nn.Module, str]
    outputs: list[Any] = field(default_factory=list)
    calls: dict[str, list[Call]] = field(default_factory=dict)
    places: dict[str, tuple[int, int]] = field(default_factory=dict)


def trace(model: nn.Module, example: Tensor, forward: Forward | None) -> Trace:
    """Trace one forward of `model`; its requires_grad and training flags are as before afterwards.

    Raises:
        PruneError: the forward failed, or its outputs do not depend on any weight.
    """
    modes = {module: module.training for module in model.modules()}
    traced = Trace(tp.DependencyGraph(), {module: name for name, module in model.named_modules()})

    def run(subject: nn.Module, x: Tensor) -> Any:
        # torch-pruning has just called eval(), which hides training-only branches; statistics must not move, though
        _set_modes({module: mode and not isinstance(module, TORCH_BATCHNORM) for module, mode in modes.items()})
        output = subject(x) if forward is None else forward(subject, x)
        found = [tensor for tensor in _tensors(output) if tensor.grad_fn is not None]
        traced.outputs.extend(tensor.grad_fn for tensor in found)
        return found

    with _traceable(model), _noted(model, traced):
        try:
            traced.dependencies.build_dependency(model, fit_example(model, example), forward_fn=run, verbose=False)
        except (RuntimeError, IndexError, AttributeError, TypeError, AssertionError) as error:
            raise PruneError(f"Cannot trace {type(model).__name__}: {type(error).__name__}: {error}") from error
        finally:
            _set_modes(modes)
    if not traced.dependencies.module2node:
        raise PruneError(f"Cannot trace {type(model).__name__}: no output depends on a weight.")
    return traced


def _set_modes(modes: dict[nn.Module, bool]) -> None:
    for module, training in modes.items():
        module.training = training


@contextmanager
def _traceable(model: nn.Module) -> Iterator[None]:
    """Gradients on for every weight: stripped checkpoints have none, and tracing then finds nothing, silently.

    Tensors saved for backward are dropped: only the graph's shape is wanted, and at 640 px they fill gigabytes.
    """
    flags = {parameter: parameter.requires_grad for parameter in model.parameters()}
    try:
        for parameter in flags:
            if parameter.is_floating_point():
                parameter.requires_grad_(True)
        with torch.enable_grad(), torch.autograd.graph.saved_tensors_hooks(lambda tensor: None, lambda none: none):
            yield
    finally:
        for parameter, flag in flags.items():
            parameter.requires_grad_(flag)


@contextmanager
def _noted(model: nn.Module, traced: Trace) -> Iterator[None]:
    """Note every call of a counted layer without weights: only its autograd node tells whose channels it works on.

    And the positions of transposed convolutions, which are others for weights and for biases.
    """

    def note(name: str) -> Any:
        def hook(module: nn.Module, args: Any, output: Tensor) -> None:
            counted = args[0] if MODULES_MAPPING[type(module)] is pool_flops_counter_hook else output
            traced.calls.setdefault(name, []).append(Call(output.grad_fn, output.shape[1], counted.numel()))

        return hook

    def note_places(name: str) -> Any:
        def hook(module: nn.Module, args: Any, output: Tensor) -> None:
            now, before = (args[0], output), traced.places.get(name, (0, 0))
            traced.places[name] = tuple(sum(pair) for pair in zip(before, map(_positions, now), strict=True))

        return hook

    weightless = [
        (name, module)
        for name, module in model.named_modules()
        if type(module) in MODULES_MAPPING and next(module.parameters(), None) is None
    ]
    hooks = [module.register_forward_hook(note(name)) for name, module in weightless]
    for name, module in model.named_modules():
        if isinstance(module, TRANSPOSED):
            hooks.append(module.register_forward_hook(note_places(name)))
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def _positions(tensor: Tensor) -> int:
    return math.prod(tensor.shape[2:])


def _tensors(output: Any) -> list[Tensor]:
    if isinstance(output, Tensor):
        return [output]
    if isinstance(output, dict):
        output = list(output.values())
    if isinstance(output, (list, tuple)):
        return [tensor for part in output for tensor in _tensors(part)]
    return []
