# SPDX-License-Identifier: AGPL-3.0-or-later
"""YOLOv5 networks in the engine: published counts, pruned equals masked, a rebuild that computes the same."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from home5 import HERE, Home

pytestmark = [pytest.mark.upstream, pytest.mark.slow]
QUESTIONS = HERE / "networks5.py"
EQUAL = [(name + task, scope) for name in ("yolov5n", "yolov5s", "yolov5m") for task in ("", "-seg")
         for scope in ("local", "global")]
HUB = "yolov5s-ghost yolov5-bifpn yolov5s-transformer yolov5n6 yolov3-tiny yolov5-panet yolov5s-LeakyReLU".split()


@pytest.fixture(scope="module")
def here(fork5: Path, copy_of: Callable[[Path], Home]) -> Home:
    """A fork to ask questions in."""
    return copy_of(fork5)


def test_counts(here: Home, tmp_path: Path) -> None:
    """The published figures (yolov5s fused, 224 px, L2) to the last digit, and n, s, m at one half."""
    halves = [("yolov5n", "128", "l2", "local"), ("yolov5s", "64", "lamp", "local"), ("yolov5m", "64", "lamp", "local")]
    published, n, s, m = here.ask(QUESTIONS, ("published",), *(("halved", *half) for half in halves), cwd=tmp_path)
    assert published == [1_009_903_867, 7_225_885, 275_477_755, 1_867_405]
    assert n == [90_425_008, 1_872_157, 26_512_048, 499_981]
    assert s == [82_677_676, 7_235_389, 22_606_252, 1_872_157]
    assert m == [245_312_940, 21_190_557, 64_274_604, 5_394_381]


def test_pruned_equals_masked(here: Home, tmp_path: Path) -> None:
    """Local and global LAMP, detect and segment, both forms of the head, float64; no class but upstream's in them."""
    answers = here.ask(QUESTIONS, *(("equivalence", *pair) for pair in EQUAL), cwd=tmp_path)
    for pair, (apart, removed, modules) in zip(EQUAL, answers, strict=True):
        assert apart < 1e-12 and removed > 500 and modules == ["models", "torch"], pair


def test_rebuild_after_two_prunings(here: Home, tmp_path: Path) -> None:
    """Through a YAML file and back: strict load, zero difference, the anchors as they were moved, fewer parameters."""
    cases = [("yolov5n", "local", "global"), ("yolov5s", "local", "local"), ("yolov5n-seg", "global", "local")]
    for off, anchors, dense, once, twice in here.ask(QUESTIONS, *(("rebuilt", *c) for c in cases), cwd=tmp_path):
        assert off == 0.0 and anchors == 0.0 and dense > once > twice


@pytest.mark.parametrize("name", HUB)
def test_other_yamls(here: Home, tmp_path: Path, name: str) -> None:
    """Ghost blocks, BiFPN, P6, transformer, YOLOv3: exact, rebuilt; transformer blocks are kept whole and said so."""
    ((apart, removed, off, kept),) = here.ask(QUESTIONS, ("other_yaml", name), cwd=tmp_path)
    assert apart < 1e-12 and removed > 500 and off == 0.0
    assert ("transformer block kept whole" in kept) == (name == "yolov5s-transformer")
