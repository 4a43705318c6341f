# SPDX-License-Identifier: AGPL-3.0-or-later
"""A pin moved to a release that only an sdist holds: its commit is never invented; and what a fork is made of."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from pathlib import Path

import pytest
from pinworld import FILES, Place, git

# An sdist may bring its own build backend, which `pip download` runs for metadata; nothing of it may run here.
BACKEND = '[build-system]\nrequires = []\nbuild-backend = "evil"\nbackend-path = ["."]\n'
CLIP = ("        clip(self.model)\n", "        if self.clips:\n            clip(self.model)\n")


def sdist(folder: Path, version: str, files: dict[str, str]) -> str:
    """Make a release's sdist; returns its sha256."""
    about = {
        "PKG-INFO": f"Metadata-Version: 2.1\nName: small\nVersion: {version}\n",
        "pyproject.toml": BACKEND,
        "evil.py": f"open({str(folder / 'ran')!r}, 'w').close()\n",
    }
    folder.mkdir(exist_ok=True)
    path = folder / f"small-{version}.tar.gz"
    with tarfile.open(path, "w:gz") as tar:
        for name, text in {**about, **files}.items():
            info = tarfile.TarInfo(f"small-{version}/{name}")
            info.size, info.mtime = len(text.encode()), 1_700_000_000
            tar.addfile(info, io.BytesIO(text.encode()))
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.fixture
def released(place: Place, monkeypatch: pytest.MonkeyPatch) -> tuple[Place, str]:
    """The small kit, its pin with an sdist, and release 1.1, which lies on the index alone; with 1.1's sha256."""
    index = place.root / "index"
    monkeypatch.setenv("PIP_FIND_LINKS", str(index))
    own = sdist(index, "1.0", FILES)
    pins = place.kit / "pinned_commits.yaml"
    block = f'    sdist:\n      project: small\n      version: "1.0"\n      sha256: {own}\n    engine:'
    pins.write_text(pins.read_text().replace("    engine:", block))
    git(place.kit, "commit", "--quiet", "-am", "an sdist")
    new = {**FILES, "pkg/engine.py": FILES["pkg/engine.py"].replace(*CLIP), "pkg/new.py": "x = 1\n"}
    return place, sdist(index, "1.1", new)


@pytest.mark.parametrize("commit", ["", "c" * 40])
def test_a_release_that_only_an_sdist_holds(released: tuple[Place, str], commit: str) -> None:
    """Pinned by its hash, the commit as given or marked as unresolved; it sets up from the sdist."""
    place, sha256 = released
    words = ["--to", "1.1", *(["--commit", commit] if commit else [])]
    assert place.prunekit("pins", "update", "small", *words, "--dry-run", "--no-smoke") == 0, place.err
    assert ("unresolved" in place.out + place.err) == (not commit) and place.state()[1] == ""
    assert place.prunekit("pins", "update", "small", *words, "--json") == 0, place.err
    assert not (place.root / "index/ran").exists(), "the sdist's own build backend was run"
    verdicts = {row["patch"][:4]: row["verdict"] for row in json.loads(place.out)["patches"]}
    assert verdicts == {"0001": "moved", "0002": "re-anchored", "0003": "untouched", "0004": "moved"}
    pins = (place.kit / "pinned_commits.yaml").read_text()
    assert f"commit: {commit or 'unresolved'}" in pins and f"sha256: {sha256}" in pins and 'version: "1.1"' in pins
    assert place.prunekit("setup", "s1", place.root / "fork", "--source", "sdist") == 0, place.err
    assert (place.root / "fork/pkg/new.py").is_file()
    if not commit:
        assert place.prunekit("pins", "check", "small") == 2 and "no commit id yet" in place.err


@pytest.mark.parametrize(("old", "tagged"), [("1.0", False), ("1.0+0123456789ab", True)])
def test_a_pin_that_was_a_commit_gets_its_tag_back(released: tuple[Place, str], old: str, tagged: bool) -> None:
    """A release without a tag says that its upstream has none; a commit without a tag says nothing."""
    place, _ = released
    pins = place.kit / "pinned_commits.yaml"
    pins.write_text(pins.read_text().replace('    release: "1.0"\n', f'    release: "{old}"\n'))
    git(place.kit, "commit", "--quiet", "--allow-empty", "-am", "a pin")
    assert place.prunekit("pins", "update", "small", "--to", "1.1") == 0, place.err
    assert ("tag: v1.1" in pins.read_text()) == tagged


def test_the_first_setup_that_reaches_the_tag_records_the_commit(released: tuple[Place, str]) -> None:
    """The same fork from either source; that value alone is written, and never a mirror's commit."""
    place, _ = released
    pins = place.kit / "pinned_commits.yaml"
    pins.write_text(pins.read_text().replace('    release: "1.0"\n', '    release: "1.0"\n    tag: v1.0\n'))
    git(place.kit, "commit", "--quiet", "-am", "a tag")
    assert place.prunekit("pins", "update", "small", "--to", "1.1") == 0, place.err
    before = pins.read_text()
    assert "commit: unresolved" in before and "tag: v1.1" in before
    assert place.prunekit("setup", "s1", place.root / "sdist") == 0, place.err
    assert "does not have tag v1.1" in place.err and pins.read_text() == before
    assert place.prunekit("setup", "s1", place.root / "none", "--source", "git") == 2 and "tag v1.1" in place.err
    assert place.prunekit("pins", "check", "small") == 2 and "days old" in place.err and "no tag v1.1" in place.err

    text = FILES["pkg/engine.py"].replace(*CLIP)
    (place.origin / "pkg/engine.py").write_text(text)
    (place.origin / "pkg/new.py").write_text("x = 2\n")
    git(place.origin, "add", "-A")
    git(place.origin, "commit", "--quiet", "-m", "not the release")
    git(place.origin, "tag", "v1.1")
    assert place.prunekit("setup", "s1", place.root / "wrong", "--source", "git") == 2, (
        "another file passed for the release"
    )
    assert "pkg/new.py" in place.err and pins.read_text() == before
    (place.origin / "pkg/new.py").write_text("x = 1\n")
    git(place.origin, "commit", "--quiet", "-am", "the release")
    git(place.origin, "tag", "--force", "v1.1")
    commit = git(place.origin, "rev-parse", "HEAD").strip()

    assert place.prunekit("setup", "s1", place.root / "mirror", "--mirror", place.origin) == 0, place.err
    assert pins.read_text() == before, "a mirror's tag was recorded"
    assert place.prunekit("setup", "s1", place.root / "git") == 0, place.err
    assert pins.read_text() == before.replace("unresolved", commit) and commit in place.out
    heads = {git(place.root / name, "rev-parse", "HEAD") for name in ("sdist", "mirror", "git")}
    assert len(heads) == 1
    for name in ("sdist", "git"):
        assert place.prunekit("verify", place.root / name) == 0, place.err
        assert place.prunekit("setup", "s1", place.root / name) == 0 and "already" in place.out
    assert place.prunekit("pins", "check", "small") == 0, place.err


def test_freeze_names_everything_that_a_fork_is_made_of(released: tuple[Place, str]) -> None:
    """Commit, tree, hash of the sdist, each patch; two runs say the same, and another patch another id."""
    place, _ = released
    assert place.prunekit("pins", "freeze", "--json") == 0, place.err
    first = place.out
    assert place.pin in first and all(name in first for name in place.series() if name.endswith(".patch"))
    assert place.prunekit("pins", "freeze", "--json") == 0 and place.out == first
    assert place.prunekit("patches", "drop", "0003") == 0, place.err
    assert place.prunekit("pins", "freeze", "--json") == 0 and place.out != first
