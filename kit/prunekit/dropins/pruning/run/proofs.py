# SPDX-License-Identifier: AGPL-3.0-or-later
"""Proofs of a process, by what they depend on: a run opens networks of the same form again and again."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from types import FunctionType
from typing import Any

import torch
from torch import Tensor, nn

from ..family.contract import Family
from ..planning.proof import Proof, prove

_proofs: dict[object, Proof] = {}
_MACHINERY = frozenset(vars(nn.Module())) - {"training"}
_DEEPEST = 8  # of attributes within attributes


def proved(family: Family, model: nn.Module, ignored: Mapping[str, str], form: object) -> Proof:
    """The proof of a network; one that differs in nothing but weights is not proved twice in a process.

    Args:
        ignored: layers whose channels stay.
        form: of its graph at the run's size.
    """
    example = family.example(model)
    key = (_structure(model), tuple(ignored.items()), tuple(example.shape), form, type(family), _plain(family.rules))
    if key not in _proofs:
        _proofs[key] = prove(model, example, tracing=family.tracing, ignored=ignored, rules=family.rules, form=form)
    return _proofs[key]


def _structure(model: nn.Module) -> tuple[object, ...]:
    """All of a network but the values of its weights: which modules, and every attribute that a forward may ask for."""
    first: dict[int, int] = {}
    shared = [first.setdefault(id(p), at) for at, (_, p) in enumerate(model.named_parameters(remove_duplicate=False))]
    modules = tuple((name, type(module), _plain(_attributes_of(module))) for name, module in model.named_modules())
    return modules, tuple(tuple(parameter.shape) for parameter in model.parameters()), tuple(shared)


def _attributes_of(module: nn.Module) -> list[Any]:
    """Its own attributes, buffers (of a norm, statistics) and hooks."""
    norm = isinstance(module, nn.modules.batchnorm._NormBase)
    own = [(key, value) for key, value in vars(module).items() if key not in _MACHINERY]
    hooks = [*module._forward_hooks.values(), *module._forward_pre_hooks.values()]
    return [*own, *(() if norm else module.named_buffers(recurse=False)), *hooks]


def _plain(value: Any, depth: int = 0) -> object:
    """A value that can be compared and hashed: equal for equal content; what has none to be seen stands for itself."""
    if value is None or isinstance(value, (bool, int, float, complex, str, bytes, type)):
        return type(value).__name__, repr(value) if isinstance(value, float) else value  # nan is not equal to itself
    if isinstance(value, Tensor):
        data = value.detach().cpu().contiguous().flatten()
        return str(data.dtype), tuple(value.shape), hashlib.sha256(data.view(torch.uint8).numpy().tobytes()).digest()
    if hasattr(value, "tobytes"):  # an array
        return str(getattr(value, "dtype", "")), hashlib.sha256(value.tobytes()).digest()
    parts = _parts(value) if depth < _DEEPEST else None
    if parts is None:
        return value if type(value).__hash__ is not None else id(value)
    return type(value), tuple(_plain(each, depth + 1) for each in parts)


def _parts(value: Any) -> list[Any] | None:
    """What a value consists of; None if it cannot be seen."""
    if isinstance(value, (list, tuple)):
        return list(value)
    if isinstance(value, dict):
        return [each for pair in value.items() for each in pair]
    if isinstance(value, FunctionType):
        cells = [cell.cell_contents for cell in value.__closure__ or ()]
        return [value.__module__, value.__qualname__, value.__code__.co_code, value.__defaults__, cells]
    if isinstance(value, nn.Module):
        return [*_attributes_of(value), *value._modules.values()]
    return list(vars(value).items()) if hasattr(value, "__dict__") else None
