# SPDX-License-Identifier: AGPL-3.0-or-later
"""`setup --into` on ultralytics' own files: a clone with own commits and an edited trainer, of another release too."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest
from prunekit.cli.main import run
from prunekit.fork import repository
from prunekit.kit import find_kit
from prunekit.maintain.smoke import import_modules
from prunekit.patches.series import read_series
from prunekit.upstream.pins import read_pins

pytestmark = [pytest.mark.upstream, pytest.mark.slow]
OLD = "6dffa0cef3e30e765b1622d5cc02d57b04d7ee8b"  # 8.3.145
TRAINER = "ultralytics/engine/trainer.py"
CLIPS = "        torch.nn.utils.clip_grad_norm_("
OWN = "    def own_clip(self):\n        return 1\n\n"


def git(folder: Path, *args: str) -> str:
    """Run git as the user's own."""
    words = ["git", "-c", "user.name=t", "-c", "user.email=t@x", "-c", "advice.detachedHead=false", *args]
    done = subprocess.run(words, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def cloned(folder: Path, url: str, commit: str) -> None:
    """Make the clone, or skip where upstream cannot be had."""
    git(folder.parent, "init", "--quiet", "--initial-branch=work", str(folder))
    done = subprocess.run(["git", "fetch", "--quiet", "--depth", "1", url, commit], cwd=folder, check=False)
    if done.returncode:
        pytest.skip(f"no commit {commit} of {url}")
    git(folder, "reset", "--quiet", "--hard", "FETCH_HEAD")
    (folder / "ultralytics/mine").mkdir()
    (folder / "ultralytics/mine/__init__.py").write_text("x = 1\n")
    git(folder, "add", "-A")
    git(folder, "commit", "--quiet", "-m", "own module")
    text = (folder / TRAINER).read_text()
    step = "    def optimizer_step(self):\n"
    assert text.count(step) == 1 and text.count(CLIPS) == 1
    text = text.replace(step, OWN + step).replace(CLIPS, f"        self.own_clip()\n{CLIPS}")
    (folder / TRAINER).write_text(text)
    git(folder, "commit", "--quiet", "-am", "own trainer")


@pytest.mark.parametrize("at", [OLD, "the pin"])
def test_a_clone_with_own_commits(at: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Own lines and hooks side by side, importable; status, verify and diff; then all as it was."""
    kit = find_kit()
    pin = read_pins(kit.pins).upstreams["ultralytics"]
    folder = tmp_path / "clone"
    cloned(folder, pin.url, pin.commit if at == "the pin" else at)
    before = [git(folder, *words) for words in (("for-each-ref",), ("ls-files", "-s"), ("symbolic-ref", "HEAD"))]
    tip = git(folder, "rev-parse", "HEAD")
    assert run(["setup", "v8", "--into", str(folder)]) == 0, capsys.readouterr().err
    assert git(folder, "rev-parse", f"HEAD~{len(read_series(kit, pin)) + 1}") == tip == git(folder, "rev-parse", "work")
    text = (folder / TRAINER).read_text()
    assert f"        self.own_clip()\n{CLIPS}" in text and OWN in text
    assert text.index("own_clip()") < text.index("hooks.bn_l1(self)") < text.index("self.scaler.step(")
    for command in ("status", "verify", "diff"):
        assert run([command, str(folder)]) == 0, capsys.readouterr().out
    said = capsys.readouterr().out
    assert "as set up" in said and "exactly what the kit makes" in said and "nothing differs from setup" in said
    if importlib.util.find_spec("torch") and importlib.util.find_spec("tqdm"):
        tried = import_modules(folder, [TRAINER, "ultralytics/nn/tasks.py"], sys.executable, tmp_path / "scratch")
        assert tried.passed, tried.said
    assert run(["setup", "v8", "--into", str(folder), "--remove"]) == 0, capsys.readouterr().err
    after = [git(folder, *words) for words in (("for-each-ref",), ("ls-files", "-s"), ("symbolic-ref", "HEAD"))]
    assert after == before and git(folder, "status", "--porcelain") == "" and repository.read_record(folder) is None
    assert sorted(it.name for it in (folder / "ultralytics").iterdir() if "prun" in it.name) == []
