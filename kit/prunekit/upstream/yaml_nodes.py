# SPDX-License-Identifier: AGPL-3.0-or-later
"""YAML with line numbers: each value knows where it stands, so that a message can say so."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import yaml

from prunekit.errors import UserError, nearest
from prunekit.text_file import read_text


@dataclass(frozen=True)
class Node:
    """A value of a YAML file and its place."""

    path: Path
    node: yaml.Node

    def error(self, message: str) -> UserError:
        """Return an error that names file and line."""
        return UserError(f"{self.path}:{self.node.start_mark.line + 1}: {message}")

    def mapping(self, *, required: Sequence[str], optional: Sequence[str] = ()) -> dict[str, Node]:
        """Return the values by key; a missing, unknown or repeated key is an error."""
        keys = self._pairs()
        known = (*required, *optional)
        for name, (key, _) in keys.items():
            if name not in known:
                raise key.error(f"unknown key '{name}'{nearest(name, known)}")
        for name in required:
            if name not in keys:
                raise self.error(f"the key '{name}' is missing here")
        return {name: value for name, (_, value) in keys.items()}

    def named(self, pattern: str) -> dict[str, Node]:
        """Return the values of a mapping whose keys are free names that match `pattern`."""
        pairs = self._pairs()
        for name, (key, _) in pairs.items():
            if not re.fullmatch(pattern, name):
                raise key.error(f"'{name}' is no name: letters, digits, dot, dash and underscore, please")
        return {name: value for name, (_, value) in pairs.items()}

    def items(self) -> list[Node]:
        """Return the items of a list."""
        if not isinstance(self.node, yaml.SequenceNode):
            raise self.error("a list is expected here")
        return [Node(self.path, item) for item in self.node.value]

    def text(self, pattern: str, what: str) -> str:
        """Return a scalar as it is written, where it matches `pattern`; `what` says what was expected."""
        if not isinstance(self.node, yaml.ScalarNode) or not re.fullmatch(pattern, self.node.value):
            found = f"'{self.node.value}'" if isinstance(self.node, yaml.ScalarNode) else "something else"
            raise self.error(f"{what} is expected here, found {found}")
        return str(self.node.value)

    def _pairs(self) -> dict[str, tuple[Node, Node]]:
        """Return name -> (key, value) of a mapping."""
        if not isinstance(self.node, yaml.MappingNode):
            raise self.error("keys and values are expected here")
        found: dict[str, tuple[Node, Node]] = {}
        for key, value in self.node.value:
            place = Node(self.path, key)
            name = place.text(".+", "a plain key")
            if name in found:
                raise place.error(f"the key '{name}' stands here twice")
            found[name] = (place, Node(self.path, value))
        return found


def read_yaml(path: Path) -> Node:
    """Read a YAML file; raises UserError with file and line where it is not YAML, or empty, or missing."""
    try:
        node = yaml.compose(read_text(path), Loader=yaml.SafeLoader)
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise UserError(f"{path}:{line}: not YAML: {error.problem}; correct the line, or restore the file") from error
    except RecursionError as error:
        raise UserError(f"{path}:1: not YAML that can be read: nested too deep; restore the file") from error
    except (yaml.YAMLError, ValueError, OverflowError) as error:
        raise UserError(f"{path}:1: not YAML text; restore the file") from error
    if node is None:
        raise UserError(f"{path}:1: the file is empty; restore it")
    return Node(path, node)
