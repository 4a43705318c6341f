# SPDX-License-Identifier: AGPL-3.0-or-later
"""Which module was at work when: its calls, what went into the layers, and where a forward failed."""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from .flow import _WRAPPED, LayerCall, Node

_now: Callable[[], int] = torch._C._autograd._get_sequence_nr


@dataclass
class Calls:
    """The calls of one forward.

    Attributes:
        layers: output node of each call of a layer that torch-pruning knows -> what went in.
        spans: (first, last + 1 of autograd's sequence numbers, module name) of each call, inner ones first.
        idle: (module name, node of its output) of each call that made no node, as an identity does.
        active: the names of the modules at work; after a failure, of those in which it happened.
    """

    layers: dict[Node, LayerCall] = field(default_factory=dict)
    spans: list[tuple[int, int, str]] = field(default_factory=list)
    idle: list[tuple[str, Node]] = field(default_factory=list)
    active: list[tuple[str, int]] = field(default_factory=list)

    def failed_in(self, model: nn.Module) -> str | None:
        """The innermost module at work that is not one of torch's own; None if only the network itself is."""
        names = [name for name, _ in self.active if name]
        own = [n for n in names if not type(model.get_submodule(n)).__module__.startswith("torch.nn")]
        return own[-1] if own else None

    def inside(self, opaque: Mapping[str, str]) -> Callable[[Node], str | None]:
        """Why a node belongs to one of the modules in `opaque`, if so."""
        spans = [(first, last, opaque[name]) for first, last, name in self.spans if name in opaque]
        idle = {node: opaque[name] for name, node in self.idle if name in opaque}

        def reason(node: Node) -> str | None:
            number = node._sequence_nr()
            return idle.get(node) or next((why for first, last, why in spans if first <= number < last), None)

        return reason

    def where(self, node: Node, model: nn.Module) -> str:
        """The innermost module in whose call a node was made, for a reason: 'model.9 MHSA: '."""
        number = node._sequence_nr()
        name = next((name for first, last, name in self.spans if first <= number < last), "")
        return f"{place_of(model, name)}: " if name else ""


def place_of(model: nn.Module, name: str) -> str:
    """A module as messages name it: model.9 MHSA."""
    return f"{name} {type(model.get_submodule(name)).__name__}"


@contextmanager
def noted(model: nn.Module, calls: Calls) -> Iterator[None]:
    """Note every call of every module below `model`."""
    hooks = []
    for name, module in model.named_modules():
        hooks.append(module.register_forward_pre_hook(_begin(calls, name)))
        hooks.append(module.register_forward_hook(_end(calls, name)))
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def callers_in_use(model: nn.Module, example: Tensor, name: str) -> Counter[str]:
    """How often each module calls the module `name` in a forward in eval mode, on a copy."""
    subject, calls, found = copy.deepcopy(model).eval(), Calls(), Counter[str]()

    def count(module: nn.Module, args: Any) -> None:
        found[calls.active[-1][0] if calls.active else ""] += 1

    hook = subject.get_submodule(name).register_forward_pre_hook(count)
    try:
        with torch.no_grad(), noted(subject, calls):
            subject(example)
    finally:
        hook.remove()
    return found


def _begin(calls: Calls, name: str) -> Any:
    def hook(module: nn.Module, args: Any) -> None:
        calls.active.append((name, _now()))

    return hook


def _end(calls: Calls, name: str) -> Any:
    def hook(module: nn.Module, args: Any, output: Any) -> None:
        while calls.active and calls.active[-1][0] != name:
            calls.active.pop()
        if calls.active:
            calls.spans.append((calls.active.pop()[1], _now(), name))
            if calls.spans[-1][0] == calls.spans[-1][1]:
                calls.idle.extend((name, tensor.grad_fn) for tensor in _flat(output) if tensor.grad_fn is not None)
        node = output.grad_fn if isinstance(output, Tensor) else None
        if node is not None and isinstance(module, _WRAPPED) and args and isinstance(args[0], Tensor):
            calls.layers[node] = LayerCall(module, args[0].grad_fn, tuple(args[0].shape))

    return hook


class _Sealed(torch.autograd.Function):
    """What a module gave, tied to what went in, by nothing that channels could be followed through."""

    @staticmethod
    def forward(ctx: Any, output: Tensor, *inputs: Tensor) -> Tensor:
        return output.clone()

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        raise NotImplementedError


@contextmanager
def sealed(module: nn.Module) -> Iterator[None]:
    """`module` runs without autograd; its outputs hang on its inputs by one node."""
    own, original = module.__dict__.get("forward"), module.forward

    def forward(*args: Any, **kwargs: Any) -> Any:
        with torch.no_grad():
            output = original(*args, **kwargs)
        inputs = [tensor for tensor in _flat([args, kwargs]) if tensor.requires_grad]
        return _mapped(output, lambda tensor: _Sealed.apply(tensor, *inputs) if inputs else tensor)

    module.forward = forward
    try:
        yield
    finally:
        del module.forward
        if own is not None:
            module.forward = own


@contextmanager
def unchanged(model: nn.Module) -> Iterator[None]:
    """What a forward leaves behind is taken back: buffers that it wrote, and tensors with a graph that it kept.

    Such a tensor (an auxiliary loss, say) would hold the graph in memory, and `copy.deepcopy` refuses it.
    """
    buffers = [(module._buffers, name, b, b.clone()) for module in model.modules() for name, b in _own_buffers(module)]
    held = {module: dict(module.__dict__) for module in model.modules()}
    try:
        yield
    finally:
        with torch.no_grad():
            for owner, name, buffer, before in buffers:
                owner[name] = buffer.copy_(before)
        for module, attributes in held.items():
            for name, value in list(module.__dict__.items()):
                if any(tensor.grad_fn is not None for tensor in _flat(value)):
                    _take_back(module, name, attributes)


def _own_buffers(module: nn.Module) -> list[tuple[str, Tensor]]:
    return [(name, buffer) for name, buffer in module._buffers.items() if buffer is not None]


def _take_back(module: nn.Module, name: str, attributes: Mapping[str, Any]) -> None:
    """An attribute as it was before, if it was there; without its graph, if it had one or was changed in its place."""
    value = module.__dict__.pop(name)
    if name in attributes:
        before = attributes[name]
        graph = before is value or any(tensor.grad_fn is not None for tensor in _flat(before))
        module.__dict__[name] = _mapped(value, lambda tensor: tensor.detach()) if graph else before


def _flat(values: Any) -> list[Tensor]:
    if isinstance(values, Tensor):
        return [values]
    parts = values.values() if isinstance(values, dict) else values if isinstance(values, (list, tuple)) else ()
    return [tensor for part in parts for tensor in _flat(part)]


def _mapped(value: Any, change: Callable[[Tensor], Tensor]) -> Any:
    """A nested output with each floating-point tensor changed."""
    if isinstance(value, Tensor):
        return change(value) if value.is_floating_point() else value
    if isinstance(value, dict):
        return {key: _mapped(part, change) for key, part in value.items()}
    if isinstance(value, (list, tuple)):
        parts = [_mapped(part, change) for part in value]
        return parts if isinstance(value, list) else tuple(parts)
    return value
