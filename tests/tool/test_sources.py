# SPDX-License-Identifier: AGPL-3.0-or-later
"""Where the bytes come from: poor servers, gone pins, unreachable hosts, wrong bytes, wrong archives."""

from __future__ import annotations

import functools
import http.server
import json
import shutil
import socket
import subprocess
import tarfile
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from smallworld import DATE, World, configure, git, make_sdist, sdist_keys

NOBODY = "http://127.0.0.1:9/small.git"  # the discard port: refused at once


@pytest.fixture
def poor(world: World) -> World:
    """A world whose server has neither partial clone nor single commits, as old ones are."""
    for key in ("allowFilter", "allowAnySHA1InWant"):
        git(world.origin, "config", f"uploadpack.{key}", "false")
    configure(world, "[protocol]\n version = 0\n")  # the newer protocol gives out any commit
    return world


@pytest.fixture
def dumb_server(world: World) -> Iterator[str]:
    """Serve the origin as plain files over HTTP; yields its URL."""
    git(world.origin, "update-server-info")
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=str(world.origin / ".git"))
    handler.log_message = lambda *_: None  # type: ignore[attr-defined]
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()


def tree_and_bytes(world: World) -> tuple[str, int]:
    """Return the tree id and the fetched bytes that `--json` reported."""
    document = json.loads(world.out)
    return document["tree"], document["fetched_bytes"]


def test_server_without_partial_clone(world: World) -> None:
    """One whole commit comes instead, film and all, and the fork is the same."""
    assert world.setup("--json") == 0
    tree, size = tree_and_bytes(world)
    git(world.origin, "config", "uploadpack.allowFilter", "false")
    assert world.prunekit("setup", "s1", world.root / "b", "--json") == 0, world.err
    again, more = tree_and_bytes(world)
    assert again == tree and size < 10_000 < 300_000 < more


def test_server_without_single_commits_gives_its_tag(poor: World) -> None:
    """The pin's (annotated) tag leads to the same commit, and the user is told."""
    git(poor.origin, "tag", "-a", "-m", "release", "v1.0", poor.commit)
    poor.write_pins(tag="    tag: v1.0\n")
    assert poor.setup() == 0, poor.err
    assert "fetched its tag" in poor.err
    assert git(poor.fork, "rev-parse", "HEAD~3^{tree}") == poor.tree


def test_server_without_single_commits_or_tag_gives_its_history(poor: World) -> None:
    """Without a tag, or with one that points elsewhere, the whole history is fetched and the pin found in it."""
    assert poor.setup() == 0, poor.err
    assert "whole history" in poor.err
    git(poor.origin, "tag", "v1.0", "HEAD")
    poor.write_pins(tag="    tag: v1.0\n")
    assert poor.prunekit("setup", "s1", poor.root / "b") == 0, poor.err
    assert "whole history" in poor.err


def test_plain_file_server(world: World, dumb_server: str) -> None:
    """A server that only serves files still serves."""
    world.write_pins(url=dumb_server)
    assert world.setup("--source", "git") == 0, world.err


@pytest.mark.parametrize("protocol", [0, 2])
def test_pin_that_upstream_no_longer_has(world: World, protocol: int) -> None:
    """One line that names the commit and the ways out; nothing is left."""
    configure(world, f"[protocol]\n version = {protocol}\n")
    world.write_pins(commit="0123456789" * 4)
    assert world.setup("--source", "git") == 2
    assert f"does not have commit {'0123456789' * 4}" in world.err and "--mirror URL" in world.err
    assert not world.fork.parent.exists()


def test_pin_gone_from_a_poor_server(poor: World) -> None:
    """The whole history was looked through, and says so."""
    poor.write_pins(commit="0123456789" * 4, tag="    tag: v9\n")
    assert poor.setup() == 2
    assert "does not have commit" in poor.err


def test_no_network_takes_the_sdist(world: World) -> None:
    """`auto` takes the sdist where no host answers, says why, and makes the same fork; no upstream code runs."""
    assert world.setup("--json") == 0
    tree, _ = tree_and_bytes(world)
    world.write_pins(url=NOBODY, sdist=sdist_keys(make_sdist(world.root / "links")))
    assert world.prunekit("setup", "s1", world.root / "b", "--json") == 0, world.err
    document = json.loads(world.out)
    assert (document["source"], document["tree"]) == ("sdist", tree)
    assert f"{NOBODY} cannot be reached" in world.err and "took the sdist" in world.err


def test_an_sdist_with_a_backend_of_its_own(world: World) -> None:
    """`backend-path` names code in the archive, which pip would run for metadata: it is fetched, nothing runs."""
    ran = world.root / "ran"
    evil = f"open({str(ran)!r}, 'w').close()\nfrom setuptools.build_meta import *\n".encode()
    for name, path in (("evil", "."), ("setuptools.build_meta", "own")):
        place = {"evil": "evil.py", "setuptools.build_meta": "own/setuptools/build_meta.py"}[name]
        project = f'[build-system]\nrequires = []\nbuild-backend = "{name}"\nbackend-path = ["{path}"]\n'.encode()
        members = {"small-1.0/pyproject.toml": project, f"small-1.0/{place}": evil}
        members["small-1.0/own/setuptools/__init__.py"] = b""
        world.write_pins(url=NOBODY, sdist=sdist_keys(make_sdist(world.root / "links", members)))
        fork = world.root / f"fork-{len(name)}"
        assert world.prunekit("setup", "s1", fork, "--source", "sdist", "--json") == 0, world.err
        assert json.loads(world.out)["source"] == "sdist" and not ran.exists()


@pytest.mark.skipif(shutil.which("ps") is None, reason="GitPython finds git's children with ps")
@pytest.mark.timeout(120)
def test_network_that_swallows_packets(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """A host that never says a word is given up in time, and the sdist taken; no child of git is left waiting."""
    monkeypatch.setattr("prunekit.upstream.fetch_git._PATIENCE", 1.0)
    with socket.create_server(("127.0.0.1", 0)) as mute:  # the system connects, nobody answers
        url = f"http://127.0.0.1:{mute.getsockname()[1]}/small.git"
        world.write_pins(url=url, sdist=sdist_keys(make_sdist(world.root / "links")))
        assert world.setup("--json") == 0, world.err
        left = subprocess.run(["ps", "-A", "-o", "args"], capture_output=True, text=True, check=True).stdout
    assert json.loads(world.out)["source"] == "sdist"
    assert f"{url} cannot be reached (no answer within 1 s)" in world.err
    assert url not in left


def test_no_network_at_all(world: World) -> None:
    """Both reasons in one line."""
    world.write_pins(url=NOBODY, sdist=sdist_keys("0" * 64))
    assert world.setup() == 2
    assert "neither source can be had" in world.err and NOBODY in world.err and "pip cannot fetch" in world.err
    assert world.err.count("error:") == 1 and "Traceback" not in world.err


def test_source_git_never_asks_pip(world: World) -> None:
    """`--source git` means git."""
    world.write_pins(url=NOBODY, sdist=sdist_keys(make_sdist(world.root / "links")))
    assert world.setup("--source", "git") == 2
    assert "cannot be reached" in world.err and not world.fork.exists()


def test_wrong_sdist_hash(world: World) -> None:
    """An archive with another hash is refused, with both hashes."""
    found = make_sdist(world.root / "links")
    world.write_pins(sdist=sdist_keys("0" * 64))
    assert world.setup("--source", "sdist") == 2
    assert found in world.err and "0" * 64 in world.err and "refused" in world.err
    assert not world.fork.exists()


def test_wrong_byte_in_the_sdist(world: World) -> None:
    """The pinned hash is right and one file is not upstream's: it is named."""
    sha256 = make_sdist(world.root / "links", {"small-1.0/pkg/module.py": b"line 1\n"})
    world.write_pins(sdist=sdist_keys(sha256))
    assert world.setup("--source", "sdist") == 2
    assert "pkg/module.py" in world.err and "is not what the pin says" in world.err
    assert not world.fork.exists()


def test_wrong_byte_in_the_manifest(world: World) -> None:
    """A manifest row that was changed is noticed before anything is fetched."""
    manifest = world.kit / "manifests" / "small.txt"
    manifest.write_text(manifest.read_text().replace("100644 blob", "100755 blob", 1))
    assert world.setup() == 2
    assert f"{manifest}: its rows make tree" in world.err
    assert "failed source" not in world.out


def test_commit_whose_files_are_others(world: World) -> None:
    """A pin and a manifest that do not belong together: the first files are named."""
    world.write_pins(commit=git(world.origin, "rev-parse", "HEAD"))
    assert world.setup() == 2
    assert "pkg/module.py" in world.err and "is not what the pin says" in world.err


@pytest.mark.parametrize(
    "name", ["../escape.py", "/tmp/escape.py", "small-1.0/../../escape.py", "small-1.0/.git/hooks/x"]
)
def test_archive_that_reaches_outside(world: World, name: str) -> None:
    """A member outside the archive's folder refuses the whole archive."""
    world.write_pins(sdist=sdist_keys(make_sdist(world.root / "links", {name: b"x"})))
    assert world.setup("--source", "sdist") == 2
    # newer versions of pip refuse such an archive themselves, before the tool sees it
    assert name in world.err or "pip cannot fetch" in world.err
    assert not world.fork.exists() and not list(world.root.rglob("escape.py"))


def test_archive_with_a_link(world: World) -> None:
    """So does a link, even one that points to a file of the archive."""
    link = tarfile.TarInfo("small-1.0/pkg/link.py")
    link.type, link.linkname = tarfile.SYMTYPE, "module.py"
    world.write_pins(sdist=sdist_keys(make_sdist(world.root / "links", extra=[link])))
    assert world.setup("--source", "sdist") == 2
    assert "small-1.0/pkg/link.py" in world.err and not world.fork.exists()


def test_mirror_and_sdist_exclude_each_other(world: World) -> None:
    """`--mirror` says where git fetches from."""
    assert world.setup("--source", "sdist", "--mirror", "/somewhere") == 2
    assert "--mirror names a git repository" in world.err


def test_mirror_that_is_not_there(world: World) -> None:
    """Who names a mirror gets nothing from elsewhere, unless `--source auto` is typed too."""
    world.write_pins(sdist=sdist_keys(make_sdist(world.root / "links")))
    assert world.setup("--mirror", "/nope") == 2
    assert "/nope cannot be reached" in world.err and "--source auto" in world.err
    assert world.err.count("error:") == 1 and not world.fork.parent.exists()
    assert world.setup("--mirror", "/nope", "--source", "auto", "--json") == 0, world.err
    assert json.loads(world.out)["source"] == "sdist" and "/nope cannot be reached" in world.err


@pytest.mark.parametrize("mirror", ["-u./evil", "--upload-pack=evil"])
def test_mirror_is_never_an_option(world: World, mirror: str, tmp_path: Path) -> None:
    """A URL that git would read as an option is refused."""
    assert world.setup(f"--mirror={mirror}") == 2
    assert "is no git URL" in world.err


def test_no_sdist_to_take(world: World) -> None:
    """An upstream without a source release says so."""
    assert world.setup("--source", "sdist") == 2
    assert "publishes no sdist" in world.err


def test_date_is_the_pins(world: World) -> None:
    """All commits carry the pin's date and zone: ids do not depend on the day."""
    assert world.setup() == 0
    assert set(git(world.fork, "log", "--format=%aI %cI").splitlines()) == {f"{DATE} {DATE}"}
