# SPDX-License-Identifier: AGPL-3.0-or-later
"""Is what inserted lines read still there? A place whose variables are gone is no place, however well its lines fit."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Sequence

from prunekit.porting.anchors import Gap, Refused
from prunekit.porting.syntax_blocks import Item, Source

_DEFS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)


def check_names(before: Source, after: Source, gap: Gap, found: Gap, inside: Sequence[Item]) -> None:
    """Refuse a place where a name that the inserted statements read is no longer bound, though it was at the old one.

    Names are those of the function before the place, of the functions around it, and of the module.
    """
    wanted, brought = set[str](), set[str]()
    for node in (item.node for item in inside if item.node):
        names = [it for it in ast.walk(node) if isinstance(it, ast.Name) and isinstance(it.ctx, ast.Load)]
        wanted |= {it.id for it in names} - brought
        brought |= set(_bound_by([node]))
    was, now = (_visible(source, place) for source, place in ((before, gap), (after, found)))
    gone = sorted(wanted & was - now)
    if gone:
        raise Refused(f"{', '.join(gone)}, which the inserted lines use, {'is' if len(gone) == 1 else 'are'} not there")


def _visible(source: Source, gap: Gap) -> set[str]:
    """Return the names that are bound at a gap."""
    names = set(_bound_by(source.tree.body)) if source.tree else set()
    around: list[ast.AST] = []
    for part in gap.block.scope.split(".") if gap.block.scope else []:
        body = around[-1].body if around else source.tree.body  # type: ignore[union-attr,attr-defined]
        around += [node for node in _statements(body) if isinstance(node, _DEFS) and node.name == part][:1]
    for number, node in enumerate(around):
        if isinstance(node, ast.ClassDef):
            continue  # its names are not seen in its methods
        names |= {arg.arg for arg in ast.walk(node.args) if isinstance(arg, ast.arg)}  # type: ignore[attr-defined]
        own = number == len(around) - 1
        names |= set(_bound_by(node.body, gap.line if own else None))  # type: ignore[attr-defined]
    return names


def _statements(body: Sequence[ast.AST]) -> Iterator[ast.AST]:
    """Yield all nodes below, not entering functions and classes."""
    for node in body:
        yield node
        if not isinstance(node, _DEFS):
            yield from _statements(list(ast.iter_child_nodes(node)))


def _bound_by(body: Sequence[ast.AST], until: float | None = None) -> Iterator[str]:
    """Yield the names that statements bind, those that begin before line `until`."""
    for node in _statements(body):
        if until is not None and getattr(node, "lineno", 0) > until:
            continue
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.id
        elif isinstance(node, _DEFS):
            yield node.name
        elif isinstance(node, ast.alias):
            yield (node.asname or node.name).partition(".")[0]
        elif isinstance(node, ast.ExceptHandler) and node.name:
            yield node.name
