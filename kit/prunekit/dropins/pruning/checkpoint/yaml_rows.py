# SPDX-License-Identifier: AGPL-3.0-or-later
"""A network's YAML travels in its checkpoint, and upstreams evaluate parts of it as Python when they build from it.

So it is looked at before it is built: a row may name a module class, its arguments and the activation may be what such
files hold (numbers, names, `nn.LeakyReLU(0.1)`), and nothing else is evaluated.
"""

from __future__ import annotations

import ast
import builtins
import re
from collections.abc import Mapping
from typing import Any

from torch import nn

from ..errors import PruneError
from .allowed import Rules, never_in

_DOTTED = re.compile(r"(?:(?:torch\.)?nn\.)?\w+|torchvision\.ops\.\w+")
_VALUES = (
    ast.Expression, ast.Constant, ast.Name, ast.Load, ast.List, ast.Tuple, ast.UnaryOp, ast.USub, ast.UAdd, ast.BinOp,
    ast.Add, ast.Sub, ast.Mult, ast.Div, ast.FloorDiv, ast.keyword, ast.Subscript, ast.Slice, ast.Attribute, ast.Call,
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
    if act := d.get("activation"):
        _require_plain(act, "activation")
    rows = [*(d.get("backbone") or ()), *(d.get("head") or ())]
    for number, row in enumerate(rows):
        if not isinstance(row, (list, tuple)) or len(row) != 4:
            continue  # upstream says what is wrong with it
        _require_module(row[2], f"row {number}", known, rules)
        for value in row[3] if evaluated and isinstance(row[3], (list, tuple)) else ():
            _require_plain(value, f"row {number}")


def _require_module(name: Any, where: str, known: Mapping[str, Any], rules: Rules) -> None:
    """PruneError unless a row's module is the name of a class of modules, or of nothing at all."""
    if not isinstance(name, str):
        return
    found = known.get(name, vars(builtins).get(name, nn.Identity))  # unknown: upstream names it
    if not _DOTTED.fullmatch(name) or not isinstance(found, type) or not issubclass(found, nn.Module):
        raise _wrong(where, name)
    if never_in(found, rules):
        raise _wrong(where, name)


def _require_plain(text: Any, where: str) -> None:
    """PruneError for an expression that does more than say a value; calls are of torch.nn's classes only."""
    if not isinstance(text, str):
        return
    try:
        tree = ast.parse(text.lstrip(" \t"), mode="eval")  # as eval() does
    except (SyntaxError, ValueError):
        return  # neither can upstream evaluate it
    for node in ast.walk(tree):
        called = node.func if isinstance(node, ast.Call) else node if isinstance(node, ast.Attribute) else None
        if not isinstance(node, _VALUES) or (called is not None and not _of_torch_nn(called)):
            raise _wrong(where, text)


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
