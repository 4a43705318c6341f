# SPDX-License-Identifier: AGPL-3.0-or-later
"""Does a patch mean at its new place what it meant at the old one? Its lines may fit and yet do something else.

Compared are the patched file at the pin and the patched file now, at each place that the patch changes: what stands
around it (loops, conditions, a `with`), the ways that lead past it (an early return), what binds the names it reads.
"""

from __future__ import annotations

import ast
from collections import Counter
from collections.abc import Sequence

from prunekit.porting import flow
from prunekit.porting.anchors import Refused
from prunekit.porting.line_edits import Edit
from prunekit.porting.syntax_blocks import parse, tree_of

Span = tuple[int, int]
Side = tuple[Sequence[flow.Step], "ast.AST | None", ast.Module]


def spans(changes: Sequence[Edit]) -> list[Span]:
    """Return where the new lines of each edit stand when all are made: first and last line, counted from 1."""
    order = sorted(range(len(changes)), key=lambda n: (changes[n].first, changes[n].last))
    found, shift = [(0, 0)] * len(changes), 0
    for number in order:
        it = changes[number]
        found[number] = (it.first + shift + 1, it.first + shift + len(it.lines))
        shift += len(it.lines) - (it.last - it.first)
    return found


def check_meaning(before: str, after: str, pairs: Sequence[tuple[Span, Span]]) -> None:
    """Refuse a patched file in which a place means something else than in the patched file of the pin.

    `pairs` are the same lines of the patch in both: (first, last) in `before` and in `after`.
    """
    one, other = parse(before).tree, parse(after).tree
    assert one is not None and other is not None
    for old, new in pairs:
        if old[1] >= old[0]:
            _check(one, other, old, new)


def _check(before: ast.Module, after: ast.Module, old: Span, new: Span) -> None:
    """Compare one place."""
    ways = flow.way_to(before, *old), flow.way_to(after, *new)
    if not all(ways):
        return
    (was, own), (now, there) = (flow.function_of(way) for way in ways)
    _check_function(was, now)
    _check_around(*ways)
    _check_definitions(before, after, *ways)
    _check_exits(own, there)
    lines = [_nodes(way, span) for way, span in zip(ways, (old, new), strict=True)]
    made = {it for node in lines[0] for it in flow.bound_in(node)}
    for path in sorted(flow.reads(lines[0], *old)):
        if path.partition(".")[0].partition("[")[0] not in made:
            _check_bindings(path, (own, was, before), (there, now, after))


def _nodes(way: Sequence[flow.Step], span: Span) -> list[ast.AST]:
    """Return the statements of a body that the lines hold or touch."""
    step = way[-1]
    return [it for it in step.siblings[step.index :] if getattr(it, "lineno", 0) <= span[1]]


def _check_function(was: ast.AST | None, now: ast.AST | None) -> None:
    """Refuse a function that runs in another way: decorated otherwise, as a generator, asynchronously."""
    if was is None or now is None:
        return
    name = getattr(now, "name", "")
    if type(was) is not type(now) or flow.is_generator(was) != flow.is_generator(now):
        raise Refused(f"{name} is another kind of function by now (generator, async): its lines run at another time")
    sides = [Counter(tree_of(it) for it in getattr(node, "decorator_list", [])) for node in (was, now)]
    if sides[0] != sides[1]:
        shown = ", ".join(f"@{ast.unparse(it)}" for it in getattr(now, "decorator_list", [])) or "none"
        raise Refused(f"{name} has other decorators by now: {shown}")


def _check_definitions(
    before: ast.Module, after: ast.Module, own: Sequence[flow.Step], there: Sequence[flow.Step]
) -> None:
    """Refuse a function whose name, or whose class's name, something else takes by now: `step = once(step)` below it.

    That is a decorator in another spelling; a later function of the same name would leave the place unused.
    """
    ours, theirs = (flow.definitions(tree, way) for tree, way in ((before, own), (after, there)))
    for (scope, path), (other, also) in zip(ours, theirs, strict=False):
        if path != also:
            return  # moved into another class: what its name means there is compared with nothing
        were, are = flow.values_of(scope, path), flow.values_of(other, path)
        kept = Counter(it.key for it in were) & Counter(it.key for it in are)
        for it in _without(are, kept):
            raise Refused(f"upstream's `{it.text}` in line {it.line} takes the place of {path} by now")
        for it in _without(were, kept):
            raise Refused(f"`{it.text}`, which took the place of {path}, no longer does")
    for one, two in zip(flow.classes_of(own), flow.classes_of(there), strict=False):
        _check_function(one, two)


def _check_around(own: Sequence[flow.Step], there: Sequence[flow.Step]) -> None:
    """Refuse a place that stands in more or fewer loops, conditions or other blocks than it did."""
    ours, theirs = flow.around(own), flow.around(there)
    if [it[:2] for it in ours] == [it[:2] for it in theirs]:
        return
    more = [step for step in there if flow.around([step]) and flow.around([step])[0] not in ours]
    gone = [it for it in ours if it not in theirs]
    if more:
        node = more[0].parent
        line, text = getattr(node, "lineno", 0), ast.unparse(node).splitlines()[0]
        effect = "would run once for each pass" if isinstance(node, flow.LOOPS) else "would not run as it did"
        raise Refused(f"the place stands inside `{text}` (line {line}) by now: the lines {effect}")
    kind = gone[0][0].lower() if gone else "block"
    raise Refused(
        f"the place no longer stands inside the `{kind}` that it stood in: the lines would not run as they did"
    )


def _check_exits(own: Sequence[flow.Step], there: Sequence[flow.Step]) -> None:
    """Refuse a place that a new way leads past, or that an old one no longer does."""
    ours = Counter(it[0] for it in flow.exits(own))
    theirs: Counter[str] = Counter()
    for name, line, text in flow.exits(there):
        theirs[name] += 1
        if theirs[name] > ours[name]:
            raise Refused(f"upstream's `{text}` in line {line} leads past the place by now")
    gone = ours - theirs
    if gone:
        kind = next(iter(gone)).partition(" ")[0].lower()
        raise Refused(f"a `{kind}` that led past the place is gone: the lines would run where they did not")


def _check_bindings(path: str, before: Side, after: Side) -> None:
    """Refuse a place where what the lines read is bound by more statements than it was, by others, or by none.

    A statement that upstream has changed may stand for the one that it was: where that one is gone, and this one new.
    """
    ours, theirs = (_found(path, *side) for side in (before, after))
    kept = Counter(it.key for it in ours) & Counter(it.key for it in theirs)
    gone, new = _without(ours, kept), _without(theirs, kept)
    if len(new) > len(gone):
        _refuse(path, new[0])
    were, are = ({it.key for it in flow.every_binding(side[1] or side[2], path)} for side in (before, after))
    for one, other in zip(gone, new, strict=False):
        replaced = one.line and other.line and one.key not in are and other.key not in were
        if not replaced or (other.empty and not one.empty) or (other.wraps and not one.wraps):
            _refuse(path, other)
    if len(gone) > len(new):
        raise Refused(f"`{gone[-1].text}`, which gave {path} its value, no longer does")


def _refuse(path: str, it: flow.Binding) -> None:
    """Refuse for one binding."""
    if not it.line:
        raise Refused(f"{path}, which the lines use, does not get its value where it did")
    raise Refused(f"upstream's `{it.text}` in line {it.line} changes {path}, which the lines use")


def _found(path: str, steps: Sequence[flow.Step], function: ast.AST | None, tree: ast.Module) -> list[flow.Binding]:
    """Return the bindings of a path, those of the module for one that comes from outside of the function."""
    found = flow.bindings(steps, function, path)
    if function is not None and found[-1].key == "outside":
        found += flow.every_binding(tree, path)
    return found


def _without(found: Sequence[flow.Binding], kept: Counter[str]) -> list[flow.Binding]:
    """Return the bindings less those that both sides have."""
    left, rest = Counter(kept), []
    for it in found:
        if left[it.key]:
            left[it.key] -= 1
        else:
            rest.append(it)
    return rest
