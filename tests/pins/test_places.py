# SPDX-License-Identifier: AGPL-3.0-or-later
"""Single places that upstreams once made hard: where inserted lines may go, and where they may not."""

from __future__ import annotations

import pytest
from prunekit.porting.anchors import Refused
from prunekit.porting.file import MOVED, MovedFile, move_file
from prunekit.porting.python_file import transplant

STATUS = 'def status(repo):\n    """Look."""\n    url = f"https://{repo}"\n    fetch(url)\n'
LEAVES = "    return  # never\n"


def hooked(text: str, before: str, lines: str = LEAVES) -> str:
    """Return the text with lines put before a line of it."""
    assert text.count(before) == 1
    return text.replace(before, lines + before)


def test_lines_that_leave_a_function_do_so_again() -> None:
    """A return in front of a statement at the pin is meant; upstream may have changed the rest of the function."""
    target = STATUS.replace("fetch(url)", "fetch(url, timeout=5)\n    report(url)").replace('"', "'")
    moved = transplant(STATUS, hooked(STATUS, "    url ="), target)
    assert moved == hooked(target, "    url =")


def test_lines_that_leave_a_function_never_cut_off_what_is_new() -> None:
    """A new statement right behind the place may be meant to run: refused; at the end the return stays at the end."""
    with pytest.raises(Refused, match="leave the block before upstream's own"):
        transplant(STATUS, hooked(STATUS, "    url ="), STATUS.replace("    url", "    check()\n    url"))
    grown = STATUS + "    report(url)\n"
    assert transplant(STATUS, STATUS + LEAVES, grown) == grown + LEAVES


def test_lines_without_an_anchor_go_by_3_way_or_say_that_it_conflicts() -> None:
    """A line that cuts a block in two is no statement: git's merge places it, or both sides are shown."""
    old = "if rank:\n    check(rank)\n    join(rank, 'a')\n"
    new = old.replace("    join", "if rank and not joined():\n    join")
    assert move_file("a.py", old, new, f"import os\n\n\n{old}") == MovedFile(f"import os\n\n\n{new}", MOVED)
    with pytest.raises(Refused, match="3-way merge conflicts here, and the inserted lines are no whole") as caught:
        move_file("a.py", old, new, old.replace("'a'", '"a"').replace("check(", "look("))
    assert 'join(rank, "a")' in caught.value.theirs and "if rank and not joined():" in caught.value.ours
