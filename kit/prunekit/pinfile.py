# SPDX-License-Identifier: AGPL-3.0-or-later
"""Changing values of pinned_commits.yaml: that value alone, comments and order stay."""

from __future__ import annotations

from collections.abc import Mapping

import yaml

from prunekit.errors import UserError


def rewrite(text: str, upstream: str, values: Mapping[str, str | None]) -> str:
    """Return the file with values of one upstream changed; "sdist.version" is a key of a block, None takes a key out.

    A key that is not there is left alone. Quotes stay as they are.
    """
    for key, value in values.items():
        pair = _find(text, ["upstreams", upstream, *key.split(".")])
        if pair is None:
            continue
        name, node = pair
        if value is None:
            first = text.rfind("\n", 0, name.start_mark.index) + 1
            last = text.find(
                "\n", node.end_mark.index - 1 if isinstance(node, yaml.MappingNode) else node.end_mark.index
            )
            text = text[:first] + text[last + 1 :]
            continue
        quote = node.style if isinstance(node, yaml.ScalarNode) and node.style in ("'", '"') else ""
        text = text[: node.start_mark.index] + f"{quote}{value}{quote}" + text[node.end_mark.index :]
    return text


def _find(text: str, keys: list[str]) -> tuple[yaml.Node, yaml.Node] | None:
    """Return key and value at a path of keys."""
    node = yaml.compose(text, Loader=yaml.SafeLoader)
    pair = None
    for key in keys:
        if not isinstance(node, yaml.MappingNode):
            raise UserError(f"pinned_commits.yaml has no keys where '{key}' is expected; restore the file")
        pair = next(((k, v) for k, v in node.value if k.value == key), None)
        if pair is None:
            return None
        node = pair[1]
    return pair
