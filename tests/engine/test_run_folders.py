# SPDX-License-Identifier: AGPL-3.0-or-later
"""Run folders and temporary ones: one process each; nothing is left of a run that never began, or was killed."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier
from types import SimpleNamespace
from typing import Any

import pytest
import yaml
from engine_helpers import modules


@pytest.fixture(scope="module")
def own(engine: SimpleNamespace) -> SimpleNamespace:
    """The engine's modules that this is about."""
    names = ("scripts.prune", "errors", "files", "scripts.options", "run.folders", "run.record", "run.int8", "scratch")
    return modules(*names)


def _numbered(base: Path) -> Path:
    return next(place for n in range(2, 99) if not (place := base.with_name(f"{base.name}{n}")).exists())


def test_runs_at_once_have_a_folder_each(own: SimpleNamespace, tmp_path: Path) -> None:
    """Each of sixteen chooses while none has made its folder yet, as two commands typed at once do."""

    def begin(_: int) -> Path:
        with own.folders.claimed(lambda: own.folders.run_folder(tmp_path / "exp", _numbered)) as (folder, _made):
            (folder / "report.json").write_text("{}")
            return folder

    with ThreadPoolExecutor(16) as pool:
        folders = list(pool.map(begin, range(16)))
    assert len(set(folders)) == 16


def test_a_folder_in_use_is_not_taken(own: SimpleNamespace, tmp_path: Path) -> None:
    """A folder with a plan alone is used; not by two, though, and --exist-ok (no other choice) refuses."""
    base = tmp_path / "exp"
    base.mkdir()
    (base / "plan.yaml").write_text("")
    with own.files.locked(base):
        with own.folders.claimed(lambda: own.folders.run_folder(base, _numbered)) as (folder, _):
            assert folder == tmp_path / "exp2"
        with pytest.raises(own.errors.Busy), own.folders.claimed(lambda: base):
            pass


def _finished_meanwhile(own: SimpleNamespace, monkeypatch: pytest.MonkeyPatch, module: Any, **final: Any) -> None:
    """Whoever takes the lock in `module` finds that another process has just ended what it was at."""
    really = own.files.locked

    @contextlib.contextmanager
    def locked(folder: Path) -> Iterator[None]:
        with really(folder):
            state = own.record.State.load(folder)
            state.status = "done"
            state.final.update(final)
            state.save()
            yield

    monkeypatch.setattr(module, "locked", locked)


def test_a_run_that_ended_while_resume_waited_is_not_done_again(
    own: SimpleNamespace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    own.record.State(tmp_path, own.options.Settings(), "toy", "best.pt", {}).save()
    _finished_meanwhile(own, monkeypatch, own.prune, checkpoint="pruned.pt")
    monkeypatch.setattr(own.prune, "outcome_of", lambda state: state)
    assert own.prune.resume(tmp_path, None).final == {"checkpoint": "pruned.pt"}, "no upstream was asked"
    assert "this run is finished (done)" in capsys.readouterr().out


def test_resume_is_refused_before_any_work_while_another_process_has_the_run(
    own: SimpleNamespace, tmp_path: Path
) -> None:
    own.record.State(tmp_path, own.options.Settings(), "toy", "best.pt", {}).save()
    with own.files.locked(tmp_path), pytest.raises(own.errors.Busy):
        own.prune.resume(tmp_path, None)
    with pytest.raises(own.errors.PruneError, match=r"no report\.json in it"):
        own.prune.resume(tmp_path / "none", None)
    assert not (tmp_path / "none").exists()


def test_what_was_noted_in_a_report_meanwhile_stays(
    own: SimpleNamespace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    final = {"checkpoint": "pruned.pt"}
    own.record.State(tmp_path, own.options.Settings(), "toy", "best.pt", {}, final=final).save()
    _finished_meanwhile(own, monkeypatch, own.int8, onnx="pruned.onnx")
    monkeypatch.setattr(own.int8, "rewrite_text", lambda state: None)
    small = {"file": "small.onnx", "map50": 0.5, "map50_95": 0.4}
    record = {
        "int8": small,
        "method": "static",
        "status": "done",
        "size_ratio": 0.3,
        "drop": 0.0,
        "speed": {"ratio": 1},
    }
    own.int8.note_quantized(tmp_path / "pruned.pt", tmp_path, record)
    found = own.record.State.load(tmp_path).final
    assert found["onnx"] == "pruned.onnx" and found["int8"]["size_ratio"] == 0.3


def test_plans_made_at_once_have_a_folder_each(
    own: SimpleNamespace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`prune.py --plan-only` typed twice: while one works, its folder is nobody else's; each leaves a plan alone."""
    both, chosen = Barrier(2), []

    def plan_only(
        _: object, __: object, ___: object, target: Path, *, without: str, shallow: object, tried: object
    ) -> None:
        assert shallow is None
        chosen.append(target.parent)
        both.wait(timeout=60)
        target.write_text(without)

    monkeypatch.setattr(own.prune, "plan_only", plan_only)
    opened = SimpleNamespace(
        family=None, weights=None, choose=lambda: own.folders.run_folder(tmp_path / "exp", _numbered)
    )
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(lambda _: own.prune.preview(opened, None, "no data"), range(2)))
    assert sorted(chosen) == [tmp_path / "exp", tmp_path / "exp2"]
    assert sorted(tmp_path.rglob("*.*")) == [tmp_path / "exp" / "plan.yaml", tmp_path / "exp2" / "plan.yaml"]


def test_a_plan_that_fails_leaves_nothing(
    own: SimpleNamespace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def plan_only(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(own.prune, "plan_only", plan_only)
    for place, left in ((tmp_path / "runs" / "exp", []), (tmp_path, ["report.json"])):
        with pytest.raises(KeyboardInterrupt):
            own.prune.preview(SimpleNamespace(family=None, weights=None, choose=lambda place=place: place), None)
        assert [path.name for path in tmp_path.iterdir()] == left
        (tmp_path / "report.json").write_text("{}")  # an earlier run's


def test_a_lock_that_its_holder_removes_is_none(own: SimpleNamespace, tmp_path: Path) -> None:
    """--plan-only leaves no lock behind: who opened the file before is not let in by it."""
    taken = own.files.fcntl.flock

    def removed_meanwhile(handle: object, how: int) -> None:
        taken(handle, how)
        (tmp_path / own.files.LOCK).unlink()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(own.files.fcntl, "flock", removed_meanwhile)
        with pytest.raises(own.errors.Busy), own.files.locked(tmp_path):
            pass
    with own.files.locked(tmp_path):
        pass


def test_a_run_that_never_began_leaves_nothing(own: SimpleNamespace, tmp_path: Path) -> None:
    place = tmp_path / "runs" / "prune" / "exp"
    with pytest.raises(own.errors.PruneError), own.folders.reserved(lambda: place) as folder:
        (folder / "report.json").write_text("{}")
        raise own.errors.PruneError("no")
    assert not list(tmp_path.iterdir())


def test_a_failure_leaves_an_earlier_run_its_record(own: SimpleNamespace, tmp_path: Path) -> None:
    """quantify.py --exist-ok in the folder of a run that failed: the run can still be resumed."""
    (tmp_path / "report.json").write_text("{}")
    with pytest.raises(own.errors.PruneError), own.folders.reserved(lambda: tmp_path):
        raise own.errors.PruneError("no")
    assert (tmp_path / "report.json").read_text() == "{}"


@pytest.mark.parametrize("name", ["a\nb", "x" * 300, "file/runs", "file", "loop", "\x1b[31m"])
def test_no_folder_can_be_there(own: SimpleNamespace, tmp_path: Path, name: str) -> None:
    (tmp_path / "file").write_text("")
    (tmp_path / "loop").symlink_to("loop")
    with pytest.raises(own.errors.PruneError, match=r"--project|line breaks"):
        own.folders.run_folder(tmp_path / name, _numbered)


def test_a_killed_process_leaves_its_folder_until_the_next_run(
    own: SimpleNamespace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    code = (
        "import sys; sys.path.insert(0, sys.argv[1]); from pruning.scratch import Scratch; s = Scratch(); "
        "import os; print(s.name, flush=True); os.kill(os.getpid(), 9)"
    )
    kit = Path(sys.modules["pruning"].__path__[0]).parent
    done = subprocess.run(
        [sys.executable, "-c", code, kit], env={"TMPDIR": str(tmp_path)}, capture_output=True, text=True, check=False
    )
    assert (Path(done.stdout.strip()) / own.scratch.LOCK).is_file(), done.stderr
    (tmp_path / "prunekit-another").mkdir()  # without a lock: not ours to remove
    mine = own.scratch.Scratch()
    assert sorted(tmp_path.iterdir()) == sorted([Path(mine.name), tmp_path / "prunekit-another"])
    with own.scratch.temporary_folder() as inner:
        own.scratch.sweep()
        assert Path(inner).is_dir() and Path(mine.name).is_dir()
    assert not Path(inner).exists()


def _deep(_: SimpleNamespace) -> None:
    json.loads("[" * 100_000)


def _latin(_: SimpleNamespace) -> None:
    b"caf\xe9".decode()


def _parsed(own: SimpleNamespace) -> None:
    parser = own.options.Parser()
    parser.add_argument("--steps", type=int)
    parser.parse_args(["--steps", "two"])


def _memory(_: SimpleNamespace) -> None:
    raise RuntimeError("[enforce fail at alloc_cpu.cpp:117] DefaultCPUAllocator: can't allocate memory")


def _two_lines(own: SimpleNamespace) -> None:
    raise own.errors.PruneError("a\nb\x1b[31m: no")


def _link(own: SimpleNamespace) -> None:
    raise RuntimeError("Symlink loop from '/somewhere/loop.pt'")


ENDS = [
    (_link, "a link that leads to itself"),
    (_deep, "nested too deeply"),
    (_latin, "not UTF-8"),
    (_memory, "smaller --batch"),
    (_parsed, "(see --help)"),
    (lambda _: yaml.safe_load("a: [b"), "not the YAML"),
    (lambda _: Path("/nowhere/at all").stat(), "named rightly"),
    (lambda _: {}["strides"], "KeyError: 'strides' (in test_run_folders.py, line"),
    (_two_lines, "a b: no"),
]


@pytest.mark.parametrize("program, said", ENDS)
def test_every_end_is_one_line(
    own: SimpleNamespace,
    program: object,
    said: str,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    assert callable(program) and own.prune.guarded(lambda: program(own)) == 2
    told = capsys.readouterr().err.splitlines()
    assert len(told) == 1 and told[0].startswith("error: ") and said in told[0]
    logs = list(tmp_path.iterdir())
    assert bool(logs) == ("test_run_folders" in said), "only what nobody expected leaves a traceback, in a file"
    assert all(str(log) in told[0] and "Traceback" in log.read_text() for log in logs)
