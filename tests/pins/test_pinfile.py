# SPDX-License-Identifier: AGPL-3.0-or-later
"""Rewriting the pin file: the lines that are meant, whatever stands around them, and a result that reads back."""

from __future__ import annotations

import json

import pytest
from pinworld import Place, git
from prunekit.upstream.pin_rewrite import rewrite

BLOCK = f'    sdist: # of 1.0\n      project: small\n      version: "1.0"\n      sha256: {"a" * 64}\n'
HEAD = "upstreams:\n  small:\n    commit: abc\n"
TAIL = "\ntargets:\n  s1:\n    upstream: small\n"
AFTER = {
    "a key": "    engine: pruning\n",
    "a comment and a key": "    # about the engine\n    engine: pruning\n",
    "a blank line and a key": "\n    engine: pruning\n",
    "another upstream": "\n  other:\n    commit: def\n",
    "nothing": "",
}


@pytest.mark.parametrize("after", AFTER)
@pytest.mark.parametrize("block", ["plain", "comment", "flow", "text"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_exactly_the_block_goes(after: str, block: str, end: str) -> None:
    """Whatever the value's form and whatever comes next: what is left is the file without these lines."""
    forms = {
        "plain": BLOCK,
        "comment": BLOCK + "      # the hash is pip's\n",
        "flow": "    sdist: {project: small,\n      version: '1.0'}  # in two lines\n",
        "text": "    sdist: |\n      some text\n      of two lines\n",
    }
    text, rest = ((HEAD + it + AFTER[after] + TAIL).replace("\n", end) for it in (forms[block], ""))
    assert rewrite(text, "small", {"sdist": None}) == rest


def test_the_last_lines_of_a_file() -> None:
    """A block at the end of the file, without a last newline."""
    text = HEAD + BLOCK.rstrip("\n")
    assert rewrite(text, "small", {"sdist": None}) == HEAD
    grown = rewrite(HEAD.rstrip("\n"), "small", {"tag": "v1", "commit": "def"})
    assert grown == HEAD.replace("abc", "def") + "    tag: v1\n"


def test_a_block_comes_back_where_it_was(place: Place) -> None:
    """Out and in again: the same bytes; keys that are not there are put in where they usually stand."""
    pins = (place.kit / "pinned_commits.yaml").read_text()
    values = {"tag": "v1", "sdist.project": "small", "sdist.version": "1.10", "sdist.sha256": "a" * 64}
    grown = rewrite(pins, "small", values)
    assert '    release: "1.0"\n    tag: v1\n    covers:' in grown
    assert f'    sdist:\n      project: small\n      version: "1.10"\n      sha256: {"a" * 64}\n    engine:' in grown
    assert rewrite(grown, "small", {"tag": None, "sdist": None}) == pins
    assert rewrite(grown, "small", values) == grown


def with_sdist(place: Place) -> None:
    """Give the kit's pin an sdist and a second upstream below it."""
    path = place.kit / "pinned_commits.yaml"
    text = path.read_text().replace("    engine:", f"{BLOCK}    engine:")
    other = text[text.index("  small:") : text.index("\ntargets:")].replace("  small:", "  other:")
    path.write_text(text.replace("\ntargets:", f"\n{other}\ntargets:") + "  s2:\n    upstream: other\n    next: [a]\n")
    (place.kit / "manifests/other.txt").write_bytes((place.kit / "manifests/small.txt").read_bytes())
    git(place.kit, "add", "-A")
    git(place.kit, "commit", "--quiet", "-m", "an sdist and another upstream")


def test_a_commit_that_is_no_release_and_back(place: Place) -> None:
    """The sdist goes, no other key does; both targets set up afterwards, and after the way back, too."""
    with_sdist(place)
    new = place.upstream("1.1", ("LICENSE", "free\n", "free!\n"))
    assert place.prunekit("pins", "update", "small", "--to", new, "--dry-run", "--json") == 0, place.err
    told = json.loads(place.out)
    assert "-    sdist: # of 1.0\n" in told["pin_change"] and f"+    commit: {new}" in told["pin_change"]
    assert "engine" not in told["pin_change"] and len(told["checks"]) == 5 and not told["blocked"]
    for number, to in enumerate((new, place.pin)):
        assert place.prunekit("pins", "update", "small", "--to", to) == 0, place.err
        text = (place.kit / "pinned_commits.yaml").read_text()
        assert text.count("engine: pkg/pruning") == 2 and text.count("sdist:") == 1
        for target in ("s1", "s2"):
            assert place.prunekit("setup", target, place.root / f"fork-{target}-{number}") == 0, place.err


def test_a_dry_run_says_what_a_real_one_would_write(place: Place) -> None:
    """Every file, the pin's lines, and that it would stop where changes are not committed."""
    new = place.upstream("1.1", ("LICENSE", "free\n", "free!\n"))
    words = ("pins", "update", "small", "--to", new)
    assert place.prunekit(*words, "--dry-run", "--no-smoke") == 0
    assert f"-    commit: {place.pin}  # of 1.0" in place.out and f"+    commit: {new}  # of 1.0" in place.out
    said = {line[7:] for line in place.out.splitlines() if line.startswith(("write  ", "remove "))}
    (place.kit / "dropins/pruning/engine.py").write_text("E = 2\n")
    assert place.prunekit(*words, "--dry-run", "--no-smoke") == 0
    assert "a real run would stop: dropins/pruning/engine.py has changes" in place.err
    assert place.prunekit(*words) == 2 and "dropins/pruning/engine.py has changes" in place.err
    git(place.kit, "checkout", "--quiet", ".")
    assert place.prunekit(*words) == 0
    assert said == set(git(place.kit, "diff", "--name-only", "HEAD~1").splitlines())


@pytest.mark.parametrize("dry", [[], ["--dry-run", "--no-smoke"]])
def test_a_pin_file_that_cannot_be_rewritten_is_left(place: Place, dry: list[str]) -> None:
    """Two upstreams that share a value by an anchor: changing one would change the other. Refused, before a test."""
    with_sdist(place)
    path = place.kit / "pinned_commits.yaml"
    head, tail = path.read_text().split("  other:")
    tail = tail.replace(f"commit: {place.pin}", "commit: *pin", 1)
    path.write_text(head.replace(f"commit: {place.pin}", f"commit: &pin {place.pin}") + "  other:" + tail)
    git(place.kit, "commit", "--quiet", "-am", "an anchor")
    before, new = place.state(), place.upstream("1.1", ("LICENSE", "free\n", "free!\n"))
    assert place.prunekit("pins", "update", "small", "--to", new, *dry) == 2
    assert "nothing was written" in place.err and place.state() == before
