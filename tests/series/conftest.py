# SPDX-License-Identifier: AGPL-3.0-or-later
"""Forks with one patch taken out, pruned checkpoints, and a runner that keeps each ultralytics in its own process."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from forkhome import without_patch
from runner import HERE, SERIES, Answers, Compare, Questions, Runner, Without


@pytest.fixture
def python(offline_env: dict[str, str], tmp_path: Path) -> Runner:
    """A runner with a folder and upstream settings of the test's own."""
    return make_runner(offline_env, tmp_path)


def make_runner(offline_env: dict[str, str], folder: Path) -> Runner:
    """A runner below `folder`; nothing that upstream remembers between runs is shared."""
    shutil.copytree(offline_env["YOLO_CONFIG_DIR"], folder / "config")
    (folder / "work").mkdir()
    return Runner({**offline_env, "YOLO_CONFIG_DIR": str(folder / "config")}, folder / "work")


@pytest.fixture(scope="session")
def questions(checkpoints: Path, digits: Path) -> Questions:
    """What is asked of the full fork; the numbered groups also of the fork without that patch."""
    bare, foreign, outputs = (checkpoints / name for name in ("bare.pt", "foreign.pt", "outputs.pt"))
    pruned, yaml, dense = (checkpoints / name for name in ("pruned.pt", "pruned.yaml", "dense.pt"))
    return {
        1: [("amp", dense, digits)],
        2: [("step",), ("arguments", dense, digits)],
        3: [("build", yaml), ("norms", yaml)],
        4: [("foreign", foreign, outputs), ("train", bare, digits)],
        5: [("exported", dense)],
        6: [("method_and_mode", dense)],
        "train": [("train", pruned, digits), ("train", yaml, digits), ("train", pruned, digits, "pretrained=false")],
        "one class": [("train", pruned, digits, "single_cls=true")],
        "resume": [("interrupted", pruned, digits)],
        "distilled": [("train", pruned, digits, f'distill_model="{dense}"')],
    }


class Asked(dict[int | str, list[Any]]):
    """The full fork's answers, asked for when they are needed: all about patches in one process, or all the others.

    Starting Python with torch costs seconds; so do the trainings that a run of the patches' own tests does not need.
    """

    def __init__(self, questions: Questions, ask: Callable[[list[tuple[object, ...]]], list[Any]]) -> None:
        super().__init__()
        self._questions, self._ask = questions, ask

    def __missing__(self, group: int | str) -> list[Any]:
        alike = {it: calls for it, calls in self._questions.items() if isinstance(it, int) == isinstance(group, int)}
        given = iter(self._ask([call for calls in alike.values() for call in calls]))
        self.update({it: [next(given) for _ in calls] for it, calls in alike.items()})
        return self[group]


@pytest.fixture(scope="session")
def answers(
    fork: Path, questions: Questions, offline_env: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> Answers:
    """The full fork's answers."""

    def ask(calls: list[tuple[object, ...]]) -> list[Any]:
        return make_runner(offline_env, tmp_path_factory.mktemp("probe")).probe(fork, *calls)

    return Asked(questions, ask)


@pytest.fixture(scope="session")
def compare(
    answers: Answers,
    questions: Questions,
    without: Without,
    offline_env: dict[str, str],
    tmp_path_factory: pytest.TempPathFactory,
) -> Compare:
    """Answers to the questions about patch N: the full fork's, and those of the fork without it."""

    @cache
    def both(number: int) -> tuple[list[Any], list[Any]]:
        runner = make_runner(offline_env, tmp_path_factory.mktemp("probe"))
        return answers[number], runner.probe(without(number), *questions[number])

    return both


@pytest.fixture(scope="session")
def without(fork: Path, tmp_path_factory: pytest.TempPathFactory) -> Without:
    """The fork as it would be without patch N of the series (1-based)."""

    @cache
    def make(number: int) -> Path:
        return without_patch(fork, SERIES, number, tmp_path_factory.mktemp(f"without{number}"))

    return make


@pytest.fixture(scope="session")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Sixteen scenes of ten kinds of digits to train on and eight to validate on, 64 px: path of the data YAML."""
    from prunekit.demo.digits import build

    return build(tmp_path_factory.mktemp("digits") / "digits", train=16, val=8, imgsz=64, seed=0)


@pytest.fixture(scope="session")
def checkpoints(fork: Path, offline_env: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with dense.pt, pruned.pt (closed), pruned.yaml, bare.pt (pruned, no block) and foreign.pt (C2f_v2)."""
    folder = tmp_path_factory.mktemp("checkpoints")
    done = Runner(offline_env, folder)(fork, HERE / "make_checkpoints.py", folder)
    assert done.returncode == 0, done.stderr[-3000:]
    return folder
