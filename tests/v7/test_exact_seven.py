# SPDX-License-Identifier: AGPL-3.0-or-later
"""A pruned YOLOv7 as a YAML with real widths in its rows, pruned again from there, and its deploy form."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from home_seven import HERE, Home

pytestmark = [pytest.mark.upstream, pytest.mark.slow]
QUESTIONS = HERE / "exact_seven.py"
SIZES = ("-tiny", "", "x", "-w6", "-e6", "-d6", "-e6e")
# Every kind of row, and the width: e6e has what w6, e6 and d6 have, and more. A narrow one takes a third of the time.
EXACT = {
    "training/yolov7-tiny": "1",
    "training/yolov7": "0.5",
    "deploy/yolov7-tiny": "1",
    "training/yolov7-e6e": "0.25",
}


@pytest.fixture(scope="module")
def here(fork7: Path, copy7: Callable[[Path], Home]) -> Home:
    """A fork to ask questions in."""
    return copy7(fork7)


@pytest.fixture(scope="module")
def answers(here: Home, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What the networks gave, and the questions that need none: one process, for starting one takes longest."""
    more = {"own": ("deploy_rows", *SIZES), "refused": ("refused",)}
    questions = {**{cfg: ("exact", cfg, width) for cfg, width in EXACT.items()}, **more}
    asked = here.ask(QUESTIONS, *questions.values(), cwd=tmp_path_factory.mktemp("small"))
    return dict(zip(questions, asked, strict=True))


@pytest.mark.parametrize("cfg", EXACT)
def test_exact_rows_build_the_pruned_network(answers: dict[str, Any], cfg: str) -> None:
    """Strict load, zero difference in both forms, real anchors and classes, multiples 1.0; twice; then deployed."""
    first, second, form = answers[cfg]
    for off, anchors, same, _, widths, narrower, plain in (first, second):
        assert off == 0.0 and anchors < 1e-4 and same and narrower > widths / 3
        keys = ["anchors", "backbone", "depth_multiple", "head", "nc", "width_multiple"]
        assert plain == [1.0, 1.0, 10, keys]
    assert second[3] < first[3]
    if "deploy" in cfg:
        assert form is None
        return
    unfused, fused, size = form
    assert unfused < 1e-5 and fused < 1e-5 and size < second[3]


def test_deploy_forms_are_upstreams_own(answers: dict[str, Any]) -> None:
    """Without a table of layer numbers: what is read off each training YAML is the deploy YAML that upstream wrote."""
    assert answers["own"] == [True] * len(SIZES)


def test_what_rows_cannot_say_is_refused(answers: dict[str, Any]) -> None:
    again, double, other = answers["refused"]
    assert again.startswith("the network ends in Detect: it is in deploy form already")
    assert double.startswith("row 1 (Conv) stands for 2 layers")
    assert "b.yaml does not build this network" in other and "size mismatch" in other
