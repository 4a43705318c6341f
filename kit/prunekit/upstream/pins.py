# SPDX-License-Identifier: AGPL-3.0-or-later
"""pinned_commits.yaml, read once and checked: a wrong or unknown key is an error with file and line.

What travels on is frozen; the file's comments and order are nobody's business here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from prunekit.errors import UserError, nearest
from prunekit.upstream.manifest import is_plain
from prunekit.upstream.yaml_nodes import Node, read_yaml

_SHA = r"[0-9a-f]{40}"
UNRESOLVED = "unresolved"  # the commit of a pin that was made from an sdist, until somebody looks it up
_SHA256 = r"[0-9a-f]{64}"
_NAME = r"[A-Za-z0-9][A-Za-z0-9._-]*"  # no leading dash: these end up in command lines
_TAG, _RELEASE = r"[A-Za-z0-9][A-Za-z0-9._/+@-]*", r"[A-Za-z0-9][A-Za-z0-9._+-]*"
_DATE = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d([+-]\d\d:\d\d|Z)"


@dataclass(frozen=True)
class Sdist:
    """A source release on the package index."""

    project: str
    version: str
    sha256: str


@dataclass(frozen=True)
class Upstream:
    """One pinned upstream; `tree` is the git tree id of the covered files."""

    name: str
    url: str
    commit: str
    date: str
    release: str
    tag: str | None
    covers: tuple[str, ...]
    tree: str
    sdist: Sdist | None
    engine: str
    index: str | None = None
    oldest: str | None = None  # the first release that `setup --at` takes

    @property
    def short(self) -> str:
        """The commit, shortened, or the tree where nobody has looked the commit up."""
        return f"tree {self.tree[:12]}" if self.commit == UNRESOLVED else self.commit[:12]

    @property
    def project(self) -> str | None:
        """The name on the package index under which releases have an sdist; None where they have none."""
        return self.sdist.project if self.sdist else self.index


@dataclass(frozen=True)
class Target:
    """What `prunekit setup NAME` makes, and the commands to type in it."""

    name: str
    about: str
    upstream: Upstream
    next: tuple[str, ...]


@dataclass(frozen=True)
class Pins:
    """The whole file."""

    path: Path
    upstreams: Mapping[str, Upstream]
    targets: Mapping[str, Target]

    def target(self, name: str) -> Target:
        """Return a target by name; raises UserError with the nearest name."""
        if name not in self.targets:
            raise UserError(f"unknown target '{name}'{nearest(name, self.targets)}; `prunekit list` shows them all")
        return self.targets[name]


def read_pins(path: Path) -> Pins:
    """Read and check the pin file; raises UserError with file and line."""
    top = read_yaml(path).mapping(required=("upstreams", "targets"))
    upstreams = {name: _upstream(name, node) for name, node in top["upstreams"].named(_NAME).items()}
    targets = {name: _target(name, node, upstreams) for name, node in top["targets"].named(_NAME).items()}
    return Pins(path, upstreams, targets)


def _upstream(name: str, node: Node) -> Upstream:
    """Read one entry below `upstreams`."""
    required = ("url", "commit", "date", "release", "covers", "tree", "engine")
    keys = node.mapping(required=required, optional=("tag", "index", "sdist", "oldest"))
    return Upstream(
        name=name,
        url=keys["url"].text(r"[^-\s].*", "a git URL"),
        commit=keys["commit"].text(f"{_SHA}|{UNRESOLVED}", "a commit id of 40 hex digits"),
        date=keys["date"].text(_DATE, "a date like 2026-05-13T01:18:57+08:00"),
        release=keys["release"].text(_RELEASE, "a release name, in quotes"),
        tag=keys["tag"].text(_TAG, "a tag name") if "tag" in keys else None,
        covers=tuple(_inside(item) for item in keys["covers"].items()),
        tree=keys["tree"].text(_SHA, "a tree id of 40 hex digits"),
        sdist=_sdist(keys["sdist"]) if "sdist" in keys else None,
        engine=_inside(keys["engine"]),
        index=keys["index"].text(_NAME, "a project name") if "index" in keys else None,
        oldest=keys["oldest"].text(_NAME, "a release, in quotes") if "oldest" in keys else None,
    )


def _sdist(node: Node) -> Sdist:
    """Read the `sdist` block of an upstream."""
    keys = node.mapping(required=("project", "version", "sha256"))
    return Sdist(
        project=keys["project"].text(_NAME, "a project name"),
        version=keys["version"].text(_NAME, "a version, in quotes"),
        sha256=keys["sha256"].text(_SHA256, "a sha256 of 64 hex digits"),
    )


def _target(name: str, node: Node, upstreams: Mapping[str, Upstream]) -> Target:
    """Read one entry below `targets`."""
    keys = node.mapping(required=("upstream", "next"), optional=("about",))
    upstream = keys["upstream"].text(".+", "the name of an upstream")
    if upstream not in upstreams:
        raise keys["upstream"].error(f"unknown upstream '{upstream}'{nearest(upstream, upstreams)}")
    about = keys["about"].text(".+", "a line of text") if "about" in keys else upstream
    return Target(
        name, about, upstreams[upstream], tuple(item.text(".+", "a command") for item in keys["next"].items())
    )


def _inside(node: Node) -> str:
    """Read a path that must stay inside the fork."""
    path = node.text(".+", "a path")
    if not is_plain(path.removesuffix("/")):
        raise node.error(f"'{path}' does not stay inside the fork")
    return path
