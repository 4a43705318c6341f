# SPDX-License-Identifier: AGPL-3.0-or-later
"""train_sparse.py and inspect_bn.py, and whose ultralytics they run."""

from __future__ import annotations

import json
import os
import runpy
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest
from runner import Runner

pytestmark = pytest.mark.upstream
SMALL = ("--imgsz", "64", "--batch=8", "device=cpu", "workers=0", "--epochs", "1", "plots=False", "val=False")
EMPTY = Path("/nonexistent")  # nothing on the path but what a script finds by itself


@pytest.fixture
def sparse(upstream: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The module behind both scripts, in this process, in an empty folder."""
    from ultralytics.prunekit import sparse as module

    monkeypatch.chdir(tmp_path)
    return module


def test_sparse_training_then_inspection(
    fork: Path, python: Runner, checkpoints: Path, digits: Path, sparse: ModuleType
) -> None:
    """As typed: defaults are said in one line, and gamma is smaller than before; nothing else on Python's path."""
    place = (f"project={python.folder}", "name=sparse")
    words = ("--weights", checkpoints / "dense.pt", "--data", digits, *SMALL, *place, "nbs=8", "warmup_epochs=0")
    done = python(EMPTY, fork / "train_sparse.py", *words, "--sparsity", "0.5")
    assert done.returncode == 0, done.stderr[-3000:]
    assert "sparsity 0.5, sparsity_beta 0.01 (default), optimizer SGD (default)" in done.stdout
    last = python.folder / "sparse/weights/last.pt"  # not best.pt, which is the least sparse
    assert f"inspect_bn.py --weights {last}" in done.stdout and "Go on with last.pt" in done.stdout
    assert "amp: false" in (last.parents[1] / "args.yaml").read_text(), "what the trainer prints is what holds"
    both = (checkpoints / "dense.pt", last)
    before, after = (sparse.inspect("", ["--weights", str(w), "--png", "h.png"]) for w in both)
    mean = [sum(x.gamma_mean * x.channels for x in r.layers) / r.channels for r in (before, after)]
    assert mean[0] - mean[1] > 0.005  # two steps, each up to 0.5 * 0.01 and momentum; seen by the EMA


def test_every_fine_tuning_says_that_amp_is_off(sparse: ModuleType) -> None:
    """Patch 1 switches it off in any case; the line that a trainer prints of its arguments has to say so."""
    for given in ({}, {"amp": True}):
        assert sparse.Ultralytics(given)._overrides(Path("run"))["amp"] is False


def test_inspection(sparse: ModuleType, checkpoints: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A row a norm with what a global threshold keeps of it (dense.pt: uniform from 0.5 to 1.5), a picture, JSON."""
    model = ["--model", str(checkpoints / "dense.pt"), "--keep", "0.25", "--png", "h.png"]
    sparse.inspect("", model)
    text = capsys.readouterr().out
    rows = [line.split() for line in text.splitlines() if line.startswith("model.")]
    kept, channels = (sum(int(row[i]) for row in rows) for i in (-1, 1))
    assert len(rows) == 57 and kept == -(-channels // 4)
    assert "verdict: train longer" in text and "|gamma| 1.2" in text
    assert Path("h.png").read_bytes()[:4] == b"\x89PNG"
    sparse.inspect("", [*model, "--json"])
    said = capsys.readouterr().out
    report = json.loads(said)
    assert 0 < report["pruning"]["kept"] < report["pruning"]["of"]
    assert f"threshold |gamma| {report['threshold']:.4g}" in " ".join(report["pruning"]["notes"])
    assert report["channels"] == channels and sum(layer["kept"] for layer in report["layers"]) == kept
    assert report["verdict"] == "train longer" and report["png"] == "h.png"


@pytest.mark.parametrize(
    ("script", "words", "said"),
    [
        ("train", "--data x.yaml", "no network given"),
        ("train", "--weights none.pt --data x.yaml", "none.pt"),
        ("train", "--weights none.yaml --data x.yaml", "none.yaml"),
        ("train", "--weights {dense} --data none.yaml", "--data none.yaml"),
        ("train", "--weights {dense} --data {data} --sparsity 2", "--sparsity 2: must be a number between 0 and 1"),
        ("train", "--weights {dense} --data {data} --sparsity-beta 2", "--sparsity-beta 2: must be a number"),
        ("train", "--weights {dense} --data {data} --sparsity-beta -0.1", "--sparsity-beta -0.1: must be a number"),
        ("train", "--weights {dense} --data {data} --freeze 999", "--freeze 999: the network has 23 layers"),
        ("train", "--weights {dense} --data {data} --pretrained nowhere.pt", "--weights nowhere.pt: no such file"),
        ("train", "--weights {dense} --data lists.yaml", "--data lists.yaml: train: no images in"),
        ("train", "--weights {dense} --data {data} --device bad", "--device cpu"),
        ("train", "--weights {dense} --data {data} --optimizer Foo", "--optimizer Foo"),
        ("train", "--weights {dense} --data {data} --epochs many", "'epochs=many'"),
        ("train", "--weights {dense} --data {data} --sparsity 0 --sparsity-beta 0", "yolo train"),
        ("train", "--weights {dense} --data {data} --sparcity 1", "did you mean --sparsity"),
        ("train", "--weights notes.pt --data {data}", "notes.pt"),
        ("train", "--resume {dense}", "nothing to resume"),
        ("train", "--resume nope.pt", "--resume nope.pt: no such file"),
        ("train", "--weights nope.pt --resume", "--weights nope.pt: no such file"),
        ("inspect", "--weights {dense} --png /proc/x/y.png", "--png /proc/x/y.png: cannot write it"),
        ("inspect", "--weights {dense} --keep 1.5", "outside (0, 1)"),
        ("inspect", "--weights notes.pt", "notes.pt"),
        ("inspect", "--weights none.pt", "none.pt"),
    ],
)
def test_bad_input_is_one_line(
    sparse: ModuleType,
    checkpoints: Path,
    digits: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    script: str,
    words: str,
    said: str,
) -> None:
    """Exit code 2 and one line of stderr with the reason."""
    from ultralytics.prunekit.main import guarded

    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")  # upstream sets it when it looks for a device: restored afterwards
    Path("notes.pt").write_text("not a checkpoint")
    Path("lists.yaml").write_text(f"train: notes.pt\nval: notes.pt\nnames: {{0: a}}\npath: {Path.cwd()}\n")
    line = words.format(dense=checkpoints / "dense.pt", data=digits)
    assert guarded(lambda: getattr(sparse, script)("", line.split())) == 2
    errors = [x for x in capsys.readouterr().err.splitlines() if x.startswith("error: ")]
    assert len(errors) == 1 and said in errors[0]


@pytest.mark.parametrize(("script", "said"), [("train_sparse", "weights/last.pt"), ("inspect_bn", "run it again")])
def test_interrupted(
    fork: Path,
    sparse: ModuleType,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    script: str,
    said: str,
) -> None:
    """After Ctrl-C each script says what may be typed next: --resume only where there is one, with what it takes."""

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(sparse, "train", stop)
    monkeypatch.setattr(sparse, "inspect", stop)
    monkeypatch.setenv("PYTHONPATH", "")  # a script adds to it: restored afterwards
    monkeypatch.setattr("sys.argv", [script])
    with pytest.raises(SystemExit) as end:
        runpy.run_path(str(fork / f"{script}.py"), run_name="__main__")
    text = capsys.readouterr().err.splitlines()[-1]
    assert end.value.code == 130 and text.startswith("interrupted: ") and said in text
    assert ("--resume" in text) == (script == "train_sparse")


@pytest.mark.slow
def test_script_away_from_its_fork(fork: Path, python: Runner, tmp_path: Path) -> None:
    """A copy of a script elsewhere, with the fork on the path: both places are named, and the way out."""
    copy = tmp_path / "away" / "train_sparse.py"
    copy.parent.mkdir()
    shutil.copy(fork / "train_sparse.py", copy)
    done = python(fork, copy, "--weights", "x.pt")
    assert done.returncode == 2 and "Traceback" not in done.stderr
    assert str(fork / "ultralytics") in done.stderr and str(copy.parent / "ultralytics") in done.stderr
    assert "pip install -e ." in done.stderr


def test_children_run_the_fork_too(
    upstream: ModuleType,
    fork: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """After `require_own`, a process started elsewhere finds the fork, though another ultralytics comes first."""
    from ultralytics.prunekit import foreign
    from ultralytics.prunekit.foreign import require_own
    from ultralytics.pruning.errors import PruneError

    with pytest.raises(PruneError, match=r"pip install -e \."):
        require_own(tmp_path / "prune.py")
    other = tmp_path / "site" / "ultralytics"
    other.mkdir(parents=True)
    (other / "__init__.py").write_text("")
    monkeypatch.setenv("PYTHONPATH", str(other.parent))
    assert _found() == str(other / "__init__.py")
    require_own(fork / "prune.py")
    assert _found() == str(fork / "ultralytics" / "__init__.py")
    monkeypatch.setattr(foreign, "elsewhere", lambda root: other)
    capsys.readouterr()
    require_own(fork / "prune.py")
    assert str(other) in capsys.readouterr().err


def _found() -> str:
    """Where a new process finds ultralytics, without importing it."""
    where = "import importlib.util as u; print(u.find_spec('ultralytics').origin)"
    done = subprocess.run([sys.executable, "-c", where], capture_output=True, text=True, cwd=os.sep, check=True)
    return done.stdout.strip()
