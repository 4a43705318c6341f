# SPDX-License-Identifier: AGPL-3.0-or-later
"""Changing values of pinned_commits.yaml: that value alone, comments and order stay.

PyYAML's marks say where a node begins. Where it ends they say only for scalars and brackets: the end of a block mapping
is the start of whatever comes next, so here it is the end of the last value in it.
"""

from __future__ import annotations

from collections.abc import Mapping

import yaml

from prunekit.errors import UserError
from prunekit.kit import PINS

_ORDER = ("url", "commit", "date", "release", "tag", "index", "covers", "tree", "sdist", "engine")
_QUOTED = ("release", "version")  # or YAML takes 8.10 for a number
_SDIST = ("project", "version", "sha256")
Pair = tuple[yaml.Node, yaml.Node]


def rewrite(text: str, upstream: str, values: Mapping[str, str | None]) -> str:
    """Return the file with values of one upstream changed; "sdist.version" is a key of a block, None takes a key out.

    A key that is not there is put in, where there is a value for it. Quotes stay as they are. Raises UserError where
    the file is written in a way that cannot be changed line by line.
    """
    for key, value in values.items():
        pair = _find(text, ["upstreams", upstream, *key.split(".")])
        if value is None:
            text = text if pair is None else _without(text, pair)
        elif pair is not None:
            text = _with_value(text, pair[1], value)
    return _with_missing(text, upstream, {key: value for key, value in values.items() if value is not None})


def add(text: str, section: str, rows: list[str]) -> str:
    """Return the file with an entry (lines, indented for a key below the section) at the end of a section."""
    pair = _find(text, [section])
    if pair is None or not isinstance(pair[1], yaml.MappingNode) or pair[1].flow_style or not pair[1].value:
        raise UserError(f"{PINS} has no block '{section}:' with an entry to write another one after; restore the file")
    mapping = pair[1]
    indent = " " * mapping.value[0][0].start_mark.column
    at = _end_of_line(text, _last_of(text, mapping))
    end = _line_end(text)
    blank = end if section == "upstreams" else ""
    made = "".join(f"{indent}{row}{end}" for row in rows)
    return _put(text, at, blank + made, end)


def _with_value(text: str, node: yaml.Node, value: str) -> str:
    """Return the text with another value in the place of a scalar."""
    if not isinstance(node, yaml.ScalarNode):
        raise UserError(f"{PINS}:{node.start_mark.line + 1}: a plain value is expected here; restore the file")
    quote = node.style if node.style in ("'", '"') else ""
    return text[: node.start_mark.index] + f"{quote}{value}{quote}" + text[node.end_mark.index :]


def _without(text: str, pair: Pair) -> str:
    """Return the text without the lines of a key and its value, deeper comments right below them included."""
    name, node = pair
    first = text.rfind("\n", 0, name.start_mark.index) + 1
    if text[first : name.start_mark.index].strip():
        line = name.start_mark.line + 1
        raise UserError(f"{PINS}:{line}: the key '{name.value}' shares its line with others: give it one of its own")
    last = _end_of_line(text, _last_of(text, node))
    while last < len(text):
        line_end = _end_of_line(text, last)
        rest = text[last:line_end]
        if not rest.strip().startswith("#") or len(rest) - len(rest.lstrip(" ")) <= name.start_mark.column:
            break
        last = line_end
    return text[:first] + text[last:]


def _with_missing(text: str, upstream: str, values: Mapping[str, str]) -> str:
    """Return the text with those keys put in that have a value and no line: each after the one that it follows."""
    block = {key.partition(".")[2]: value for key, value in values.items() if key.startswith("sdist.")}
    rows = {key: [f"{key}: {_quoted(key, value)}"] for key, value in values.items() if "." not in key}
    if block:
        rows["sdist"] = ["sdist:", *(f"  {key}: {_quoted(key, block[key])}" for key in _SDIST if key in block)]
    for key, lines in rows.items():
        if _find(text, ["upstreams", upstream, key]) is None:
            text = _put_key(text, upstream, key, lines)
    return text


def _put_key(text: str, upstream: str, key: str, lines: list[str]) -> str:
    """Return the text with a key put behind the nearest one that stands before it in the usual order."""
    pair = _find(text, ["upstreams", upstream])
    if pair is None or not isinstance(pair[1], yaml.MappingNode) or pair[1].flow_style:
        raise UserError(f"{PINS}: write the key '{key}' of {upstream} by hand: {'; '.join(lines)}")
    there = {name.value: (name, node) for name, node in pair[1].value}
    before = [name for name in _ORDER[: _ORDER.index(key)] if name in there]
    column = pair[1].value[0][0].start_mark.column
    end = _line_end(text)
    made = "".join(f"{' ' * column}{line}{end}" for line in lines)
    at = _end_of_line(text, _last_of(text, there[before[-1]][1])) if before else pair[1].start_mark.index - column
    return _put(text, at, made, end)


def _put(text: str, at: int, made: str, end: str) -> str:
    """Return the text with whole lines put in at the start of a line, or at the end of the file."""
    lead = "" if not at or text[at - 1] == "\n" else end
    return text[:at] + lead + made + text[at:]


def _quoted(key: str, value: str) -> str:
    """Return a value as it stands in the file."""
    return f'"{value}"' if key in _QUOTED else value


def _last_of(text: str, node: yaml.Node) -> int:
    """Return the index behind the last character of a value: of the last one in it, for a block."""
    while isinstance(node, yaml.CollectionNode) and not node.flow_style and node.value:
        last = node.value[-1]
        node = last[1] if isinstance(last, tuple) else last
    return len(text[: node.end_mark.index].rstrip())  # a block of text ends where the next key begins


def _end_of_line(text: str, index: int) -> int:
    """Return the index of the next line's start."""
    found = text.find("\n", index)
    return len(text) if found < 0 else found + 1


def _line_end(text: str) -> str:
    """Return how lines of the file end."""
    return "\r\n" if "\r\n" in text else "\n"


def _find(text: str, keys: list[str]) -> Pair | None:
    """Return key and value at a path of keys."""
    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.YAMLError as error:  # the file has been read before: it is our change that it does not survive
        said = f"{PINS} cannot be rewritten ({getattr(error, 'problem', error)}); nothing was written"
        raise UserError(f"{said}. Write its values without anchors (&, *)") from error
    pair = None
    for key in keys:
        if not isinstance(node, yaml.MappingNode):
            raise UserError(f"{PINS} has no keys where '{key}' is expected; restore the file")
        pair = next(((k, v) for k, v in node.value if k.value == key), None)
        if pair is None:
            return None
        node = pair[1]
    return pair
