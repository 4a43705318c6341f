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
from engine_helpers import ToyFamily, modules, toy
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


class Measured(Pictured):
    """A family whose validator tells networks apart: by the mean of their outputs; how often images were looked at."""

    looked = 0

    def __init__(self, parts: SimpleNamespace) -> None:
        super().__init__()
        self.metrics = parts.contract.Metrics

    def finetune(self, weights: Path, folder: Path, **more: Any) -> Path:
        """Sparsity training makes another network; without epochs fine-tuning makes none."""
        if not more.get("sparsity"):
            return weights
        folder.mkdir(parents=True, exist_ok=True)
        torch.save(toy(1)[0], folder / "sparse.pt")
        return folder / "sparse.pt"

    def images(self, weights: Path) -> Iterator[Tensor]:
        self.looked += 1
        return super().images(weights)

    def evaluate(self, weights: Path) -> Any:
        model = self.load(weights).eval()
        with torch.no_grad():
            value = float(model(self.example(model))[0].abs().mean())
        return self.metrics(map50=value, map50_95=value / 2)


@pytest.fixture(scope="module")
def parts(engine: object) -> SimpleNamespace:
    """The modules, imported as the engine is on its own."""
    return modules("run.untrained run.repair_step run.loop run.preview family.contract settings errors")


@pytest.fixture
def best(tmp_path: Path) -> Path:
    (tmp_path / "best.pt").write_bytes(b"stands for a checkpoint")
    return tmp_path / "best.pt"


@pytest.mark.parametrize(
    ("epochs", "typed", "more", "wanted"),
    [
        (0, (), {}, 1),
        (0, ("importance",), {}, 1),
        (0, ("steps",), {}, 5),
        (0, (), {"max_map_drop": 0.02}, 5),
        (3, (), {}, 5),
    ],
)
def test_without_training_one_step_is_enough(
    parts: SimpleNamespace, epochs: int, typed: tuple[str, ...], more: dict[str, Any], wanted: int
) -> None:
    """Unless steps are asked for, or an accuracy that an earlier step may have kept."""
    asked, said = parts.settings.Settings(**TARGET, **more, steps=5), []
    found = parts.untrained.at_once(Pictured(epochs=epochs), asked, typed, said.append)
    assert found == dataclasses.replace(asked, steps=wanted) and len(said) == (wanted == 1)
    assert all("one step instead of 5 (--steps 5" in line for line in said)


@pytest.mark.parametrize(("left", "wanted"), [((0.3, 0.2), "reconstruction"), ((0.2, 0.3), "fpgm")])
def test_the_nearer_one_stays(
    parts: SimpleNamespace, best: Path, monkeypatch: pytest.MonkeyPatch, left: tuple[float, float], wanted: str
) -> None:
    tried: list[Any] = []

    def made(family: Any, weights: Path, asked: Any, shallow: Any) -> Any:
        tried.append(asked)
        return SimpleNamespace(repair={"after": left[len(tried) - 1]}, of=asked.importance)

    monkeypatch.setattr(parts.untrained, "_tried", made)
    said: list[str] = []
    asked = parts.settings.Settings(**TARGET)
    found, pruned = parts.untrained.nearest(Pictured(), best, asked, (), say=said.append)
    assert [each.importance for each in tried] == ["fpgm", "reconstruction"] and {each.repair for each in tried} == {
        128
    }
    finer = {"importance": "reconstruction", "scope": "global", "round_to": 8} if wanted != "fpgm" else {}
    assert found == dataclasses.replace(asked, **finer) and pruned.of == found.importance
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
    assert parts.untrained.nearest(family, best, asked, typed, say=said.append) == (asked, None) and not said


def test_both_are_pruned_and_repaired(parts: SimpleNamespace, best: Path) -> None:
    """On a network: the figures are those of two networks, and the lower one decides."""
    said: list[str] = []
    asked = parts.settings.Settings(**{**TARGET, "round_to": 2})
    found, pruned = parts.untrained.nearest(Pictured(), best, asked, (), say=said.append)
    left = [float(word) for word in said[1].replace(" and ", " by ").split(" by ")[1:3] for word in [word.split()[0]]]
    assert len(set(left)) == 2 and all(0 < each < 2 for each in left)
    assert found.importance == ("reconstruction" if left[1] < left[0] else "fpgm") and found.repair is None
    assert pruned.plan.criterion == found.importance and f"{pruned.repair['after']:.2g}" == f"{min(left):.2g}"
    typed, _ = parts.untrained.nearest(Pictured(), best, asked, ("scope", "round_to"), say=said.append)
    assert (typed.scope, typed.round_to) == (asked.scope, 2)


def test_what_was_tried_is_what_the_run_ends_with(
    parts: SimpleNamespace, best: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ranked and repaired once: the same network, to the last bit, as a run makes that has not seen the trial."""
    family, asked = Measured(parts), parts.settings.Settings(**{**TARGET, "round_to": 2}, export=False)
    asked, pruned = parts.untrained.nearest(family, best, asked, (), say=lambda line: None)
    asked = dataclasses.replace(asked, repair=128)
    ranked: list[int] = []
    whole = parts.loop.plan_step
    monkeypatch.setattr(parts.loop, "plan_step", lambda *more: ranked.append(more[-1]) or whole(*more))
    ended, said, ranks = [], [], []
    for name, tried in (("alone", None), ("handed on", pruned)):
        state, lines = parts.loop.new_run(tmp_path / name, family, best, asked), list[str]()
        parts.loop.run(state, family, tried=tried, say=lines.append)
        ended.append(torch.load(state.folder / "pruned.pt", weights_only=False).state_dict())
        said.append([line.replace(name, "") for line in lines if "without the repair" in line or "channels  " in line])
        ranks.append(len(ranked))
        assert state.steps[0]["repair"]["after"] == pruned.repair["after"]
        assert (state.folder / "step1_plan.yaml").is_file() and state.proof["tensors"] > 0
    assert ranks == [1, 1], "once for the run alone, not again for the one that was handed its network"
    assert said[0][0] and len(said[0]) == 2 and ended[0].keys() == ended[1].keys()
    assert all(torch.equal(ended[0][key], ended[1][key]) for key in ended[0])
    assert [line.split("Proof")[0] for line in said[0]] == [line.split("Proof")[0] for line in said[1]]


@pytest.mark.parametrize("more", [{"steps": 2}, {"sparsity": 0.01}])
def test_a_run_of_another_kind_makes_its_own(
    parts: SimpleNamespace, best: Path, tmp_path: Path, more: dict[str, Any]
) -> None:
    """The trial pruned the dense network in one step: two steps, or a network trained sparse, begin otherwise."""
    family, asked = Measured(parts), parts.settings.Settings(**{**TARGET, "round_to": 2}, export=False, repair=24)
    asked, pruned = parts.untrained.nearest(family, best, asked, (), say=lambda line: None)
    asked, ended = dataclasses.replace(asked, **more), []
    for name, tried in (("alone", None), ("tried", pruned)):
        state = parts.loop.new_run(tmp_path / name, family, best, asked)
        parts.loop.run(state, family, tried=tried, say=lambda line: None)
        network = torch.load(state.folder / "pruned.pt", weights_only=False).state_dict()
        ended.append(([step["widths"] for step in state.steps], network))
    assert ended[0][0] == ended[1][0] and len(ended[0][0]) == asked.steps
    assert all(torch.equal(ended[0][1][key], ended[1][1][key]) for key in ended[0][1])


def test_a_preview_measures_what_was_tried(parts: SimpleNamespace, best: Path, tmp_path: Path) -> None:
    """--plan-only: the trial's plan and estimate, and nothing is ranked or repaired again."""
    family, asked = Measured(parts), parts.settings.Settings(**{**TARGET, "round_to": 2})
    asked, pruned = parts.untrained.nearest(family, best, asked, (), say=lambda line: None)
    found, said = [], []
    for tried in (None, pruned):
        lines: list[str] = []
        target, seen = tmp_path / "plan.yaml", family.looked
        plan = parts.preview.plan_only(family, best, asked, target, lines.append, tried=tried)
        found.append((plan.keep, family.looked - seen))
        said.append([line for line in lines if line.startswith("estimate")])
    assert found[0][0] == found[1][0] == pruned.plan.keep
    assert found[0][1] > found[1][1] == 1, "whether there are images is asked; no ranking and no repair looks at them"
    assert said[0] == said[1] and "repaired on 24 training images" in said[0][0]


def test_a_target_out_of_reach_is_refused_first(parts: SimpleNamespace, best: Path) -> None:
    with pytest.raises(parts.errors.PruneError, match="reach"):
        parts.untrained.nearest(Pictured(), best, parts.settings.Settings(**{**TARGET, "target_macs": 0.0001}), ())


@pytest.mark.parametrize(("far", "wanted"), [("fpgm", "reconstruction"), ("reconstruction", "fpgm"), ("both", None)])
def test_a_target_that_one_of_them_reaches_is_reached(
    parts: SimpleNamespace, best: Path, monkeypatch: pytest.MonkeyPatch, far: str, wanted: str | None
) -> None:
    """By one ratio in multiples of 16 a small network may have no plan near it, by the other it has."""

    def made(family: Any, weights: Path, asked: Any, shallow: Any) -> Any:
        if far in (asked.importance, "both"):
            raise parts.errors.Unreachable("out of reach")
        return SimpleNamespace(repair={"after": 0.5})

    monkeypatch.setattr(parts.untrained, "_tried", made)
    asked, quiet = parts.settings.Settings(**TARGET), lambda line: None
    if wanted is None:
        with pytest.raises(parts.errors.PruneError, match="out of reach"):
            parts.untrained.nearest(Pictured(), best, asked, (), say=quiet)
    else:
        assert parts.untrained.nearest(Pictured(), best, asked, (), say=quiet)[0].importance == wanted
