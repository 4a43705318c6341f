# SPDX-License-Identifier: AGPL-3.0-or-later
"""No script of any family's fork runs what a checkpoint holds; other people's ordinary ones load without --trust."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import attacks
import everyscript
import pytest
from forkhome import Home
from kinds import ALL, EIGHT, Family, each

pytestmark = [pytest.mark.upstream]
HELD = Path(__file__).parent / "held"
SHARED = Path(__file__).parents[3] / "shared" / "weights"
Forks = Callable[[Family], Home]


@each(cheap=(EIGHT,))
def test_nothing_runs(family: Family, attacked: Forks) -> None:
    """Every form, on every script: one line, exit code 2, and nothing was run."""
    bench = attacked(family)
    lines = everyscript.lines_for(attacks.names(), family.scripts, list(family.resumed))
    (bench.root / "lines.json").write_text(json.dumps(lines))
    assert everyscript.verdicts(bench.python(everyscript.HERE / "all_scripts.py", "lines.json"), lines) == []


@pytest.mark.skipif(not SHARED.is_dir(), reason="no ../shared/weights: other people's checkpoints are not here")
@each([it for it in ALL if it.others], cheap=(EIGHT,))
def test_other_peoples_checkpoints_load(family: Family, attacked: Forks) -> None:
    """As they were published."""
    for name in family.others:
        said = attacked(family).python("inspect_bn.py", "--weights", SHARED / name, "--png", "bn.png")
        assert "verdict:" in said, name


@each(cheap=(EIGHT,))
def test_what_a_checkpoint_holds_is_not_run(family: Family, attacked: Forks) -> None:
    """What else it names: data sets, rows, label caches, arguments; a program for each family."""
    assert "nothing ran" in attacked(family).python(HELD / family.held)


@each(cheap=(EIGHT,))
def test_a_record_that_names_another_network(family: Family, attacked: Forks) -> None:
    """report.json may come from elsewhere: its steps lie in its folder, and are looked at like any checkpoint."""
    everyscript.check_records(attacked(family), family.record, family.record_arguments)


@each(cheap=(EIGHT,))
def test_trust_opens_the_door(family: Family, attacked: Forks) -> None:
    """With --trust the file is loaded as it is, and what that runs is said."""
    bench = attacked(family)
    said = bench.python(*family.trusting, code=2)
    assert "warning: loading posix.pt runs posix.system (--trust)" in said and (bench.root / "owned").exists()
    (bench.root / "owned").unlink()
