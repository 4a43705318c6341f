# SPDX-License-Identifier: AGPL-3.0-or-later
"""Bad input to the scripts: one line that says what to type next, exit code 2, no traceback, nothing left behind."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path

import badlines
import pytest
from forkhome import Home
from kinds import ALL, EIGHT, FIVE, SEVEN, Family, each, marks

pytestmark = [pytest.mark.upstream]
Forks = Callable[[Family], Home]
Heard = Callable[[Family], badlines.Answers]


@pytest.fixture(scope="module")
def answers(damaged: Forks) -> Heard:
    """Exit code and error output of every line of a family's tables: {(script, words): ...}."""

    @cache
    def hear(family: Family) -> badlines.Answers:
        return badlines.answers(damaged(family).python, [line for line, *_ in family.lines()], *family.run)

    return hear


LINES = [
    pytest.param(family, line, said, id=f"{family.name}-{name}", marks=marks(family, EIGHT))
    for family in ALL
    for line, said, name in family.lines()
]


@pytest.mark.parametrize("family, line, said", LINES)
def test_bad_input_is_one_line(answers: Heard, family: Family, line: tuple[str, str], said: str) -> None:
    badlines.check(answers(family)[line], said)


@each(cheap=(EIGHT,))
def test_bad_input_leaves_nothing_behind(answers: Heard, damaged: Forks, family: Family) -> None:
    assert answers(family)
    badlines.check_untouched(damaged(family).root)


@each(cheap=(EIGHT,))
def test_exit_code_of_the_script(damaged: Forks, family: Family) -> None:
    output = damaged(family).python("prune_one_shot.py", "--weights", "nowhere.pt", code=2)
    assert output.splitlines()[-1].startswith("error: ") and "Traceback" not in output


@each(cheap=(EIGHT,))
def test_help_shows_both_groups(damaged: Forks, family: Family) -> None:
    """Our options apart from upstream's, without those of upstream that have no place here."""
    script, shown, hidden = family.help
    ours, theirs = damaged(family).python(script, "--help").split("upstream train arguments")
    assert "pruning options:" in ours and "--prune-ratio" in ours and "--target-params" in ours
    assert all(flag in theirs for flag in shown) and not any(flag in theirs for flag in hidden)


HIDDEN = (
    (FIVE, "ultralytics", ("YOLOv5 needs the ultralytics package", "No module named 'ultralytics'")),
    (SEVEN, "seaborn", ("YOLOv7 cannot start: No module named",)),
)


@pytest.mark.slow
@pytest.mark.parametrize("family, package, said", HIDDEN, ids=[row[0].name for row in HIDDEN])
def test_missing_packages_are_named(
    damaged: Forks, tmp_path: Path, family: Family, package: str, said: tuple[str, ...]
) -> None:
    """Without pip's packages one line says what to type; here one is hidden, wherever it is installed."""
    (tmp_path / f"{package}.py").write_text(f"raise ModuleNotFoundError(\"No module named '{package}'\")")
    output = damaged(family).python("prune.py", "--weights", "best.pt", code=2, PYTHONPATH=str(tmp_path))
    assert any(text in output for text in said)  # not installed; installed, but hidden
    assert "Type: pip install" in output and "Traceback" not in output


def test_trust_says_what_it_runs(damaged: Forks) -> None:
    words = ("prune_one_shot.py", "--weights", "evil.pt", "--trust", "--data", "tiny.yaml")
    output = damaged(EIGHT).python(*words, code=2)
    assert "runs posix.system" in output or "runs os.system" in output


def test_equal_gammas_cannot_be_ranked(damaged: Forks) -> None:
    bench = damaged(EIGHT)
    bench.python("-c", "from ultralytics import YOLO; y = YOLO('small.yaml'); y.save('flat.pt')")
    words = ("prune_one_shot.py", "--weights", "flat.pt", "--importance", "bn_scale", "--plan-only", "--imgsz", "64")
    output = bench.python(*words, code=2)
    assert "error: " in output and "bn_scale" in output
