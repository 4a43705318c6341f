# SPDX-License-Identifier: AGPL-3.0-or-later
"""A plan as a YAML file, and every way in which an edited one can be wrong."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import yaml

from ..errors import PruneError
from ..failures import reason_of
from ..files import check_yaml
from ..network.counts import Cost
from ..network.graph import nearest
from .depth import BlockEntry
from .plan import SCOPES, VERSION, Plan, PlanEntry

_HEAD = """\
# A pruning plan. Edit `keep` (1 to `channels`) of any group, then replay it with --plan.
# Groups with the same `tie` are the two halves of one block: give them the same keep. Costs are recomputed.
"""
_HEAD_BLOCKS = """\
# `blocks`: the bottlenecks that stay, numbered as in the network before; `groups` are those of the network after.
"""
_KEYS = ("version", "criterion", "scope", "seed", "example", "dense", "pruned", "notes", "groups", "frozen", "blocks")
_BLOCK_KEYS = ("name", "blocks", "keep", "error")
_GROUP_KEYS = ("name", "channels", "keep", "tie", "layers")


def write_plan(plan: Plan, path: Path) -> None:
    """Write `plan` to `path`: as it is being written, so put it in place with `files.write_whole`."""
    data = {
        "version": plan.version,
        "criterion": plan.criterion,
        "scope": plan.scope,
        "seed": plan.seed,
        "example": list(plan.example),
        "dense": {"macs": plan.dense.macs, "params": plan.dense.params},
        "pruned": {"macs": plan.pruned.macs, "params": plan.pruned.params},
        "notes": list(plan.notes),
        **({"blocks": [entry.as_dict() for entry in plan.blocks]} if plan.blocks else {}),
        "groups": [_entry_data(entry) for entry in plan.entries],
        "frozen": dict(plan.frozen),
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(
        _HEAD + (_HEAD_BLOCKS if plan.blocks else "") + yaml.safe_dump(data, sort_keys=False, width=120),
        encoding="utf-8",
    )


def _entry_data(entry: PlanEntry) -> dict[str, Any]:
    tie = {} if entry.tie is None else {"tie": entry.tie}
    return {"name": entry.name, "channels": entry.channels, "keep": entry.keep, **tie, "layers": list(entry.layers)}


def read_plan(path: Path) -> Plan:
    """Read and check a plan file.

    Raises:
        PruneError: naming the file, the line and what is wrong.
    """
    check_yaml("--plan", path)
    try:
        text = path.read_text(encoding="utf-8")
        data, tree = yaml.safe_load(text), yaml.compose(text, Loader=yaml.SafeLoader)
    except (OSError, UnicodeDecodeError, RecursionError, ValueError) as error:
        raise PruneError(f"Cannot read the plan {path}: {reason_of(error)}.") from error
    except yaml.YAMLError as error:
        raise PruneError(f"The plan {path} is not YAML: {' '.join(str(error).split())}.") from error
    if not isinstance(data, dict):
        raise PruneError(f"{path} is not a plan: it holds no mapping. Write one with --plan-only.")
    _check_once(path, tree)
    _check_keys(data, _KEYS, _KEYS[:1] + _KEYS[4:7] + ("groups",), f"{path}")
    blocks = _blocks(path, data.get("blocks"), _lines(tree, "blocks"))
    none = bool(blocks) and data["groups"] == []  # bottlenecks go, and no channels
    entries = () if none else _entries(path, data["groups"], _lines(tree, "groups"))
    return replace(_plan(path, data, entries), blocks=blocks)


def _plan(path: Path, data: Mapping[str, Any], entries: tuple[PlanEntry, ...]) -> Plan:
    if data["version"] != VERSION:
        raise PruneError(f"{path}: plan version {data['version']!r}, this engine reads {VERSION}. Make a new plan.")
    if data.get("scope", "local") not in SCOPES:
        raise PruneError(f"{path}: unknown scope {data['scope']!r}: local, global or sensitivity.")
    try:
        dense, pruned = (Cost(float(data[key]["macs"]), int(data[key]["params"])) for key in ("dense", "pruned"))
        example, seed = tuple(int(side) for side in data["example"]), int(data.get("seed", 0))
        frozen = {str(name): str(reason) for name, reason in (data.get("frozen") or {}).items()}
        if not 0 <= seed < 2**32:
            raise ValueError(f"seed {seed}")
    except (TypeError, ValueError, KeyError, AttributeError, OverflowError) as error:
        raise PruneError(
            f"{path}: dense, pruned, example, seed or frozen is damaged ({reason_of(error)}). Make a new plan."
        ) from error
    notes = data.get("notes") or ()
    if not isinstance(notes, (list, tuple)):
        raise PruneError(f"{path}: notes is {notes!r}, must be a list.")
    notes = tuple(map(str, notes))
    scope, criterion = data.get("scope", "local"), str(data.get("criterion", ""))
    return Plan(criterion, scope, entries, dense, pruned, example, frozen, notes, seed)


def _check_keys(data: Mapping[str, Any], known: tuple[str, ...], needed: tuple[str, ...], where: str) -> None:
    for key in data:
        if key not in known:
            raise PruneError(f"{where}: unknown key {key!r}.{nearest(str(key), known)}")
    for key in needed:
        if key not in data:
            raise PruneError(f"{where}: key {key!r} is missing.")


def _check_once(path: Path, tree: Any) -> None:
    """PruneError for a key that stands twice in one mapping, of which YAML would silently take the last."""
    nodes, seen = [tree], set()
    while nodes:
        node = nodes.pop()
        if id(node) in seen or isinstance(node, yaml.ScalarNode):  # an alias is the node that it names
            continue
        seen.add(id(node))
        pairs = node.value if isinstance(node, yaml.MappingNode) else [(None, value) for value in node.value]
        lines: dict[str, int] = {}
        for key, value in pairs:
            nodes.append(value)
            if not isinstance(key, yaml.ScalarNode):
                continue
            line = key.start_mark.line + 1
            if key.value in lines:
                raise PruneError(f"{path}, line {line}: {key.value} stands twice, also at line {lines[key.value]}.")
            lines[key.value] = line


def _lines(tree: yaml.Node, part: str) -> list[int]:
    """The line of each entry of `groups` or `blocks`, from 1."""
    for key, value in tree.value:
        if key.value == part and isinstance(value, yaml.SequenceNode):
            return [node.start_mark.line + 1 for node in value.value]
    return []


def _blocks(path: Path, blocks: Any, lines: list[int]) -> tuple[BlockEntry, ...]:
    """The blocks that lose bottlenecks; plans of older versions have none."""
    if blocks is not None and not isinstance(blocks, list):
        raise PruneError(f"{path}: blocks must be a list with one entry for each block that loses bottlenecks.")
    entries: dict[str, BlockEntry] = {}
    for block, line in zip(blocks or (), lines, strict=True):
        entry = block_entry(block, f"{path}, line {line}", line)
        if entry.name in entries:
            raise PruneError(f"{path}, line {line}: block {entry.name} stands twice.")
        entries[entry.name] = entry
    return tuple(entry for entry in entries.values() if entry.gone)


def block_entry(block: Any, where: str, line: int | None = None) -> BlockEntry:
    """An entry of `blocks`, of a plan or of a run's record.

    Raises:
        PruneError: it is none, after `where`.
    """
    if not isinstance(block, dict):
        raise PruneError(f"{where}: a block must have a name, blocks and keep.")
    _check_keys(block, _BLOCK_KEYS, _BLOCK_KEYS[:3], where)
    name, number, keep, error = block["name"], block["blocks"], block["keep"], block.get("error")
    if not isinstance(name, str) or type(number) is not int or not isinstance(error, (int, float, type(None))):
        raise PruneError(f"{where}: name {name!r}, blocks {number!r} or error {error!r} is not what it should be.")
    whole = isinstance(keep, list) and all(type(at) is int for at in keep)
    if not whole or not keep or keep != sorted(set(keep)) or not 0 <= keep[0] <= keep[-1] < number:
        raise PruneError(
            f"{where}: {name}: keep is {keep!r}, must be a rising list of the bottlenecks that stay, of 0 to "
            f"{number - 1}, at least one."
        )
    return BlockEntry(name, number, tuple(keep), error, line)


def _entries(path: Path, groups: Any, lines: list[int]) -> tuple[PlanEntry, ...]:
    if not isinstance(groups, list) or not groups:
        raise PruneError(f"{path}: groups must be a list with one entry for each group.")
    entries: dict[str, PlanEntry] = {}
    for group, line in zip(groups, lines, strict=True):
        where = f"{path}, line {line}"
        entry = _entry(group, where, line)
        if entry.name in entries:
            raise PruneError(f"{where}: group {entry.name} stands twice, also at line {entries[entry.name].line}.")
        entries[entry.name] = entry
    _check_halves(path, list(entries.values()))
    return tuple(entries.values())


def _entry(group: Any, where: str, line: int) -> PlanEntry:
    if not isinstance(group, dict):
        raise PruneError(f"{where}: a group must have a name, channels and keep.")
    _check_keys(group, _GROUP_KEYS, ("name", "channels", "keep"), where)
    name, channels, keep = group["name"], group["channels"], group["keep"]
    tie, layers = group.get("tie"), group.get("layers") or [name]
    if not isinstance(name, str) or not isinstance(tie, (str, type(None))):
        raise PruneError(f"{where}: name {name!r} and tie {tie!r} must be names.")
    if not isinstance(layers, list) or any(not isinstance(layer, str) for layer in layers):
        raise PruneError(f"{where}: {name}: layers must be a list of names.")
    for key, value in (("channels", channels), ("keep", keep)):
        if isinstance(value, bool) or not isinstance(value, int):
            raise PruneError(f"{where}: {name}: {key} is {value!r}, must be a whole number.")
    if not 1 <= keep <= channels:
        raise PruneError(f"{where}: {name}: keep is {keep}, must be 1 to {channels} (its channels).")
    return PlanEntry(name, channels, keep, tuple(layers), tie, line)


def _check_halves(path: Path, entries: list[PlanEntry]) -> None:
    first: dict[str, PlanEntry] = {}
    for entry in entries:
        mate = first.setdefault(entry.tie, entry) if entry.tie else entry
        if mate.keep != entry.keep:
            raise PruneError(
                f"{path}, line {entry.line}: {entry.name} keeps {entry.keep}, but {mate.name} (line {mate.line}), the "
                f"other half of block {entry.tie}, keeps {mate.keep}. Give them the same keep."
            )
