# SPDX-License-Identifier: AGPL-3.0-or-later
"""`prunekit patches`: edited as commits, exported with stable bytes, linted, dropped."""

from __future__ import annotations

import json

import pytest
from pinworld import Place, git

DATE = "Date: Tue, 2 Jan 2024 03:04:05 +0200"


def test_a_round_trip_changes_no_byte(place: Place) -> None:
    """Checked out and exported again, and replayed: the same files."""
    before = place.series()
    assert place.prunekit("patches", "checkout", "small", place.root / "work") == 0
    assert git(place.root / "work", "log", "--format=%s").splitlines()[:4] == [
        "Patch widths",
        "Patch key",
        "Patch penalty",
        "Patch amp off",
    ]
    assert place.prunekit("patches", "export", place.root / "work", "--check") == 0
    assert place.prunekit("patches", "export", place.root / "work") == 0
    assert place.prunekit("patches", "export", "--check") == 0
    assert place.prunekit("patches", "refresh") == 0
    assert place.series() == before


def test_an_edited_commit_changes_its_patch_alone(place: Place) -> None:
    """--check says 3 and writes nothing; the export then writes that patch, the date as it was."""
    before = place.series()
    work = place.root / "work"
    assert place.prunekit("patches", "checkout", "small", work) == 0
    text = (work / "pkg" / "default.yaml").read_text()
    (work / "pkg" / "default.yaml").write_text(text.replace("sparsity: 0.0", "sparsity: 0.5"))
    git(work, "commit", "--quiet", "-a", "--fixup", ":/Patch key")
    assert place.prunekit("patches", "export", work / "pkg") == 2  # no series folder
    git(work, "-c", "sequence.editor=true", "rebase", "--quiet", "-i", "--autosquash", "HEAD~4")
    assert place.prunekit("patches", "export", work, "--check") == 3
    assert place.series() == before
    assert place.prunekit("patches", "export", work) == 0
    after = place.series()
    assert [name for name in after if after[name] != before[name]] == ["0003-Patch-key.patch"]
    assert b"+sparsity: 0.5" in after["0003-Patch-key.patch"] and DATE.encode() in after["0003-Patch-key.patch"]


def test_export_refuses_what_no_commit_holds(place: Place) -> None:
    """Uncommitted work in the folder, and changes in the kit's patches, are named and stop it."""
    work = place.root / "work"
    assert place.prunekit("patches", "checkout", "small", work) == 0
    (work / "pkg" / "new.py").write_text("x = 1\n")
    assert place.prunekit("patches", "export", work) == 2 and "no commit holds" in place.err
    git(work, "add", "-A")
    git(work, "commit", "--quiet", "-m", "Patch new")
    series = place.kit / "patches" / "small" / "series"
    series.write_text(series.read_text() + "# mine\n")
    assert place.prunekit("patches", "export", work) == 2 and "patches/small/series" in place.err
    git(place.kit, "checkout", "--quiet", ".")
    assert place.prunekit("patches", "export", work) == 0
    assert "0005-Patch-new.patch" in place.series()


def test_drop(place: Place) -> None:
    """The patch goes, with its row in `series` and `tests`; the others keep name and bytes, as far as they can."""
    before = place.series()
    assert place.prunekit("patches", "drop", "penalty") == 0
    after = place.series()
    assert set(before) - set(after) == {"0002-Patch-penalty.patch"}
    assert b"penalty" not in after["series"] + after["tests"] and b"# in this order" in after["series"]
    assert after["0001-Patch-amp-off.patch"] == before["0001-Patch-amp-off.patch"]
    assert place.prunekit("patches", "export", "--check") == 0


@pytest.mark.parametrize(
    ("name", "old", "new", "said"),
    [
        ("0001-Patch-amp-off.patch", "Why: ", "Because: ", "no `Why:`"),
        ("0001-Patch-amp-off.patch", "index ", "index 1", "index lines are abbreviated"),
        (
            "0002-Patch-penalty.patch",
            "+        hooks.penalty(self)\n",
            "+        hooks.penalty(self)  \n",
            "white space",
        ),
        ("series", "0002-Patch-penalty.patch\n", "", "not in the series"),
        ("tests", "0003-Patch-key.patch tests/test_it.py::test_it\n", "", "no behavioural test"),
        (
            "tests",
            "0003-Patch-key.patch tests/test_it.py::test_it",
            "0003-Patch-key.patch tests/test_it.py::test_no",
            "has no test_no",
        ),
    ],
)
def test_lint_finds(place: Place, name: str, old: str, new: str, said: str) -> None:
    """Nothing at first; each fault by name, with exit code 2."""
    assert place.prunekit("patches", "lint") == 0, place.out
    path = place.kit / "patches" / "small" / name
    path.write_text(path.read_text().replace(old, new, 1))
    assert place.prunekit("patches", "lint") == 2 and said in place.out


def test_list_and_show(place: Place) -> None:
    """By a part of the name; an ambiguous one is refused with the names."""
    assert place.prunekit("patches", "list", "--json") == 0
    assert [(row["number"], row["added"]) for row in json.loads(place.out)] == [(1, 1), (2, 1), (3, 1), (4, 1)]
    assert place.prunekit("patches", "show", "widths") == 0 and "hooks.widths(layers)" in place.out
    assert place.prunekit("patches", "show", "patch") == 2 and "4 patches" in place.err
    assert place.prunekit("patches", "show", "penal") == 0
    assert place.prunekit("patches", "list", "smal") == 2 and "did you mean 'small'" in place.err
