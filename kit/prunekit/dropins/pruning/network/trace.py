# SPDX-License-Identifier: AGPL-3.0-or-later
"""Run a model once under torch-pruning's tracer, whatever state its checkpoint left it in."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
import torch_pruning as tp
from torch import Tensor, nn
from torch_pruning import ops
from torch_pruning.dependency import index_mapping, shape_infer
from torch_pruning.ops import TORCH_BATCHNORM
from torch_pruning.utils.op_counter import MODULES_MAPPING, pool_flops_counter_hook

from ..errors import PruneError
from .calls import Calls, noted, place_of, sealed, unchanged
from .counts import TRANSPOSED, Forward, fit_example
from .flow import Flow, follow

_SHAPING = (
    ops.OPTYPE.CONCAT,
    ops.OPTYPE.SPLIT,
    ops.OPTYPE.SLICE,
    ops.OPTYPE.RESHAPE,
    ops.OPTYPE.UNBIND,
    ops.OPTYPE.EXPAND,
)


@dataclass(frozen=True)
class Call:
    """One call of a layer without weights.

    Attributes:
        function: its autograd node.
        shape: of its output.
        elements: that count as MACs.
        parent: name of the module that called it.
    """

    function: Any
    shape: tuple[int, ...]
    elements: int
    parent: str = ""


@dataclass
class Trace:
    """What one traced forward showed.

    Attributes:
        dependencies: torch-pruning's graph.
        names: module -> first name in the model's order.
        outputs: the autograd nodes of the model's outputs.
        calls: for each counted layer without weights (pooling, upsampling, ...): what each of its calls was.
        places: transposed convolution -> positions of its input and of its output, summed over its calls.
        barriers: node of the graph -> why the channels that reach it must stay.
        sealed: module that could not be traced, by name -> why.
        operations: the kinds of autograd's nodes, in order.
        dims: autograd node -> the dimension of its output along which channels that may go lie.
    """

    dependencies: tp.DependencyGraph
    names: dict[nn.Module, str]
    outputs: list[Any] = field(default_factory=list)
    calls: dict[str, list[Call]] = field(default_factory=dict)
    places: dict[str, tuple[int, int]] = field(default_factory=dict)
    barriers: dict[Any, str] = field(default_factory=dict)
    sealed: dict[str, str] = field(default_factory=dict)
    operations: tuple[str, ...] = ()
    dims: dict[Any, int] = field(default_factory=dict)


class Graph(tp.DependencyGraph):
    """torch-pruning's graph with the widths that were traced, where it guesses them from the layers around."""

    def build_dependency(self, *args: Any, **kwargs: Any) -> tp.DependencyGraph:
        """As upstream's, without index mappings: `settle` makes them when the channels have been followed."""
        with _patched(index_mapping, "update_index_mapping"), _patched(shape_infer, "init_shape_information"):
            return super().build_dependency(*args, **kwargs)

    def get_pruning_group(self, *args: Any, **kwargs: Any) -> Any:
        """As upstream's; the sizes of a concatenation are known, so nothing is compared with a guess."""
        with _patched(shape_infer, "infer_in_channels_recursively"):
            return super().get_pruning_group(*args, **kwargs)


@contextmanager
def _patched(module: Any, name: str) -> Iterator[None]:
    """`module.name` does nothing for a while."""
    original = getattr(module, name)
    setattr(module, name, lambda *args, **kwargs: None)
    try:
        yield
    finally:
        setattr(module, name, original)


def trace(model: nn.Module, example: Tensor, forward: Forward | None, opaque: Mapping[str, str] | None = None) -> Trace:
    """Trace one forward of `model`; its requires_grad and training flags are as before afterwards.

    A module whose forward fails under the tracer (it leaves autograd, or writes into a weight) is run without it: what
    goes in and what comes out keeps its channels.

    Args:
        opaque: module name -> why it is not to be looked into: what is tied to any operation in it keeps its channels.

    Raises:
        PruneError: the forward failed, or its outputs do not depend on any weight.
    """
    shut: dict[str, str] = {}
    while True:
        traced = Trace(Graph(), {module: name for name, module in model.named_modules()}, sealed=shut)
        calls = Calls()
        try:
            _run(model, example, forward, traced, calls)
            break
        except (RuntimeError, IndexError, AttributeError, TypeError, AssertionError, ValueError, KeyError) as error:
            reason = f"{type(error).__name__}: {next(iter(str(error).strip().splitlines()), '')}"
            where = calls.failed_in(model)
            if where is None or where in shut:
                name = f"{place_of(model, where)} of {type(model).__name__}" if where else type(model).__name__
                raise PruneError(f"Cannot trace {name}: {reason}") from error
            shut[where] = f"{place_of(model, where)} cannot be traced ({reason})"
    if not traced.dependencies.module2node:
        raise PruneError(f"Cannot trace {type(model).__name__}: no output depends on a weight.")
    settle(model, traced, calls, {**shut, **(opaque or {})})
    return traced


def _run(model: nn.Module, example: Tensor, forward: Forward | None, traced: Trace, calls: Calls) -> None:
    modes = {module: module.training for module in model.modules()}

    def run(subject: nn.Module, x: Tensor) -> Any:
        # torch-pruning has just called eval(), which hides training-only branches; statistics must not move, though
        _set_modes({module: mode and not isinstance(module, TORCH_BATCHNORM) for module, mode in modes.items()})
        output = subject(x) if forward is None else forward(subject, x)
        found = [tensor for tensor in tensors(output) if tensor.grad_fn is not None]
        traced.outputs.extend(tensor.grad_fn for tensor in found)
        return found

    with ExitStack() as stack:
        around = (
            *(_unhooked(model), _traceable(model), unchanged(model)),
            *(_counted(model, traced, calls), noted(model, calls)),
        )
        for context in around:
            stack.enter_context(context)
        for name in traced.sealed:
            stack.enter_context(sealed(model.get_submodule(name)))
        try:
            traced.dependencies.build_dependency(model, fit_example(model, example), forward_fn=run, verbose=False)
        finally:
            _set_modes(modes)


def settle(model: nn.Module, traced: Trace, calls: Calls, opaque: Mapping[str, str]) -> None:
    """Bring torch-pruning's graph in line with where the channels were seen to go."""
    flow = follow(model, traced.outputs, calls.layers, calls.inside(opaque))
    graph, traced.operations = traced.dependencies, flow.operations
    traced.dims = {node: dim for node, dim in flow.dims.items() if dim is not None and dim >= 0}
    nodes = {node.grad_fn: node for node in graph.module2node.values()}
    nodes.update({out: graph.module2node[c.module] for out, c in calls.layers.items() if c.module in graph.module2node})
    for function, reason in flow.barriers.items():
        if function in nodes:
            where = "" if reason in opaque.values() else calls.where(function, model)
            traced.barriers[nodes[function]] = where + reason
            nodes[function].dependencies = []
    _cut(flow, nodes)
    for function, node in nodes.items():
        node.enable_index_mapping = function in flow.stacks
        if function in flow.stacks and node.type == ops.OPTYPE.CONCAT:
            node.module.concat_sizes = list(flow.stacks[function])
        elif node.type in _SHAPING:
            node.type = ops.OPTYPE.ELEMENTWISE  # nothing of it is to be guessed from the layers around


def _cut(flow: Flow, nodes: Mapping[Any, Any]) -> None:
    """Take out the couplings between nodes that no channels pass, unless another call of the two couples them."""
    pairs = {(nodes[a], nodes[b]) for a, b in flow.cuts if a in nodes and b in nodes}
    kept = {
        (nodes[a], nodes[b])
        for a in nodes
        for b, _ in a.next_functions
        if b in nodes and (a, b) not in flow.cuts and (nodes[a], nodes[b]) in pairs
    }
    for after, before in pairs - kept:
        after.dependencies = [dep for dep in after.dependencies if dep.target is not before]
        before.dependencies = [dep for dep in before.dependencies if dep.target is not after]


def _set_modes(modes: dict[nn.Module, bool]) -> None:
    for module, training in modes.items():
        module.training = training


@contextmanager
def _unhooked(model: nn.Module) -> Iterator[None]:
    """No hook stays: torch-pruning removes its own only where the forward succeeds, and with them nothing is saved."""
    before = {module: set(module._forward_hooks) for module in model.modules()}
    try:
        yield
    finally:
        for module, keys in before.items():
            for key in module._forward_hooks.keys() - keys:
                del module._forward_hooks[key]


@contextmanager
def _traceable(model: nn.Module) -> Iterator[None]:
    """Gradients on for every weight: stripped checkpoints have none, and tracing then finds nothing, silently.

    Tensors saved for backward are dropped: only the graph's shape is wanted, and at 640 px they fill gigabytes.
    """
    flags = {parameter: parameter.requires_grad for parameter in model.parameters()}
    try:
        for parameter in flags:
            if parameter.grad_fn is not None:  # upstream's fuse() writes weights with autograd on
                parameter.detach_()
            if parameter.is_floating_point():
                parameter.requires_grad_(True)
        with torch.enable_grad(), torch.autograd.graph.saved_tensors_hooks(lambda tensor: None, lambda none: none):
            yield
    finally:
        for parameter, flag in flags.items():
            parameter.requires_grad_(flag)


@contextmanager
def _counted(model: nn.Module, traced: Trace, calls: Calls) -> Iterator[None]:
    """Note every call of a counted layer without weights: only its autograd node tells whose channels it works on.

    And the positions of transposed convolutions, which are others for weights and for biases.
    """

    def note(name: str) -> Any:
        def hook(module: nn.Module, args: Any, output: Tensor) -> None:
            counted = args[0] if MODULES_MAPPING[type(module)] is pool_flops_counter_hook else output
            parent = calls.active[-2][0] if len(calls.active) > 1 else ""
            call = Call(output.grad_fn, tuple(output.shape), counted.numel(), parent)
            traced.calls.setdefault(name, []).append(call)

        return hook

    def note_places(name: str) -> Any:
        def hook(module: nn.Module, args: Any, output: Tensor) -> None:
            taken, given = traced.places.get(name, (0, 0))
            traced.places[name] = taken + _positions(args[0]), given + _positions(output)

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


def tensors(output: Any) -> list[Tensor]:
    """All tensors of a nested output, in order."""
    if isinstance(output, Tensor):
        return [output]
    if isinstance(output, dict):
        output = list(output.values())
    if isinstance(output, (list, tuple)):
        return [tensor for part in output for tensor in tensors(part)]
    return []
