# SPDX-License-Identifier: AGPL-3.0-or-later
"""A network's YAML travels in its checkpoint, and upstreams evaluate parts of it as Python when they build from it.

So it is looked at before it is built: a row may name a module class, its arguments and the activation may be what such
files hold (numbers, names, `nn.LeakyReLU(0.1)`), and nothing else is evaluated.
"""

from __future__ import annotations

import ast
import builtins
import inspect
import re
from collections.abc import Mapping
from typing import Any

from torch import nn

from ..errors import PruneError
from .allowed import Rules, never_in

# ASCII: Python reads other letters as these, so that a name could mean what it does not look like.
_DOTTED = re.compile(r"(?:(?:torch\.)?nn\.)?\w+|torchvision\.ops\.\w+", re.ASCII)
_LISTS = (list, tuple)
_VALUES = (
    ast.Expression,
    ast.Constant,
    ast.Name,
    ast.Load,
    ast.List,
    ast.Tuple,
    ast.UnaryOp,
    ast.USub,
    ast.UAdd,
    ast.BinOp,
    ast.Add,
    ast.Sub,
    ast.Mult,
    ast.Div,
    ast.FloorDiv,
    ast.keyword,
    ast.Subscript,
    ast.Slice,
    ast.Attribute,
    ast.Call,
)


def require_rows(d: Mapping[str, Any], known: Mapping[str, Any], rules: Rules, *, evaluated: bool) -> None:
    """Refuse a network's YAML of which building would run anything but module classes.

    Args:
        d: the YAML's content, as `parse_model` gets it.
        known: the names that `parse_model` finds modules by.
        rules: the family's.
        evaluated: does this upstream evaluate the rows' arguments as Python?

    Raises:
        PruneError: naming the row and what it would run.
    """
    if (act := d.get("activation")) is not None:
        _require_plain(_is(act, (str,), "activation"), "activation")
    parts = [() if d.get(part) is None else _is(d[part], _LISTS, part) for part in ("backbone", "head")]
    for number, row in enumerate([*parts[0], *parts[1]]):
        where = f"row {number}"
        if len(_is(row, _LISTS, where)) != 4:
            continue  # upstream says what is wrong with it
        if not isinstance(row[2], type):  # a class was looked at when the file was read
            _require_module(_is(row[2], (str,), where), where, known, rules)
        for value in _is(row[3], _LISTS, where):
            if evaluated:
                _require_plain(value, where)


def _is(value: Any, kinds: tuple[type, ...], where: str) -> Any:
    """The value, if it is of exactly one of these types: what upstream takes apart or evaluates may be no other.

    A dictionary of four keys comes apart as a row does, `eval` takes bytes as it takes text.
    """
    if type(value) not in kinds:
        raise _wrong(where, repr(value))
    return value


def _require_module(name: str, where: str, known: Mapping[str, Any], rules: Rules) -> None:
    """PruneError unless a row's module is the name of a class of modules, or of nothing at all."""
    found = known.get(name, vars(builtins).get(name, nn.Identity))  # unknown: upstream names it
    if not _DOTTED.fullmatch(name) or not isinstance(found, type) or not issubclass(found, nn.Module):
        raise _wrong(where, name)
    if never_in(found, rules) or _builds_from_file(found):
        raise _wrong(where, name)


def _builds_from_file(kind: type) -> bool:
    """Is this a whole network, which opens or fetches the YAML that it is given the name of?"""
    try:
        return "cfg" in inspect.signature(kind).parameters
    except (TypeError, ValueError):
        return False


def _require_plain(text: Any, where: str) -> None:
    """PruneError for an expression that does more than say a value; calls are of torch.nn's classes only."""
    if not isinstance(text, str):
        return
    try:
        tree = ast.parse(text.lstrip(" \t"), mode="eval")  # as eval() does
    except (SyntaxError, ValueError):
        return  # neither can upstream evaluate it
    if not text.isascii():
        raise _wrong(where, text)
    for node in ast.walk(tree):
        called = node.func if isinstance(node, ast.Call) else node if isinstance(node, ast.Attribute) else None
        repeats = isinstance(node, ast.BinOp) and any(map(_is_row, (node.left, node.right)))
        if repeats or not isinstance(node, _VALUES) or (called is not None and not _of_torch_nn(called)):
            raise _wrong(where, text)


def _is_row(node: ast.AST) -> bool:
    """A list or a text, which an arithmetic expression would repeat until memory is full."""
    return isinstance(node, (ast.List, ast.Tuple)) or isinstance(getattr(node, "value", None), (str, bytes))


def _of_torch_nn(node: ast.AST) -> bool:
    """`nn.X` or `torch.nn.X` with X a class of modules, or `torch.nn` on the way to it."""
    name = ast.unparse(node)
    if name == "torch.nn":
        return True
    kind = getattr(nn, name.removeprefix("torch.").removeprefix("nn."), None)
    return name.startswith(("nn.", "torch.nn.")) and isinstance(kind, type) and issubclass(kind, nn.Module)


def _wrong(where: str, text: str) -> PruneError:
    shown = " ".join(text.split())[:80]
    return PruneError(
        f"{where} of this network's YAML (model.yaml in a checkpoint) would run '{shown}', which is no module of a "
        "network: refused. Build from a YAML of your own, or use another checkpoint"
    )
