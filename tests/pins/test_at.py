# SPDX-License-Identifier: AGPL-3.0-or-later
"""`setup --at`: a fork of another version than the pin, the series moved there, remembered, verified; and bad input."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from pinworld import FILES, Place, git
from prunekit.fork.compatibility import Row
from prunekit.porting.file import move_file
from test_sdist_update import CLIP, released

__all__ = ["released"]
ENGINE = "pkg/engine.py"
MOVED = ("    layers = []\n", "    layers = list()\n")


def setup(place: Place, *words: str | Path) -> int:
    """Run `prunekit setup s1 fork WORDS`."""
    return place.prunekit("setup", "s1", place.root / "work" / "fork", *words)


def beside(place: Place) -> list[str]:
    """The names in the folder that holds the fork."""
    folder = place.root / "work"
    return sorted(path.name for path in folder.iterdir()) if folder.exists() else []


def test_a_commit_and_a_branch(place: Place) -> None:
    """The series stands on the other version; status, verify, diff and a second setup know it; the ids are the same."""
    commit = place.upstream("later", (ENGINE, *CLIP), ("pkg/new.py", "", "x = 1\n"))
    place.upstream("later still", (ENGINE, "import os\n", "import os\nimport re\n"))
    assert setup(place, "--at", commit, "--json") == 0, place.err
    made, fork = json.loads(place.out), place.root / "work" / "fork"
    assert (made["commit"], made["at"]["asked"], made["source"]) == (commit, commit, "git")
    assert "not pinned" in made["not_pinned"] and "never tried" in made["at"]["known"]
    text = (fork / ENGINE).read_text()
    assert "        if self.clips:\n            clip(self.model)\n        hooks.penalty(self)\n" in text
    assert "import re" not in text and (fork / "pkg/new.py").is_file() and (fork / "pkg/pruning/engine.py").is_file()
    assert git(fork, "rev-parse", "HEAD~5^{tree}") == git(place.origin, "rev-parse", f"{commit}^{{tree}}")
    for words in (["--at", commit], ["--at", commit[:9]]):
        assert setup(place, *words) == 0 and "already set up" in place.out, place.err
    assert place.prunekit("status", fork, "--json") == 0 and json.loads(place.out)[0]["state"] == "as set up"
    (fork / "LICENSE").write_text("mine\n")
    assert place.prunekit("verify", fork, "--json") == 3
    assert json.loads(place.out)[0]["drift"] == [{"path": "LICENSE", "what": "modified"}]
    assert place.prunekit("verify", fork) == 3 and f"--at {commit} --force" in place.out
    assert place.prunekit("diff", fork, "--from", "upstream", "--stat") == 0 and ENGINE in place.out
    for words in ([], ["--at", "main"]):
        assert setup(place, *words) == 2 and f"--at {commit}" in place.err and "--force" in place.err
    assert setup(place, "--at", "main", "--force") == 0, place.err
    assert "import re" in (fork / ENGINE).read_text() and "later still" not in git(fork, "log", "--format=%s")
    shutil.rmtree(fork)
    assert setup(place, "--at", commit, "--json") == 0 and json.loads(place.out)["head"] == made["head"]


def test_the_pin_by_name_is_the_pin(place: Place) -> None:
    """`--at` with the pin's release or commit makes the pinned fork."""
    assert setup(place, "--at", place.pin[:10], "--json") == 0, place.err
    assert json.loads(place.out)["at"] is None
    assert setup(place, "--at", "v1.0") == 0 and "already set up" in place.out


def test_a_later_series_makes_it_outdated(place: Place) -> None:
    """What the kit makes of the same version now is another fork."""
    commit = place.upstream("later", (ENGINE, *CLIP))
    assert setup(place, "--at", commit) == 0, place.err
    assert place.prunekit("patches", "drop", "0003") == 0, place.err
    assert place.prunekit("status", place.root / "work" / "fork", "--json") == 0
    assert json.loads(place.out)[0]["state"] == "outdated"


def test_a_release_by_its_sdist_and_what_the_table_knows(released: tuple[Place, str]) -> None:
    """Its hash is recorded and its commit never invented; the table's word on it is said; an unknown one is refused."""
    place, sha256 = released
    verdicts = {"0001": "moved"}
    rows = [
        Row("1.1", "x", "k", verdicts, "", "", smoke, passed, "broke", 1, 1)
        for smoke, passed in (("walk", True), ("none", True), ("full", False))
    ]
    for row, said in zip(rows, ("tested end to end", "only the places", "tried and failed"), strict=True):
        (place.kit / "docs").mkdir(exist_ok=True)
        (place.kit / "docs/compatibility.json").write_text(json.dumps({"small": [vars(row)]}))
        assert setup(place, "--at", "v1.1", "--force", "--json") == 0, place.err
        made = json.loads(place.out)
        assert said in made["at"]["known"] and "earlier state of the kit" in made["at"]["known"]
    assert (made["release"], made["commit"], made["at"]["sha256"]) == ("1.1", "unresolved", sha256)
    assert "commit id is not known" in made["not_pinned"] and sha256[:12] in made["not_pinned"]
    assert place.prunekit("verify", place.root / "work" / "fork") == 0, place.out
    assert setup(place, "--at", "1.7") == 2  # the fork that is there comes first
    shutil.rmtree(place.root / "work")
    assert setup(place, "--at", "1.7", "--source", "sdist") == 2 and beside(place) == []
    assert "no release 1.7" in place.err and "1.1" in place.err.splitlines()[-1]


def test_lines_for_older_versions(place: Place) -> None:
    """A patch whose line needs what an older version does not have is put there in the form of the `older` file."""
    old = place.upstream("other", (ENGINE, "    layers = []\n    for name in cfg:\n        layers.append(name)\n", ""))
    place.upstream("other end", (ENGINE, "    return layers\n", "    return list(cfg)\n"))
    assert setup(place, "--at", old) == 4 and beside(place) == [], place.err
    assert len(place.err.strip().splitlines()[-1:]) == 1 and "0004" in place.err and "no certain place" in place.err
    row = "0004 | hooks.widths(layers) | hooks.widths(cfg)\n"
    (place.kit / "patches/small/older").write_text(f"# older\n{row}")
    assert setup(place, "--at", old) == 0, place.err
    assert "    hooks.widths(cfg)\n    return layers\n" in (place.root / "work/fork" / ENGINE).read_text()
    assert place.prunekit("verify", place.root / "work/fork") == 0


BAD = {
    "no such branch": (["--at", "nothing-like-it"], "has no branch, tag or release"),
    "no such commit": (["--at", "1" * 40], "has no commit 1111"),
    "no such short commit": (["--at", "1234567"], "has no commit, branch, tag or release"),
    "no such release": (["--at", "3.0"], "has no commit, branch, tag or release"),
    "too old": (["--at", "0.9"], "is too old: 0.10 is the first release"),
    "an option": (["--at=--upload-pack=x"], "is no release, commit or branch"),
    "empty": (["--at", ""], "is no release, commit or branch"),
    "a range": (["--at", "main..other"], "is no release, commit or branch"),
    "a branch by sdist": (["--at", "main", "--source", "sdist"], "--source sdist has"),
    "no host": (["--at", "main", "--mirror", "/no/such/folder"], "cannot be reached"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_one_line(place: Place, case: str) -> None:
    """Exit code 2, one line that says what is wrong, and nothing is left behind."""
    pins = place.kit / "pinned_commits.yaml"
    pins.write_text(pins.read_text().replace("engine: pkg", 'oldest: "0.10"\n    engine: pkg'))
    words, said = BAD[case]
    assert setup(place, *words) == 2 and beside(place) == []
    errors = [line for line in place.err.splitlines() if line.startswith("error:")]
    assert len(errors) == 1 and said in errors[0], place.err


def test_too_old_by_the_version_in_its_files(place: Place) -> None:
    """A commit says its version itself."""
    pins = place.kit / "pinned_commits.yaml"
    pins.write_text(pins.read_text().replace("engine: pkg", 'oldest: "1.0"\n    engine: pkg'))
    old = place.upstream("old", ("pkg/__init__.py", "'1.0'", "'0.8'"))
    assert setup(place, "--at", old) == 2 and beside(place) == []
    assert "which is 0.8, is too old: 1.0" in place.err


def test_other_quotes_are_the_same_statement() -> None:
    """Where git's merge conflicts for quotes alone, the statements are compared by their syntax."""
    old = 'def f(a):\n    if a:\n        m = "x"\n        check(a, "one")\n        use(a)\n        end("e")\n'
    new = old.replace("        use(a)\n", "        a = hook(a)\n    if a and ready():\n        use(a)\n")
    target = old.replace('"', "'")
    assert move_file("f.py", old, new, target).text == new.replace('"', "'")
    assert FILES[ENGINE]


def test_what_is_known_of_a_clone_with_edits_is_said_of_its_release(monkeypatch: pytest.MonkeyPatch) -> None:
    """Another commit than the release that was tested is not what was tested."""
    from types import SimpleNamespace

    from prunekit.fork import at

    row = SimpleNamespace(release="8.3.0", passed=True, smoke="full", series="s", reason="")
    monkeypatch.setattr(at, "read_rows", lambda kit, name: [row])
    monkeypatch.setattr(at, "series_digest", lambda kit, upstream: "s")
    upstream = SimpleNamespace(name="small")
    assert at.known_of(None, upstream, "8.3.0").startswith("this release was tested end to end")  # type: ignore[arg-type]
    said = at.known_of(None, upstream, "8.3.0-abc1234")  # type: ignore[arg-type]
    assert said.startswith("8.3.0, on which it is based, was tested end to end")
