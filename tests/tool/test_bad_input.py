# SPDX-License-Identifier: AGPL-3.0-or-later
"""The bad-input table of setup: each case is one line that says what to do, a fixed exit code, and no trace on disk."""

from __future__ import annotations

import ctypes
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from smallworld import World, git

PR_CAPBSET_DROP, CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH = 24, 1, 2


def one_line(world: World) -> str:
    """Return the error, having checked that it is one line without a traceback."""
    lines = [line for line in world.err.splitlines() if line.strip() and not line.startswith("warning:")]
    assert len(lines) == 1 and lines[0].startswith("error: "), world.err
    assert "Traceback" not in world.out + world.err
    return lines[0]


def test_unknown_target(world: World) -> None:
    """The nearest name is offered, and the command that lists them."""
    assert world.prunekit("setup", "s11") == 2
    assert "unknown target 's11': did you mean 's1'?" in one_line(world) and "prunekit list" in world.err


def test_unknown_command_and_option(world: World) -> None:
    """Click's own errors end the same way."""
    assert world.prunekit("setpu") == 2
    assert "did you mean 'setup'" in one_line(world)
    assert world.setup("--sauce", "git") == 2
    assert "--source" in one_line(world)
    assert world.setup("--source", "svn") == 2
    assert "'auto', 'git', 'sdist'" in one_line(world)


@pytest.mark.parametrize(
    ("old", "new", "line", "says"),
    [
        ("    release:", "    relase:", 6, "unknown key 'relase': did you mean 'release'?"),
        ("targets:", "tragets:", 10, "unknown key 'tragets': did you mean 'targets'?"),
        ("    upstream: small", "    upstream: smal", 13, "unknown upstream 'smal': did you mean 'small'?"),
        ("    engine: pkg/pruning", "    engine: ../pruning", 9, "'../pruning' does not stay inside the fork"),
        ("    engine: pkg/pruning\n", "", 3, "the key 'engine' is missing here"),
        ("    commit: ", "    commit: x", 4, "a commit id of 40 hex digits is expected here"),
        ("    covers: [pkg/, LICENSE, README.md]", "    covers: pkg/", 7, "a list is expected here"),
        ("    covers: [pkg/, LICENSE", "    covers: [.git/, LICENSE", 7, "does not stay inside the fork"),
        ("    url: ", "    url: --upload-pack=", 3, "a git URL is expected here"),
        ("  small:\n", "  small: {\n", 3, "not YAML"),
        ("    tree: ", "    tree: 1\n    tree: ", 9, "the key 'tree' stands here twice"),
        ("  s1:", "  -s1:", 11, "'-s1' is no name"),
    ],
)
def test_malformed_pins(world: World, old: str, new: str, line: int, says: str) -> None:
    """File and line, and what is expected there."""
    pins = world.kit / "pinned_commits.yaml"
    text = pins.read_text()
    assert old in text
    pins.write_text(text.replace(old, new, 1))
    assert world.setup() == 2
    found = one_line(world)
    assert says in found
    assert abs(int(re.search(re.escape(str(pins)) + r":(\d+):", found).group(1)) - line) <= 1  # type: ignore[union-attr]


@pytest.mark.parametrize("tag", ["release/1.0", "v1.0+cu118", "pkg@1.0"])
def test_tags_as_others_name_them(world: World, tag: str) -> None:
    """A pin whose tag has a folder, a local version or a package in it can be read; one that is an option cannot."""
    pins = world.kit / "pinned_commits.yaml"
    text = pins.read_text()
    pins.write_text(text.replace('    release: "1.0"\n', f'    release: "1.0+a"\n    tag: "{tag}"\n', 1))
    assert world.prunekit("list") == 0, world.err
    pins.write_text(text.replace('    release: "1.0"\n', f'    release: "1.0"\n    tag: "--{tag}"\n', 1))
    assert world.prunekit("list") == 2 and "a tag name" in one_line(world)


@pytest.mark.parametrize("text", ["", "- a\n- b\n", "\x00", "upstreams: 3\ntargets: {}\n"])
def test_pins_of_another_shape(world: World, text: str) -> None:
    """Empty, a list, no text, a number: file and line all the same."""
    (world.kit / "pinned_commits.yaml").write_text(text)
    assert world.setup() == 2
    assert "pinned_commits.yaml:1" in one_line(world)


def test_kit_without_pins(world: World) -> None:
    """`--kit` names a folder that is no kit."""
    (world.kit / "pinned_commits.yaml").unlink()
    assert world.setup() == 2
    assert "is no kit" in one_line(world)


def test_no_git(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without git the message says to install it."""
    monkeypatch.setenv("PATH", str(world.root))
    assert world.setup() == 2
    assert "git was not found" in one_line(world)


def test_old_git(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """A git that cannot be told to read no configuration would make other commits."""
    (world.root / "git").write_text("#!/bin/sh\necho git version 2.25.1\n")
    (world.root / "git").chmod(0o755)
    monkeypatch.setenv("PATH", f"{world.root}:{os.environ['PATH']}")
    assert world.setup() == 2
    assert "git 2.25.1 is too old: install git 2.32" in one_line(world)


def test_patch_that_does_not_apply(world: World) -> None:
    """Exit 4 with patch, file, hunk and a command that shows that hunk."""
    patch = next((world.kit / "patches" / "small").glob("0002-*"))
    patch.write_text(patch.read_text().replace(" line 19\n", " line nineteen\n"))
    assert world.setup() == 4
    found = one_line(world)
    assert f"{patch.name} does not apply: pkg/module.py, hunk 1 (line 18)" in found
    shown = subprocess.run(found.partition("look at it: ")[2], shell=True, capture_output=True, text=True, check=True)
    assert shown.stdout.startswith("@@ -18,6 +18,7 @@") and "+hook()" in shown.stdout
    assert len(shown.stdout.splitlines()) == 8
    assert not world.fork.exists()


def test_patch_is_applied_without_fuzz(world: World) -> None:
    """A context line that differs is a conflict, be it the outermost and the rest fit."""
    patch = next((world.kit / "patches" / "small").glob("0002-*"))
    patch.write_text(patch.read_text().replace(" line 18\n", " line eighteen\n"))
    assert world.setup() == 4


def test_patch_for_a_file_that_is_not_there(world: World) -> None:
    """A moved file is named."""
    patch = next((world.kit / "patches" / "small").glob("0001-*"))
    patch.write_text(patch.read_text().replace("pkg/module.py", "pkg/moved.py"))
    assert world.setup() == 4
    assert f"{patch.name} does not apply" in one_line(world) and "pkg/moved.py" in world.err


@pytest.mark.parametrize("path", ["../escape.py", "/tmp/escape.py", ".git/hooks/post-checkout", "pkg/../../escape.py"])
def test_patch_that_reaches_outside(world: World, path: str) -> None:
    """A path outside the fork, or in its .git, is refused with file and line."""
    patch = next((world.kit / "patches" / "small").glob("0001-*"))
    patch.write_text(patch.read_text().replace("+++ b/pkg/module.py", f"+++ b/{path}"))
    assert world.setup() == 2
    assert "is outside the fork: refused" in one_line(world) and f"{patch}:" in world.err
    assert not world.fork.exists()


def test_patch_that_makes_a_link(world: World) -> None:
    """A link could lead a later patch outside."""
    patch = next((world.kit / "patches" / "small").glob("0001-*"))
    link = "diff --git a/out b/out\nnew file mode 120000\n--- /dev/null\n+++ b/out\n@@ -0,0 +1 @@\n+/etc\n"
    patch.write_text(patch.read_text() + link)
    assert world.setup() == 2
    assert "makes a link" in one_line(world)


def test_a_removed_line_may_look_like_a_path(world: World) -> None:
    """Only head lines are paths: a removed line "-- ../x" is "--- ../x" in a patch and no traversal."""
    patch = next((world.kit / "patches" / "small").glob("0002-*"))
    patch.write_text(patch.read_text().replace("+hook()\n", "+++ ../../x\n"))
    assert world.setup() == 0, world.err
    assert "++ ../../x\n" in (world.fork / "pkg" / "module.py").read_text()


@pytest.mark.parametrize("name", ["0003-none.patch", "../../kit/x.patch", "/etc/passwd"])
def test_series_names_a_patch_that_is_not_there(world: World, name: str) -> None:
    """File and line of the series."""
    series = world.kit / "patches" / "small" / "series"
    series.write_text(series.read_text() + name + "\n")
    assert world.setup() == 2
    assert f"{series}:4: there is no patch '{name}'" in one_line(world)


def test_dropin_over_an_upstream_file(world: World) -> None:
    """Drop-ins add, they never replace: what changes upstream's files is the series."""
    (world.kit / "dropins" / "small" / "LICENSE").touch()
    assert world.setup() == 2
    assert "would overwrite upstream's LICENSE" in one_line(world)


def test_dropin_that_is_a_link(world: World) -> None:
    """A link would bring a file from outside the kit."""
    (world.kit / "dropins" / "small" / "x.py").symlink_to("/etc/passwd")
    assert world.setup() == 2
    assert "is a link" in one_line(world)


def test_folder_is_a_file(world: World) -> None:
    """DIR, or a folder above it, is a file; it stays what it is."""
    world.fork.parent.mkdir()
    world.fork.write_text("mine")
    assert world.setup() == 2
    assert f"{world.fork} is a file" in one_line(world)
    assert world.prunekit("setup", "s1", world.fork / "below") == 2
    assert "name another DIR" in one_line(world)
    assert world.fork.read_text() == "mine" and world.beside() == ["fork"]


@pytest.mark.parametrize("force", [[], ["--force"]])
def test_folder_is_not_empty(world: World, force: list[str]) -> None:
    """Somebody's folder is refused, with --force too: that is for forks."""
    world.fork.mkdir(parents=True)
    (world.fork / "thesis.tex").write_text("mine")
    assert world.setup(*force) == 2
    assert "is not empty and no fork" in one_line(world)
    assert (world.fork / "thesis.tex").read_text() == "mine" and world.beside() == ["fork"]


def test_folder_of_a_repository_is_not_empty(world: World) -> None:
    """A git repository that prunekit has not made is somebody's too."""
    world.fork.mkdir(parents=True)
    git(world.fork, "init", "--quiet")
    assert world.setup("--force") == 2
    assert "is not empty and no fork" in one_line(world)


def test_name_that_is_too_long(world: World) -> None:
    """The system's limits are the user's to keep."""
    assert world.prunekit("setup", "s1", world.root / ("x" * 300)) == 2
    assert "name another DIR" in one_line(world)


@pytest.mark.skipif(sys.platform != "linux", reason="/proc is Linux's")
@pytest.mark.parametrize("name", ["x", "x/y"])
def test_folder_that_nobody_can_make(world: World, name: str) -> None:
    """A file system that takes no files: the system's reason, whatever it is, and what to do."""
    assert world.prunekit("setup", "s1", Path("/proc", name)) == 2
    found = one_line(world)
    assert f"cannot make /proc/{name}: " in found and "name a DIR in another folder" in found


def drop_root() -> None:
    """Take from this process what lets root write anywhere, so that permissions count."""
    prctl = ctypes.CDLL(None).prctl
    for capability in (CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH):
        prctl(PR_CAPBSET_DROP, capability, 0, 0, 0)


@pytest.mark.skipif(sys.platform != "linux", reason="capabilities are Linux's")
def test_folder_is_not_writable(world: World) -> None:
    """A folder that is not ours to write in: said in a line, nothing made."""
    world.fork.parent.mkdir(mode=0o555)
    command = [sys.executable, "-m", "prunekit", "--kit", str(world.kit), "setup", "s1", str(world.fork)]
    done = subprocess.run(command, preexec_fn=drop_root, capture_output=True, text=True, check=False)
    assert done.returncode == 2, done.stderr
    assert done.stderr.startswith("error: cannot write ") and "Permission denied" in done.stderr
    assert done.stderr.count("\n") == 1 and world.beside() == []


def test_full_disk(world: World, tiny_disk: Path) -> None:
    """The disk fills up during setup: said in a line, and the disk is as empty as before."""
    assert world.prunekit("setup", "s1", tiny_disk / "fork") == 2
    assert f"no space left on the disk of {tiny_disk / 'fork'}" in one_line(world)
    assert list(tiny_disk.iterdir()) == []


def test_errors_in_json(world: World) -> None:
    """With `--json` an error is a document too."""
    assert world.prunekit("setup", "s11", "--json") == 2
    assert '"exit_code": 2' in world.out and "did you mean 's1'" in world.out


def test_internal_error_is_code_1(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is nobody's fault but ours is said as such, and shown in full on request."""
    monkeypatch.setattr("prunekit.cli.main.set_up", lambda *_: 1 / 0)
    assert world.setup() == 1
    assert "internal error: ZeroDivisionError" in one_line(world)
    monkeypatch.setenv("PRUNEKIT_DEBUG", "1")
    assert world.setup() == 1
    assert "Traceback" in world.err
