# SPDX-License-Identifier: AGPL-3.0-or-later
"""YOLOv5 networks in the engine: published counts, pruned equals masked, a rebuild that computes the same."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from home_five import HERE, Home

pytestmark = [pytest.mark.upstream, pytest.mark.slow]
QUESTIONS = HERE / "networks_five.py"
# What differs between sizes is depth and width: the larger ones have each scope and each task once.
EQUAL = [(name, scope) for name in ("yolov5n", "yolov5n-seg") for scope in ("local", "global")]
EQUAL += [("yolov5s", "local"), ("yolov5s-seg", "global"), ("yolov5m", "global"), ("yolov5m-seg", "local")]
# Upstream's hub, as deep and as wide as yolov5n; then each block that upstream can build and none of its YAMLs holds.
HUB = (
    "yolov5s-ghost yolov5s-transformer yolov5s-LeakyReLU yolov5-bifpn yolov5-fpn yolov5-panet yolov5-p2 yolov5-p34 "
    "yolov5-p6 yolov5n6 yolov3-tiny"
).split()
BLOCKS = (
    "BottleneckCSP C3x C3SPP CrossConv DWConv GhostBottleneck Focus MixConv2d ConvTranspose2d DWConvTranspose2d Expand "
    "grouped transformer Contract"
).split()
KEPT = {
    "yolov5s-transformer": "transformer block not pruned",
    "transformer": "transformer block not pruned",
    "grouped": "tied to a grouped convolution that is not depthwise",
    "MixConv2d": "tied to a depthwise convolution with a channel multiplier",
    "Contract": "model.4 Contract",
    "Expand": "model.4 Expand",
    "yolov5s-ghost": "its channels do not map evenly",  # in C3Ghost's bottlenecks: a concatenation of concatenations
}


@pytest.fixture(scope="module")
def here(fork5: Path, copy5: Callable[[Path], Home]) -> Home:
    """A fork to ask questions in."""
    return copy5(fork5)


def test_counts(here: Home, tmp_path: Path) -> None:
    """The published figures (yolov5s fused, 224 px, L2) to the last digit, and n, s, m at one half."""
    halves = [
        ("yolov5n", "128", "l2", "local"),
        ("yolov5s", "64", "lamp", "local"),
        ("yolov5m", "64", "lamp", "local"),
        ("yolov5l", "64", "lamp", "local"),
        ("yolov5x", "64", "lamp", "local"),
        ("yolov5n", "128", "lamp", "global"),
    ]
    published, n, s, m, *large = here.ask(QUESTIONS, ("published",), *(("halved", *h) for h in halves), cwd=tmp_path)
    assert published == [1_009_903_867, 7_225_885, 275_477_755, 1_867_405]
    assert n == [90_425_008, 1_872_157, 26_512_048, 499_981]
    assert s == [82_677_676, 7_235_389, 22_606_252, 1_872_157]
    assert m == [245_312_940, 21_190_557, 64_274_604, 5_394_381]
    assert large[0] == [546_491_308, 46_563_709, 140_611_500, 11_772_477]
    assert large[1] == [1_029_466_540, 86_749_405, 262_430_380, 21_855_085]
    # Global LAMP hangs on the weights: 52.8M and 0.460M were seen on trained ones.
    assert large[2] == [n[0], n[1], pytest.approx(52.8e6, rel=0.06), pytest.approx(0.460e6, rel=0.06)]


def test_pruned_equals_masked(here: Home, tmp_path: Path) -> None:
    """Local and global LAMP, detect and segment, both forms of the head, float64; no class but upstream's in them."""
    answers = here.ask(QUESTIONS, *(("equivalence", *pair) for pair in EQUAL), cwd=tmp_path)
    for pair, (apart, removed, modules) in zip(EQUAL, answers, strict=True):
        assert apart < 1e-12 and removed > 500 and modules == ["models", "torch"], pair


def test_fewer_bottlenecks(here: Home, tmp_path: Path) -> None:
    """Out of a C3 as the identity in its place, in float64; the YAML's rows build the rest, to a difference of zero."""
    (answer,) = here.ask(QUESTIONS, ("shallower", "yolov5n"), cwd=tmp_path)
    apart, off, proof, size, after, numbers = answer
    assert apart < 1e-12 and proof < 1e-12 and off == 0.0 and after < size
    assert numbers == [3, 1, 1, 3]


def test_rebuild_after_two_prunings(here: Home, tmp_path: Path) -> None:
    """Through a YAML file and back: strict load, zero difference, the anchors as they were moved, fewer parameters."""
    cases = [("yolov5n", "local", "global"), ("yolov5s", "local", "local"), ("yolov5n-seg", "global", "local")]
    for off, anchors, dense, once, twice in here.ask(QUESTIONS, *(("rebuilt", *c) for c in cases), cwd=tmp_path):
        assert off == 0.0 and anchors == 0.0 and dense > once > twice


@pytest.fixture(scope="module")
def others(here: Home, tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[Any]]:
    """Answers about every network of HUB and BLOCKS, from one process."""
    asked = [("other_yaml", name) for name in (*HUB, *BLOCKS)]
    answers = here.ask(QUESTIONS, *asked, cwd=tmp_path_factory.mktemp("others"))
    return dict(zip((name for _, name in asked), answers, strict=True))


@pytest.mark.parametrize("name", (*HUB, *BLOCKS))
def test_other_yamls(others: dict[str, list[Any]], name: str) -> None:
    """Ghost, BiFPN, CSP, P2 to P6, transformer, YOLOv3: exact, rebuilt; what is kept whole says why."""
    apart, removed, off, kept = others[name]
    assert apart < 1e-12 and removed > 100 and off == 0.0
    reasons = [reason for reason in kept if reason not in ("output", "tied")]
    assert len(reasons) == (name in KEPT) and all(reason.startswith(KEPT[name]) for reason in reasons), kept


def test_a_network_that_could_not_be_rebuilt_once_pruned(here: Home, tmp_path: Path) -> None:
    """Told before a run, with the option that keeps what cannot be; with it, or more channels, there is nothing."""
    ((refused, *fine),) = here.ask(QUESTIONS, ("told",), cwd=tmp_path)
    assert "own.pt: pruned, this network could not be rebuilt from its YAML (structure: 1 tensors" in refused
    assert refused.endswith("Keep these channels: --ignore model.2.cv") and fine == ["", ""]
