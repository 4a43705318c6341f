# SPDX-License-Identifier: AGPL-3.0-or-later
"""`prunekit why` names the commit that broke a patch; `pins check` says what is coming."""

from __future__ import annotations

import json
from datetime import datetime, timezone

import pytest
from pinworld import Place, git, make_kit
from plaingit import DATE

PAIR = "        clip(self.model)\n        self.optimizer.step()\n"
BREAKS = {
    "deleted function": ("0001", ("pkg/engine.py", "    def setup(self):\n", "    def prepare(self):\n")),
    "moved statement": (
        "0002",
        (
            "pkg/engine.py",
            PAIR,
            "        self.optimizer.step()\n        clip(self.model)\n",
        ),
    ),
    "duplicated anchor": (
        "0002",
        (
            "pkg/engine.py",
            PAIR,
            2 * PAIR,
        ),
    ),
}


def noise(place: Place, number: int) -> None:
    """Commit a harmless change of the patched file, and one elsewhere."""
    place.upstream(f"noise {number}", ("pkg/engine.py", "import os\n", f"import os\nimport noise_{number}\n"))
    place.upstream(f"elsewhere {number}", (f"pkg/other_{number}.py", "", "x = 1\n"))


@pytest.mark.parametrize("kind", [*BREAKS, "renamed file"])
def test_names_the_commit(place: Place, kind: str) -> None:
    """A break among harmless changes of the same file; the commits before it are not blamed."""
    for number in range(5):
        noise(place, number)
    if kind == "renamed file":
        text = (place.origin / "pkg/engine.py").read_text()
        (place.origin / "pkg/engine.py").unlink()
        rest = "import os\n" + "".join(f"x_{n} = {n}\n" for n in range(99))  # so much that git sees no rename
        (place.origin / "pkg/motor.py").write_text(rest + text[text.index("def parse") :])
        patch, broken = "0004", place.upstream("the break")
        place.upstream("later", ("pkg/motor.py", "import os\n", "import os\nimport late\n"))
    else:
        patch, change = BREAKS[kind]
        broken = place.upstream("the break", change)
        for number in range(5, 8):
            noise(place, number)
    assert place.prunekit("why", patch, "--onto", "main", "--json") == 4, place.out
    found = json.loads(place.out)
    assert found["commit"] == broken and found["subject"] == "the break"
    assert found["tried"] <= 6 and found["conflicts"]
    if kind == "renamed file":
        assert "what the patch changes is in pkg/motor.py now" in found["conflicts"][0]["reason"]


def test_a_plain_rename_is_followed(place: Place) -> None:
    """Git finds the file under its new name: the patch moves with it, and nothing is to be explained."""
    git(place.origin, "mv", "pkg/engine.py", "pkg/motor.py")
    place.upstream("renamed", ("pkg/motor.py", "import os\n", "import os\nimport sys\n"))
    assert place.prunekit("why", "0004", "--onto", "main") == 0, place.out
    assert place.prunekit("pins", "update", "small", "--to", "main", "--json") == 0, place.err
    files = {row["patch"][:4]: row["files"] for row in json.loads(place.out)["patches"]}
    assert files["0004"] == {"pkg/motor.py": "moved"}
    assert place.prunekit("setup", "s1", place.root / "fork") == 0
    assert "hooks.widths(layers)" in (place.root / "fork/pkg/motor.py").read_text()


def test_going_back_names_the_commit_that_made_the_place(place: Place) -> None:
    """A patch of a newer pin, onto an older commit: what it stands on came with one commit among harmless ones."""
    for number in range(4):
        noise(place, number)
    late = "\n\ndef late(cfg):\n    cfg = dict(cfg)\n    return cfg\n"
    broken = place.upstream("brings late", ("pkg/engine.py", "    return layers\n", f"    return layers\n{late}"))
    for number in range(4, 7):
        noise(place, number)
    old, place.kit = place.pin, place.root / "newer" / "kit"
    place.kit.parent.mkdir()
    patches = [("late", "pkg/engine.py", "    return cfg\n", "    hooks.late(cfg)\n    return cfg\n")]
    make_kit(place.kit, place.origin, git(place.origin, "rev-parse", "HEAD"), patches)
    assert place.prunekit("why", "0001", "--onto", old, "--json") == 4, place.err
    found = json.loads(place.out)
    assert (found["commit"], found["subject"], found["older"]) == (broken, "brings late", True)
    assert "+def late(cfg):" in found["diff"] and found["tried"] < found["touching"] == 8
    assert "late is not there" in found["conflicts"][0]["reason"]
    assert place.prunekit("why", "0001", "--onto", old) == 4 and "no certain place before" in place.out


def test_nothing_to_explain(place: Place) -> None:
    """A patch that still has its place."""
    noise(place, 1)
    assert place.prunekit("why", "amp", "--onto", "main") == 0 and "moved" in place.out


def test_check(place: Place) -> None:
    """Nothing moved; then the patch whose function was touched comes first."""
    assert place.prunekit("pins", "check") == 0 and "nothing has moved" in place.out
    days = (datetime.now(timezone.utc) - datetime.fromisoformat(DATE)).days
    assert f"the pin is {days} days old (2024-01-02)" in place.out
    noise(place, 1)
    place.upstream("`small 1.3`", ("pkg/engine.py", "        self.unscale()\n", "        self.unscale(1)\n"))
    assert place.prunekit("pins", "check", "small", "--json") == 0
    (found,) = json.loads(place.out)
    assert (found["date"], found["days"]) == (DATE, days)
    assert found["commits"] == 3 and found["releases"] == ["1.3"]
    assert (found["risks"][0]["patch"][:4], found["risks"][0]["commits"], found["risks"][0]["functions"]) == (
        "0002",
        2,
        1,
    )
    place.upstream("gone", ("pkg/engine.py", "def parse(", "def build("))
    assert place.prunekit("pins", "check", "small") == 4
