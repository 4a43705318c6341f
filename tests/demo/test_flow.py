# SPDX-License-Identifier: AGPL-3.0-or-later
"""The demo's own bookkeeping: folders, logs of failed programs, figures into words, what it ends in."""

from __future__ import annotations

import io
import json
import os
import re
import subprocess
import sys
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

import pytest
from prunekit.console import Console
from prunekit.demo import command, flow, folder, recipe, report, runner
from prunekit.errors import PrunekitError, UserError


def _demo(tmp_path: Path, **changed: Any) -> flow.Demo:
    options = {"folder": tmp_path / "demo", "fork": tmp_path / "fork", "seed": 0, "quick": False, "console": Console()}
    return command.plan_demo("v8", **{**options, **changed})


def _claim(demo: flow.Demo) -> None:
    folder.claim(demo.folder, demo.target, demo.recipe)


def _workshop(tmp_path: Path) -> runner.Workshop:
    (tmp_path / "fork").mkdir()
    return runner.Workshop(tmp_path / "fork", tmp_path / "logs", tmp_path / "settings")


def _figures(map50: float, macs: float) -> dict[str, Any]:
    return {"epochs": 3, "params": 1_000_000, "macs": macs, "map50": map50, "map50_95": 0.5, "ms_per_image": 1.0}


def _comparison(dense: float = 0.9, extra: float = 0.95, pruned: float = 0.94, quick: bool = False) -> dict[str, Any]:
    return {
        "schema": 1,
        "target": "v8",
        "recipe": recipe.recipe(quick=quick).as_dict(),
        "machine": {"cpus": 2, "gpu": None, "python": "3.12", "torch": "2.9"},
        "networks": {
            "dense": _figures(dense, 40e6),
            "extra": _figures(extra, 40e6),
            "pruned": _figures(pruned, 20e6),
        },
        "before_finetuning": {"map50": 0.01, "map50_95": 0.001},
        "curves": {"dense": [0.1, 0.9], "extra": [0.92], "pruned": [0.91]},
        "widths": {"model.0.conv": [16, 9], "model.1.<conv>": [32, 20]},
        "steps": {
            "dense": {"seconds": 60.0, "command": "yolo detect train a&b"},
            "compare": {"seconds": 5.0, "command": ""},
        },
        "pictures": [],
    }


def test_importing_the_command_imports_no_network_library() -> None:
    code = "import sys, prunekit.demo.command; sys.exit(bool({'torch', 'numpy', 'sklearn', 'PIL'} & set(sys.modules)))"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    assert subprocess.run([sys.executable, "-c", code], env=environment, check=False).returncode == 0


def test_unknown_target_is_answered_with_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no demo for 'v18': did you mean 'v1?8'"):
        command.plan_demo("v18", folder=None, fork=None, seed=0, quick=False, console=Console())


def test_the_command_to_go_on_with_repeats_the_options(tmp_path: Path) -> None:
    made = command.plan_demo("v11", folder=Path("a b"), fork=None, seed=3, quick=True, console=Console())
    assert made.again == "prunekit demo v11 --dir 'a b' --seed 3 --quick"
    assert made.folder == Path("a b").absolute() and made.fork == Path("forks/v11").absolute()


def test_a_demo_goes_on_in_its_folder_and_no_other_demo_does(tmp_path: Path) -> None:
    _claim(_demo(tmp_path))
    _claim(_demo(tmp_path))
    with pytest.raises(UserError, match=r"holds a demo with seed 0, not 5: name another folder with --dir, or --fresh"):
        _claim(_demo(tmp_path, seed=5))


def test_foreign_folders_are_neither_used_nor_removed(tmp_path: Path) -> None:
    mine = tmp_path / "demo" / "thesis.txt"
    mine.parent.mkdir()
    mine.write_text("precious")
    with pytest.raises(UserError, match="holds no demo"):
        _claim(_demo(tmp_path))
    with pytest.raises(UserError, match="holds no demo"):
        folder.clear(mine.parent)
    assert mine.read_text() == "precious"


def test_fresh_removes_a_demo(tmp_path: Path) -> None:
    _claim(_demo(tmp_path))
    folder.clear(tmp_path / "demo")
    folder.clear(tmp_path / "demo")
    assert not (tmp_path / "demo").exists()


def test_two_demos_in_one_folder_exclude_each_other(tmp_path: Path) -> None:
    _claim(_demo(tmp_path))
    with folder.held(tmp_path / "demo"):
        for work in (lambda: flow.run_demo(_demo(tmp_path)), lambda: folder.clear(tmp_path / "demo")):
            with pytest.raises(UserError, match="another demo is at work"):
                work()
    assert (tmp_path / "demo" / folder.RECORD).exists()


def test_a_failed_program_is_told_with_the_end_of_its_log(tmp_path: Path) -> None:
    code = "print('start'); [print(f'row {i}') for i in range(40)]; print('10%\\r99%'); raise SystemExit(7)"
    with pytest.raises(PrunekitError) as caught:
        runner.run(_workshop(tmp_path), "dense", ["-c", code], lambda: None, "prunekit demo v8")
    message = str(caught.value)
    assert (
        "code 7" in message and str(tmp_path / "logs" / "dense.log") in message and message.endswith("prunekit demo v8")
    )
    assert "row 39\n    99%\n" in message and "row 20\n" not in message


def test_programs_run_in_the_fork_and_import_from_it_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONSAFEPATH", "1")
    workshop = _workshop(tmp_path)
    (workshop.fork / "ultralytics.py").write_text("print('from the fork')")
    code = "import os, ultralytics; print(os.getcwd(), os.environ['YOLO_OFFLINE'], os.environ['YOLO_CONFIG_DIR'])"
    runner.run(workshop, "look", ["-c", code], lambda: None, "")
    seen = (workshop.logs / "look.log").read_text().splitlines()
    assert seen == ["from the fork", f"{workshop.fork} true {workshop.settings}"]


def test_an_interrupt_ends_the_program_too(tmp_path: Path) -> None:
    workshop = _workshop(tmp_path)
    pid = workshop.fork / "pid"

    def interrupt() -> None:
        if pid.exists() and pid.read_text():
            raise KeyboardInterrupt

    code = "import os, time; open('pid', 'w').write(str(os.getpid())); time.sleep(60)"
    with pytest.raises(KeyboardInterrupt):
        runner.run(workshop, "sleep", ["-c", code], interrupt, "")
    with pytest.raises(ProcessLookupError):
        os.kill(int(pid.read_text()), 0)


@pytest.mark.parametrize(
    ("figures", "said"),
    [
        ({}, "50.0% of the MACs and 100.0% of the parameters, the pruned network reaches mAP50 0.940; the dense one"),
        ({}, r"0.950 \(-0.010 for pruning\)\. One small set"),
        ({"dense": 0.7}, "worse than this demo should be"),
        ({"pruned": 0.89}, "worse than this demo should be"),
        ({"dense": 0.1, "quick": True}, "only show that every step works"),
    ],
)
def test_the_verdict_says_what_the_figures_say(figures: dict[str, Any], said: str) -> None:
    assert re.search(said, report.verdict(_comparison(**figures)))


def test_the_table_has_the_pruned_network_before_and_after() -> None:
    cells = report.rows(_comparison())
    assert [row[0] for row in cells] == [
        "dense",
        "dense, trained on",
        "pruned, not yet fine-tuned",
        "pruned, fine-tuned",
    ]
    assert [row[3] for row in cells] == ["40.0 M", "40.0 M", "20.0 M", "20.0 M"]
    assert [row[4] for row in cells] == ["0.900", "0.950", "0.010", "0.940"]
    assert all(len(row) == len(report.COLUMNS) for row in cells)


def test_it_ends_in_the_page_of_the_run(tmp_path: Path) -> None:
    """The page that `prune_one_shot.py` leaves, in the demo's words how it was measured, and no page of its own."""
    made, said, document = _demo(tmp_path), io.StringIO(), io.StringIO()
    console = Console(as_json=True)
    with redirect_stdout(document), redirect_stderr(said):
        command._show(made, _comparison(), console)
    told = json.loads(document.getvalue())
    assert told["report"] == str(tmp_path / "demo/pruned/report.html")
    assert "report of the pruning run:" in said.getvalue()
    assert "65 s in all" in report.circumstances(_comparison())
    assert "2 CPU cores, no GPU" in report.circumstances(_comparison())


def test_no_browser_without_a_person(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DISPLAY", ":0")
    assert not command._interactive(Console())
