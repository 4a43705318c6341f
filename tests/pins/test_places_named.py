# SPDX-License-Identifier: AGPL-3.0-or-later
# ruff: noqa: E501  a case is a row
"""What a refusal says: where a function has gone, how lines end and are indented, refs that exist, what is not tried."""

from __future__ import annotations

import re

import pytest
from pinworld import ENGINE, Place, git
from prunekit.porting.anchors import Refused
from prunekit.porting.file import move_file

STEP = ENGINE[ENGINE.index("    def step") : ENGINE.index("\n\ndef parse")]
SETUP = ENGINE[ENGINE.index("    def setup") : ENGINE.index("    def step")]
PARSE = ENGINE[ENGINE.index("def parse") :]
MIXIN = f'class Steps:\n    """Steps."""\n\n{STEP}'
HOME = 'class Trainer:\n    """Trains."""\n'


@pytest.mark.parametrize(
    ("what", "changes", "said"),
    [
        (
            "a mixin in another file",
            [("pkg/engine.py", STEP, ""), ("pkg/steps.py", "", MIXIN)],
            "Trainer.step is in pkg/steps.py now, as Steps.step",
        ),
        (
            "a base class in the file",
            [("pkg/engine.py", HOME, f"{MIXIN}\n\n{HOME.replace('Trainer', 'Trainer(Steps)')}"), ("pkg/engine.py", f"        return layers\n{STEP}", "")],
            "Trainer.step is in pkg/engine.py now, as Steps.step",
        ),
        (
            "another module that was there",
            [("pkg/engine.py", PARSE, "from pkg import parse\n"), ("pkg/__init__.py", "__version__ = '1.0'\n", PARSE)],
            "parse is in pkg/__init__.py now",
        ),
    ],
)  # fmt: skip
def test_a_function_that_moved(place: Place, what: str, changes: list[tuple[str, str, str]], said: str) -> None:
    """Its file stays: the refusal names the place, in an update and in `why`."""
    if "base" in what:
        text = (place.origin / "pkg/engine.py").read_text().replace(STEP, "")
        (place.origin / "pkg/engine.py").write_text(text.replace(HOME, f"{MIXIN}\n\n{HOME}"))
        changes = []
    new = place.upstream(what, *changes)
    assert place.prunekit("pins", "update", "small", "--to", new) == 4
    assert said in place.out
    suggested = re.search(r"prunekit why (\S+) --onto (\S+)\.", place.err)
    assert suggested and place.prunekit("why", *suggested.groups()[:1], "--onto", suggested.group(2)) == 4
    assert said in place.out


def test_line_ends(place: Place) -> None:
    """Upstream writes CRLF by now: the hook's lines do, too, and the report says so."""
    for path in ("pkg/engine.py", "pkg/default.yaml"):
        file = place.origin / path
        file.write_bytes(file.read_bytes().replace(b"\n", b"\r\n"))
    new = place.upstream("CRLF")
    assert place.prunekit("pins", "update", "small", "--to", new) == 0, place.err
    assert "lines end in CRLF by now, the patch's in LF: written as upstream's" in place.out
    assert place.prunekit("setup", "s1", place.root / "fork") == 0, place.err
    for path, count in (("pkg/engine.py", 3), ("pkg/default.yaml", 1)):
        data = (place.root / "fork" / path).read_bytes()
        assert data.count(b"\n") == data.count(b"\r\n") == (place.origin / path).read_bytes().count(b"\n") + count


def test_tabs_and_refusals_in_other_line_ends() -> None:
    """The refusal says that it is about white space."""
    hooked = ENGINE.replace("        clip(self.model)\n", "        clip(self.model)\n        hooks.penalty(self)\n")
    with pytest.raises(Refused, match="indents with tabs by now"):
        move_file("a.py", ENGINE, hooked, ENGINE.replace("    ", "\t").replace("unscale()", "unscale(1)"))
    with pytest.raises(Refused, match=r"Trainer\.step is not there.*end in CRLF"):
        move_file("a.py", ENGINE, hooked, ENGINE.replace("def step", "def go").replace("\n", "\r\n"))


def test_an_unknown_ref_names_those_that_exist(place: Place) -> None:
    """A typing error in a tag: the nearest tags and branches."""
    git(place.origin, "tag", "v1.0.3")
    place.upstream("later", ("LICENSE", "free\n", "free!\n"))
    for words in (("pins", "update", "small", "--to", "v1.0.4"), ("why", "0001", "--onto", "v1.0.4")):
        assert place.prunekit(*words) == 2 and "there is v1.0.3" in place.err, place.err


def test_an_upstream_without_patches_does_not_pass(place: Place) -> None:
    """Nothing was tried: the smoke fails and says what is missing; patches without a test fail as before."""
    assert place.prunekit("setup", "s1", place.root / "fork") == 0
    (place.kit / "patches/small/tests").write_text("")
    assert place.prunekit("pins", "smoke", place.root / "fork") == 4 and "tests names none" in place.out
    (place.kit / "patches/small/series").write_text("")
    assert place.prunekit("pins", "smoke", place.root / "fork") == 4
    for missing in ("series names no patch", "tests names no test", "no walk_small.yaml", "CONTRIBUTING.md"):
        assert missing in place.out
