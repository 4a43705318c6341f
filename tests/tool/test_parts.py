# SPDX-License-Identifier: AGPL-3.0-or-later
"""Small parts on their own: tree ids, paths, hunks, staging; and the kit's own pins, manifests and series."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest
from prunekit.atomic import claimed
from prunekit.kit import find_kit
from prunekit.patches.patch_file import read_hunks
from prunekit.patches.series import read_series
from prunekit.upstream.manifest import Entry, blob_id, is_plain, read_manifest, tree_id
from prunekit.upstream.pins import read_pins
from smallworld import git, write

KIT = find_kit()
PINS = read_pins(KIT.pins)


def test_tree_id_is_gits(tmp_path: Path) -> None:
    """Names that sort otherwise as files than as folders, modes, depth: the id that git gives."""
    files = {"a/b/c": "1", "a.b": "2", "a-b": "3", "a0": "4", "ab/x": "5", "z": "6", "ä": "7"}
    git(tmp_path, "init", "--quiet")
    write(tmp_path, files)
    (tmp_path / "z").chmod(0o755)
    git(tmp_path, "add", ".")
    entries = {
        name: Entry("100755" if name == "z" else "100644", blob_id(text.encode())) for name, text in files.items()
    }
    assert tree_id(entries) == git(tmp_path, "write-tree")


@pytest.mark.parametrize("path", ["a/../b", "/a", "a//b", ".", "..", ".git/x", "a/.GIT/x", "a\\b", "", "a/"])
def test_paths_that_are_refused(path: str) -> None:
    """Whatever leaves the folder or enters .git, on any system."""
    assert not is_plain(path)


@pytest.mark.parametrize("path", ["a", "a/b.c", "..a/b", ".gitignore", "a/...", "-x"])
def test_paths_that_pass(path: str) -> None:
    """Odd names that stay inside."""
    assert is_plain(path)


def test_hunks_know_their_lines(tmp_path: Path) -> None:
    """Two files, three hunks, one without a count and one without a newline at the end."""
    text = (
        "From 0\nSubject: x\n\n--- ../quoted.py in the message is no path\ndiff --git a/f b/f\n--- a/f\n+++ b/f\n"
        "@@ -1,2 +1,3 @@ def one\n a\n+b\n c\n@@ -9 +10 @@\n-x\n+y\n\\ No newline at end of file\n"
        "diff --git a/g b/g\n--- a/g\n+++ b/g\n@@ -5,0 +6 @@\n+new\n"
    )
    patch = tmp_path / "p.patch"
    patch.write_text(text)
    found = [(hunk.path, hunk.number, hunk.old_start, hunk.first, hunk.last) for hunk in read_hunks(patch)]
    assert found == [("f", 1, 1, 8, 11), ("f", 2, 9, 12, 14), ("g", 1, 5, 19, 20)]


def test_made_parents_go_again(tmp_path: Path) -> None:
    """A setup that fails removes the folders above DIR that it had made, and no other."""
    (tmp_path / "mine").mkdir()
    with pytest.raises(ValueError, match="x"), claimed(tmp_path / "mine" / "a" / "b" / "fork") as staging:
        (staging / "half").touch()
        raise ValueError("x")
    assert list(tmp_path.rglob("*")) == [tmp_path / "mine"]


@pytest.mark.parametrize("name", PINS.upstreams)
def test_own_manifests(name: str) -> None:
    """Each manifest makes its pin's tree and lists covered paths only."""
    upstream = PINS.upstreams[name]
    manifest = read_manifest(KIT.manifests / f"{name}.txt", upstream.tree)
    stray = [path for path in manifest if not path.startswith(upstream.covers)]
    assert stray == []


@pytest.mark.parametrize("name", PINS.upstreams)
def test_own_series_is_whole(name: str) -> None:
    """Every patch is in the series, has the form of the export command, and says what it does."""
    patches = read_series(KIT, PINS.upstreams[name])
    assert sorted(patches) == sorted((KIT.patches / name).glob("*.patch"))
    for patch in patches:
        text = patch.read_text()
        assert text.startswith("From " + "0" * 40), f"{patch.name}: export with --zero-commit"
        assert re.search(r"^Subject: (?!\[PATCH)", text, re.MULTILINE), f"{patch.name}: export with --keep-subject"
        assert re.search(r"^index [0-9a-f]{40}\.\.[0-9a-f]{40}", text, re.MULTILINE), f"{patch.name}: --full-index"
        assert not re.search(r"^-- $", text, re.MULTILINE), f"{patch.name}: export with --no-signature"
        assert read_hunks(patch)


def test_targets_share_their_upstream() -> None:
    """v8, v11, v12 and v26 are one fork."""
    assert {PINS.targets[name].upstream.name for name in ("v8", "v11", "v12", "v26")} == {"ultralytics"}


def test_nothing_here_names_this_machine() -> None:
    """No path of the machine it was written on in what is shipped."""
    root = Path(__file__).parents[2]
    listed = subprocess.run(["git", "-C", str(root), "ls-files"], capture_output=True, text=True, check=False)
    if listed.returncode:
        pytest.skip("not a checkout")
    files = [root / name for name in listed.stdout.splitlines() if not name.endswith((".png", ".pt"))]
    pattern = re.compile("/" + r"(work|root|home)/\w")
    hits = [path.name for path in files if path.is_file() and pattern.search(path.read_text(errors="replace"))]
    assert hits == []
