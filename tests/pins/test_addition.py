# SPDX-License-Identifier: AGPL-3.0-or-later
"""`prunekit pins add`: a repository that nobody has pinned yet becomes a target that sets up."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from pinworld import Place, git
from prunekit.upstream.pins import read_pins

FILES = {
    "newnet/__init__.py": "",
    "newnet/net.py": "x = 1\n",
    "cfg/net.yaml": "a: 1\n",
    "docs/about.md": "about\n",
    "tests/test_net.py": "",
    "media/film.bin": "0",
    "train.py": "",
    "requirements.txt": "torch\n",
    "LICENSE": "free\n",
    "README.md": "read\n",
}


@pytest.fixture
def other(place: Place) -> Path:
    """Another upstream, at its release 2.0 and a commit after it."""
    folder = place.root / "NewNet.git"
    for path, text in FILES.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(text)
    git(folder, "init", "--quiet")
    git(folder, "add", "-A")
    git(folder, "commit", "--quiet", "-m", "first")
    git(folder, "tag", "v2.0")
    (folder / "newnet/net.py").write_text("x = 2\n")
    git(folder, "commit", "--quiet", "-am", "second")
    for key in ("allowFilter", "allowAnySHA1InWant"):
        git(folder, "config", f"uploadpack.{key}", "true")
    return folder


def test_added_with_its_defaults_and_set_up(place: Place, other: Path) -> None:
    """Name, covers, release and engine by themselves; nothing else in the kit changes; the fork holds the files."""
    before = (place.kit / "pinned_commits.yaml").read_text()
    assert place.prunekit("pins", "add", other.as_uri(), "--dry-run") == 0 and place.state()[1] == ""
    assert (place.kit / "pinned_commits.yaml").read_text() == before
    assert place.prunekit("pins", "add", other.as_uri(), "--json") == 0, place.err
    told = json.loads(place.out)
    pins = read_pins(place.kit / "pinned_commits.yaml")
    pin, commit = pins.upstreams["newnet"], git(other, "rev-parse", "HEAD")
    assert (pin.commit, pin.release, pin.engine) == (commit, f"v2.0-{commit[:12]}", "newnet/pruning")
    assert pin.covers == ("cfg/", "newnet/", "LICENSE", "README.md", "requirements.txt", "train.py")
    assert set(pins.upstreams) == {"small", "newnet"} and pins.targets["newnet"].upstream == pin
    changed = git(place.kit, "diff", "HEAD~1", "--", "pinned_commits.yaml").splitlines()
    assert not [row for row in changed if row.startswith("-") and not row.startswith("---")]
    assert place.state()[1] == "" and told["changed"] == ["manifests/newnet.txt", "pinned_commits.yaml"]
    assert place.prunekit("setup", "newnet", place.root / "fork", "--json") == 0, place.err
    assert json.loads(place.out)["tree"] == told["fork_tree"]
    assert (place.root / "fork/newnet/net.py").read_text() == "x = 2\n"
    assert (place.root / "fork/newnet/pruning/engine.py").is_file() and not (place.root / "fork/docs").exists()
    assert place.prunekit("setup", "s1", place.root / "fork-s1") == 0
    assert place.prunekit("pins", "smoke", place.root / "fork") == 4 and "series names no patch" in place.out


def test_added_as_asked(place: Place, other: Path) -> None:
    """A tag, other names, some paths, another place for the engine; and a second one after it."""
    words = "--name net2 --to 2.0 --covers newnet --covers LICENSE --engine p --target n2"
    assert place.prunekit("pins", "add", str(other), *words.split()) == 0, place.err
    pin = read_pins(place.kit / "pinned_commits.yaml").targets["n2"].upstream
    assert (pin.name, pin.release, pin.tag, pin.engine) == ("net2", "v2.0", "v2.0", "p")
    assert pin.covers == ("newnet/", "LICENSE")
    assert place.prunekit("pins", "add", str(other)) == 0, place.err
    for target in ("s1", "n2", "newnet"):
        assert place.prunekit("setup", target, place.root / f"fork-{target}") == 0, place.err
    assert (place.root / "fork-n2/newnet/net.py").read_text() == "x = 1\n"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--name", "small"], "there is an upstream 'small' already"),
        (["--target", "s1"], "there is a target 's1' already"),
        (["--name", "-x y"], "is no name"),
        (["--to", "v2.1"], "there is v2.0"),
        (["--covers", "newnets"], "did you mean 'newnet/'"),
        (["--engine", "../out"], "does not stay inside the fork"),
    ],
)
def test_refusals(place: Place, other: Path, words: list[str], said: str) -> None:
    """One line, exit code 2, and the kit as it was."""
    before = place.state()
    assert place.prunekit("pins", "add", other.as_uri(), *words) == 2 and said in place.err, place.err
    assert place.state() == before


def test_a_url_that_nobody_answers(place: Place) -> None:
    """Named, with nothing written; also a repository without a commit."""
    before = place.state()
    assert place.prunekit("pins", "add", (place.root / "nowhere").as_uri()) == 2 and "cannot be fetched" in place.err
    (place.root / "empty").mkdir()
    git(place.root / "empty", "init", "--quiet")
    assert place.prunekit("pins", "add", place.root / "empty") == 2 and "no commit" in place.err
    assert place.state() == before
