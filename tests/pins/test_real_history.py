# SPDX-License-Identifier: AGPL-3.0-or-later
"""`why`, `rebase` and `pins check` on what upstreams really did: YOLOv5 from v7.0 on, and YOLOv7, which rests."""

from __future__ import annotations

import json
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest
from pinworld import HEADER
from prunekit.cli.main import run
from prunekit.kit import find_kit
from prunekit.maintain.edit_series import pick
from prunekit.maintain.probe import Probe
from prunekit.maintain.series_repo import scratch, set_up_bench
from prunekit.maintain.staged_kit import root_commit
from prunekit.porting.memory import load
from prunekit.porting.series import move_series
from prunekit.upstream.fetch import From
from prunekit.upstream.history import history
from prunekit.upstream.manifest import read_manifest, tree_id
from prunekit.upstream.new_pin import find_candidate
from prunekit.upstream.pins import read_pins

pytestmark = [pytest.mark.upstream, pytest.mark.slow]
URL = "https://github.com/ultralytics/yolov5.git"
V7 = "915bbf294bb74c859f0b41f1c23bc395014ea679"
MASTER = "5081342f04fb287fc2e5f2b5a4e06752b7937b1c"
DEDUPLICATED = "0fd7ea49e7eb937c5ce87a71c18132564d005dae"  # took join_threads away, and one of two twins in triton.py
OLDEST = "c07b9a8b8c5d5a9656f091cf9a9e22f47d87eb4f"  # of the two years before the pin that touch a patched file
V6 = "956be8e642b5c10af4a1533e09084ca32ff4f21f"  # v6.0
PINS = """\
upstreams:
  five:
    url: {url}
    commit: {commit}
    date: 2022-11-22T16:42:39+01:00
    release: "7.0"
    covers: [{path}, LICENSE]
    tree: {tree}
    engine: pruning
targets:
  f1:
    upstream: five
    next: []
"""


@dataclass
class Kit:
    """A kit whose one patch puts a line into one file of YOLOv5 v7.0, and the tool as its user types it."""

    root: Path
    capture: pytest.CaptureFixture[str]
    out: str = ""
    err: str = ""

    def prunekit(self, *args: str) -> int:
        """Run the tool; returns the exit code, keeps what it printed."""
        self.capture.readouterr()
        code = run(["--kit", str(self.root), *args])
        self.out, self.err = self.capture.readouterr()
        return code


@pytest.fixture(scope="session")
def yolov5(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """YOLOv5's history without its files, or a skip where it cannot be had."""
    folder = tmp_path_factory.mktemp("history") / "yolov5"
    words = ["git", "clone", "--quiet", "--no-checkout", "--filter=blob:none", "--single-branch", URL, str(folder)]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"no history of YOLOv5: {done.stderr[-200:]}")
    return folder


def git(folder: Path, *args: str) -> str:
    """Run git as the user's own: it fetches what it has not got yet."""
    words = ["git", "-c", "user.name=t", "-c", "user.email=t@x", "-c", "advice.detachedHead=false", *args]
    done = subprocess.run(words, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def make(yolov5: Path, folder: Path, path: str, change: tuple[str, str], capture: pytest.CaptureFixture[str]) -> Kit:
    """Make the kit, as a git checkout; the change is (old line, new lines)."""
    kit, work = folder / "kit", folder / "work"
    git(yolov5, "worktree", "add", "--quiet", "--no-checkout", "--detach", str(work), V7)
    git(work, "read-tree", V7)
    git(work, "checkout", V7, "--", path, "LICENSE")
    text = (work / path).read_bytes()
    end = b"\r\n" if b"\r\n" in text else b"\n"  # v7.0 has files of both kinds
    old, new = (it.encode().replace(b"\n", end) for it in change)
    assert old in text
    (work / path).write_bytes(text.replace(old, new, 1))
    git(work, "add", path)
    tree = git(work, "write-tree", "--missing-ok")
    commit = git(work, "commit-tree", tree, "-p", V7, "-m", f"Our line\n\n{HEADER.format(what='a line')}")
    patches, tests = kit / "patches/five", kit / "tests"
    for it in (patches, tests, kit / "manifests", kit / "dropins/pruning"):
        it.mkdir(parents=True)
    options = ["--zero-commit", "--no-signature", "--full-index", "--no-stat", "--keep-subject", "-N", "-1"]
    name = Path(git(work, "format-patch", *options, "-o", str(patches), commit)).name
    (patches / "series").write_text(f"{name}\n")
    (patches / "tests").write_text(f"{name} tests/test_it.py::test_it\n")
    (tests / "test_it.py").write_text("def test_it():\n    pass\n")
    (kit / "dropins/pruning/engine.py").write_text("E = 1\n")
    rows = git(work, "ls-tree", "-r", V7, path, "LICENSE")
    (kit / "manifests/five.txt").write_text(rows + "\n")
    entries = {row.split("\t")[1]: row.split("\t")[0].split(" ") for row in rows.splitlines()}
    own = tree_of(kit / "manifests/five.txt", entries)
    (kit / "pinned_commits.yaml").write_text(PINS.format(url=URL, commit=V7, path=path, tree=own))
    git(kit, "init", "--quiet")
    git(kit, "add", "-A")
    git(kit, "commit", "--quiet", "-m", "the kit")
    return Kit(kit, capture)


def tree_of(manifest: Path, entries: dict[str, list[str]]) -> str:
    """Return the tree id of a manifest's rows."""
    from prunekit.upstream.manifest import Entry

    made = tree_id({path: Entry(mode, blob) for path, (mode, _, blob) in entries.items()})
    assert read_manifest(manifest, made).keys() == entries.keys()
    return made


def test_why_names_the_commit_that_took_a_function_away(
    yolov5: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A hook in join_threads (utils/__init__.py), which a clean-up removed 3.5 years later, among 20 other commits."""
    anchor = "    main_thread = threading.current_thread()\n"
    kit = make(yolov5, tmp_path, "utils/__init__.py", (anchor, f"{anchor}    hooks.joined(main_thread)\n"), capsys)
    truth = git(yolov5, "log", "--format=%H", "-Sdef join_threads", f"{V7}..{MASTER}", "--", "utils/__init__.py")
    assert truth == DEDUPLICATED
    assert kit.prunekit("why", "0001", "--onto", MASTER, "--json") == 4, kit.err
    found = json.loads(kit.out)
    assert found["commit"] == DEDUPLICATED and "join_threads is not there" in found["conflicts"][0]["reason"]
    assert "-def join_threads(verbose=False):" in found["diff"] and 10 < found["touching"] < 40 and found["tried"] < 8


def test_a_conflict_of_yolov5s_own(
    yolov5: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A hook in the first of two functions of one name, which upstream made one: abort; again, mend, continue."""
    monkeypatch.chdir(tmp_path)
    path = "utils/triton.py"
    anchor = "            def create_input_placeholders() -> typing.List[InferInput]:\n"
    kit = make(yolov5, tmp_path, path, (anchor, f"{anchor}                ready = url is not None\n"), capsys)
    before, work = git(kit.root, "rev-parse", "HEAD"), tmp_path / "series/five-rebase"
    assert kit.prunekit("rebase", "five", "--onto", MASTER) == 4, kit.err
    assert "create_input_placeholders" in kit.out and path in kit.err
    assert kit.prunekit("rebase", "--abort") == 0 and not work.exists()
    assert git(kit.root, "rev-parse", "HEAD") == before and git(kit.root, "status", "--porcelain") == ""
    assert kit.prunekit("rebase", "five", "--onto", MASTER) == 4
    git(work, "checkout", "--ours", path)
    one = "        def create_input_placeholders() -> list[InferInput]:\n"
    text = (work / path).read_text()
    assert text.count(one) == 1
    (work / path).write_text(text.replace(one, f"{one}            ready = url is not None\n"))
    git(work, "add", path)
    assert kit.prunekit("rebase", "--continue") == 0, kit.err + kit.out
    assert git(kit.root, "rev-parse", "HEAD~1") == before and MASTER in (kit.root / "pinned_commits.yaml").read_text()
    assert kit.prunekit("patches", "export", "--check") == 0 and kit.prunekit("patches", "lint") == 0, kit.out
    assert kit.prunekit("setup", "f1", str(tmp_path / "fork")) == 0
    assert f"{one}            ready = url is not None\n" in (tmp_path / "fork" / path).read_text()
    replayed_there_and_back(kit)


def replayed_there_and_back(kit: Kit) -> None:
    """What was resolved by hand once is replayed on the way back to v7.0 and forward again, and said."""
    assert len(git(kit.root, "ls-files", "resolved/five").splitlines()) == 2
    forward = {path.name: path.read_bytes() for path in (kit.root / "patches/five").iterdir()}
    for to in (V7, MASTER):
        assert kit.prunekit("pins", "update", "five", "--to", to, "--json") == 0, kit.err
        (row,) = json.loads(kit.out)["patches"]
        assert (row["verdict"], row["files"]) == ("remembered", {"utils/triton.py": "remembered"})
        assert to in (kit.root / "pinned_commits.yaml").read_text()
    assert {path.name: path.read_bytes() for path in (kit.root / "patches/five").iterdir()} == forward
    assert kit.prunekit("pins", "check", "five") == 0, kit.out


def test_the_series_of_yolov5_in_its_past(
    yolov5: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """At the oldest commit of the two years before the pin all five patches have a place (v7.0: see below).

    At v6.0 the fifth has none: it changes a file that came later; `why` names the commit that brought it.
    """
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    kit = find_kit()
    (upstream,) = pick(read_pins(kit.pins), "yolov5")
    with scratch() as folder:
        bench = set_up_bench(kit, upstream, From(), folder, lambda _: None)
        probe = Probe(bench, history(upstream, upstream.url, lambda _: None))
        verdicts = [probe.verdict(number, OLDEST)[0] for number in range(5)]
    assert verdicts == ["re-anchored", "moved", "re-anchored", "re-anchored", "moved"]
    assert run(["why", f"yolov5/{bench.patches[4].name}", "--onto", V6, "--json"]) == 4
    found = json.loads(capsys.readouterr().out)
    truth = git(yolov5, "log", "--format=%H", "--diff-filter=A", f"{V6}..{MASTER}", "--", "segment/train.py")
    assert found["older"] and found["commit"] == truth
    reasons = [(it["path"], it["reason"]) for it in found["conflicts"]]
    assert ("segment/train.py", "upstream no longer has this file") in reasons


def test_the_series_of_yolov5_to_its_v7_and_back() -> None:
    """No conflict is left on the way there, nor on the way back, which makes the same files again."""
    kit = find_kit()
    (upstream,) = pick(read_pins(kit.pins), "yolov5")
    manifest = read_manifest(kit.manifests / "yolov5.txt", upstream.tree)
    with scratch() as folder:
        bench = set_up_bench(kit, upstream, From(), folder / "old", lambda _: None)
        candidate = find_candidate(upstream, manifest, "v7.0", From(), None, folder / "new", lambda _: None)
        repo, names, memory = bench.repo, [path.name for path in bench.patches], load(kit, "yolov5")
        target = root_commit(bench, candidate)
        there = move_series(repo, bench.root, bench.commits, names, target, memory)
        assert [move.verdict for move in there] == ["re-anchored", "moved", "re-anchored", "re-anchored", "re-anchored"]
        commits = [move.commit for move in there if move.commit]
        back = move_series(repo, target, commits, names, bench.root, memory)
        assert [move.verdict for move in back] == ["re-anchored", "moved", "re-anchored", "re-anchored", "re-anchored"]
        ends = [repo.text("rev-parse", f"{commit}^{{tree}}") for commit in (back[-1].commit, bench.commits[-1])]
        assert ends[0] == ends[1]


def test_yolov7_has_not_moved(capsys: pytest.CaptureFixture[str]) -> None:
    """Its pin is upstream's last commit; `check` says so."""
    code = run(["pins", "check", "yolov7", "--json"])
    out, err = capsys.readouterr()
    if code == 2 and "cannot be fetched" in err:
        pytest.skip(err)
    (found,) = json.loads(out)
    assert (code, found["commits"], found["head"]) == (0, 0, "a207844b1ce82d204ab36d87d496728d3d2348e7")
    assert run(["pins", "check", "yolov7"]) == 0 and "nothing has moved" in capsys.readouterr().out
