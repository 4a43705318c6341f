# SPDX-License-Identifier: AGPL-3.0-or-later
"""Where no training follows: two ways are tried, and images that no fit has seen say which stays."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from engine_helpers import ToyFamily, modules
from torch import Tensor, nn

TARGET: dict[str, Any] = {"target_macs": 0.6, "importance": "fpgm", "min_channels": 2, "round_to": 16}


class Pictured(ToyFamily):
    """A family with training images."""

    def __init__(self, number: int = 24, epochs: int = 0) -> None:
        self.number, self.epochs = number, epochs

    def arguments(self) -> dict[str, Any]:
        return {**super().arguments(), "epochs": self.epochs}

    def images(self, weights: Path) -> Iterator[Tensor]:
        if not self.number:
            return
        coarse = torch.randn(self.number, 3, 5, 5, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
        yield from nn.functional.interpolate(coarse, size=16, mode="bicubic").split(1)


@pytest.fixture(scope="module")
def parts(engine: object) -> SimpleNamespace:
    """The modules, imported as the engine is on its own."""
    return modules("run.untrained run.repair_step settings errors")


@pytest.fixture
def best(tmp_path: Path) -> Path:
    (tmp_path / "best.pt").write_bytes(b"stands for a checkpoint")
    return tmp_path / "best.pt"


@pytest.mark.parametrize(("left", "wanted"), [((0.3, 0.2), "reconstruction"), ((0.2, 0.3), "fpgm")])
def test_the_nearer_one_stays(
    parts: SimpleNamespace, best: Path, monkeypatch: pytest.MonkeyPatch, left: tuple[float, float], wanted: str
) -> None:
    tried: list[Any] = []
    monkeypatch.setattr(
        parts.untrained, "_left", lambda family, weights, asked, _: tried.append(asked) or left[len(tried) - 1]
    )
    said: list[str] = []
    asked = parts.settings.Settings(**TARGET)
    found = parts.untrained.nearest(Pictured(), best, asked, (), say=said.append)
    assert [each.importance for each in tried] == ["fpgm", "reconstruction"] and {each.repair for each in tried} == {
        128
    }
    finer = {"importance": "reconstruction", "scope": "global", "round_to": 8} if wanted != "fpgm" else {}
    assert found == dataclasses.replace(asked, **finer)
    assert "both tried" in said[0] and "0.3" in said[1] and "0.2" in said[1]


UNTRIED: dict[str, tuple[Any, dict[str, Any], tuple[str, ...]]] = {
    "a typed criterion": (Pictured(), TARGET, ("importance",)),
    "training": (Pictured(epochs=3), TARGET, ()),
    "no images": (Pictured(0), TARGET, ()),
    "no repair": (Pictured(), {**TARGET, "repair": 0}, ()),
    "a ratio": (Pictured(), {"prune_ratio": 0.3, "importance": "fpgm"}, ()),
    "a time": (Pictured(), {"target_latency": 0.6, "importance": "fpgm"}, ()),
    "a table": (Pictured(), {**TARGET, "sensitivity": "table.json"}, ()),
}


@pytest.mark.parametrize("name", UNTRIED)
def test_nothing_is_tried_where_it_is_decided(parts: SimpleNamespace, best: Path, name: str) -> None:
    family, values, typed = UNTRIED[name]
    asked, said = parts.settings.Settings(**values), []
    assert parts.untrained.nearest(family, best, asked, typed, say=said.append) == asked and not said


def test_both_are_pruned_and_repaired(parts: SimpleNamespace, best: Path) -> None:
    """On a network: the figures are those of two networks, and the lower one decides."""
    said: list[str] = []
    asked = parts.settings.Settings(**{**TARGET, "round_to": 2})
    found = parts.untrained.nearest(Pictured(), best, asked, (), say=said.append)
    left = [float(word) for word in said[1].replace(" and ", " by ").split(" by ")[1:3] for word in [word.split()[0]]]
    assert len(set(left)) == 2 and all(0 < each < 2 for each in left)
    assert found.importance == ("reconstruction" if left[1] < left[0] else "fpgm") and found.repair is None
    typed = parts.untrained.nearest(Pictured(), best, asked, ("scope", "round_to"), say=said.append)
    assert (typed.scope, typed.round_to) == (asked.scope, 2)


def test_a_target_out_of_reach_is_refused_first(parts: SimpleNamespace, best: Path) -> None:
    with pytest.raises(parts.errors.PruneError, match="reach"):
        parts.untrained.nearest(Pictured(), best, parts.settings.Settings(**{**TARGET, "target_macs": 0.0001}), ())


@pytest.mark.parametrize(("far", "wanted"), [("fpgm", "reconstruction"), ("reconstruction", "fpgm"), ("both", None)])
def test_a_target_that_one_of_them_reaches_is_reached(
    parts: SimpleNamespace, best: Path, monkeypatch: pytest.MonkeyPatch, far: str, wanted: str | None
) -> None:
    """By one ratio in multiples of 16 a small network may have no plan near it, by the other it has."""

    def left(family: Any, weights: Path, asked: Any, shallow: Any) -> float:
        if far in (asked.importance, "both"):
            raise parts.errors.Unreachable("out of reach")
        return 0.5

    monkeypatch.setattr(parts.untrained, "_left", left)
    asked, quiet = parts.settings.Settings(**TARGET), lambda line: None
    if wanted is None:
        with pytest.raises(parts.errors.PruneError, match="out of reach"):
            parts.untrained.nearest(Pictured(), best, asked, (), say=quiet)
    else:
        assert parts.untrained.nearest(Pictured(), best, asked, (), say=quiet).importance == wanted
