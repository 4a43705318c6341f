# SPDX-License-Identifier: AGPL-3.0-or-later
"""YOLOv5's series: each patch's behaviour, and that it is gone when the patch is taken out."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from home_five import HERE, Home

pytestmark = [pytest.mark.upstream, pytest.mark.slow]
AMP, BN_L1, STRUCTURE, OFFLINE, DDP = range(1, 6)
NANO, PRUNED, PRUNED_FUSED = 1_777_447, 51_434, 50_994  # yolov5n; the small network, every group halved
PRUNED_SEG = 77_418
BACKBONE, HEAD = 6, 10  # rows of the small network before they begin
PROBES = HERE / "series_five.py"
SMALL = "--img 64 --workers 0 --device cpu --noplots --exist-ok --project . --epochs 1".split()


@pytest.fixture(scope="module")
def full(fork5: Path, copy5: Callable[[Path], Home], nets5: Path) -> Home:
    """The whole fork, with nano.pt, dense.pt, pruned.pt (and .yaml), pruned-seg.pt and images/ for a classifier."""
    home = copy5(fork5)
    for file in (nets5 / "nano.pt", nets5 / "dense.pt", *nets5.glob("pruned*")):
        shutil.copy(file, home.root)
    for place in ("train/a", "train/b", "val/a", "val/b"):
        folder = home.root / "images" / place
        folder.mkdir(parents=True)
        for number in range(2):
            shutil.copy(home.root / "data/images/bus.jpg", folder / f"{number}.jpg")
    return home


@pytest.fixture(scope="module")
def questions(full: Home, tiny5: dict[str, Path]) -> dict[int, list[tuple[object, ...]]]:
    """What is asked about each patch; the last one's stays done to the process that answers."""
    data, images, files = tiny5["detect"], full.root / "images", {p.stem: p for p in full.root.glob("*.pt")}
    plain = (files["nano"], data, "--epochs", "3")  # the small one's gradients are too small to be clipped
    return {
        AMP: [("amp",), ("last_validation", files["dense"], data), ("classifier", files["dense"], images, BACKBONE)],
        BN_L1: [("penalty", *plain, "--sparsity", "0.05"), ("penalty", *plain)],
        STRUCTURE: [("train", files["pruned"], data), ("build", full.root / "pruned.yaml")],
        OFFLINE: [("startup", full.root)],
    }


@pytest.fixture(scope="module")
def with_all(full: Home, questions: dict[int, list[tuple[object, ...]]]) -> dict[int, list[Any]]:
    """Answers of the full fork to all questions, from one process."""
    place = full.root.parent / "work"
    place.mkdir()
    answers = iter(full.ask(PROBES, *(each for asked in questions.values() for each in asked), cwd=place))
    return {number: [next(answers) for _ in asked] for number, asked in questions.items()}


@pytest.fixture(scope="module")
def compare(
    with_all: dict[int, list[Any]],
    questions: dict[int, list[tuple[object, ...]]],
    without5: Callable[[int], Path],
    copy5: Callable[[Path], Home],
) -> Callable[[int], tuple[list[Any], list[Any]]]:
    """Answers of the full fork to the questions about patch N, and of the fork without it."""

    def both(number: int) -> tuple[list[Any], list[Any]]:
        bare = copy5(without5(number))
        (bare.root / ".git").mkdir()  # a fork is a repository: upstream's check would add a remote to it
        place = bare.root.parent / "work"
        place.mkdir()
        asked = questions[number][
            : 1 if number == BN_L1 else None
        ]  # one that does not know the flag: nothing to compare
        return with_all[number], bare.ask(PROBES, *asked, cwd=place)

    return both


def test_amp_is_off_everywhere(compare: Callable[[int], Any]) -> None:
    """Where its check would pass, in the validation that ends a training, and in classify/, which never checks."""
    with_patch, without = compare(AMP)
    assert with_patch[:2] == [False, [False, "torch.float32"]] and without[:2] == [True, [True, "torch.float16"]]
    (seen, own), (bare, upstream) = with_patch[2], without[2]
    assert own == [False] and True in upstream and seen == bare > 2


def test_penalty_once_a_step_and_after_the_clip(compare: Callable[[int], Any]) -> None:
    """It meets gradients that were clipped at 10, once per optimizer step, and moves gamma; the flag is remembered."""
    (sparse, plain), (unknown,) = compare(BN_L1)
    assert sparse["steps"] == len(sparse["norms"]) > 0
    assert max(sparse["norms"]) == pytest.approx(10, abs=1e-3)
    assert sparse["gamma"] < plain["gamma"] and plain["norms"] == []
    assert (sparse["sparsity"], sparse["sparsity_beta"], plain["sparsity"]) == (0.05, 0.0, 0.0)
    assert unknown == "SystemExit: 2"


def test_frozen_layers_are_counted(full: Home, tiny5: dict[str, Path], tmp_path: Path) -> None:
    """--freeze 6 keeps the penalty from the backbone's 11 norms, and says so; freezing everything is an error."""
    words = (full.root / "dense.pt", tiny5["detect"], "--sparsity", "0.05", "--freeze")
    part, nothing = full.ask(PROBES, ("penalty", *words, BACKBONE), ("penalty", *words, *range(HEAD)), cwd=tmp_path)
    assert "does not reach 11 BatchNorm layers: 11 frozen" in part["said"][0]
    assert nothing.startswith("PruneError") and "has no effect" in nothing


def test_pruned_network_is_rebuilt_pruned(compare: Callable[[int], Any]) -> None:
    """Trained from its checkpoint and built from its YAML; without the hooks the guard stops both, as in stock."""
    with_patch, without = compare(STRUCTURE)
    assert with_patch == [PRUNED, [PRUNED, [[0.002, 0.07]]]]
    assert all(answer.startswith("KeyError") and "prunekit" in answer for answer in without)


def test_other_rebuilds(full: Home, tiny5: dict[str, Path], tmp_path: Path) -> None:
    """--cfg, segment/train.py, the hub, --resume under the penalty.

    The dense --cfg beside a pruned --weights is refused: upstream would train an untrained network, and say nothing.
    """
    data, pruned, yaml = tiny5["detect"], full.root / "pruned.pt", full.root / "pruned.yaml"
    last = tmp_path / "cut/weights/last.pt"
    by_cfg, segment, hub, cut, resumed, said = full.ask(
        PROBES,
        ("train", pruned, data, "--cfg", yaml),
        ("train", full.root / "pruned-seg.pt", tiny5["segment"]),
        ("hub", pruned),
        ("interrupted", pruned, data, "--sparsity", "0.01"),
        ("resume", last),
        ("replaced", pruned, data, "yolov5n.yaml"),
        cwd=tmp_path,
    )
    assert (by_cfg, segment, hub) == (PRUNED, PRUNED_SEG, PRUNED_FUSED)
    assert (cut, resumed) == (str(last.resolve()), [PRUNED, 0.01, -1])
    assert (said[0], len(said[1]), said[2]) == (2, 1, False), said
    assert f"({NANO:,} parameters against {PRUNED:,})" in said[1][0] and "leave --cfg out" in said[1][0]
    assert "--cfg" in said[1][0] and "is not the pruned network of --weights" in said[1][0]


def test_start_touches_nothing(compare: Callable[[int], Any]) -> None:
    """No git command, no download, no installation; the font is there. Without the patch all three are tried."""
    (quiet,), (busy,) = compare(OFFLINE)
    assert quiet == {"did": [], "font": True}
    assert busy == {"did": ["download", "git", "pip"], "font": False}


def test_a_fork_has_no_remote(full: Home, tmp_path: Path) -> None:
    """YOLOv5 of 2022 to July 2026 fails where there is none; a fork of it starts all the same."""
    assert full.ask(PROBES, ("remoteless",), cwd=tmp_path) == [[{"remote": None, "branch": None, "commit": None}, None]]


LAUNCH = "-m torch.distributed.run --standalone --nproc_per_node 2".split()


def test_two_ranks_on_a_cpu(
    full: Home, without5: Callable[[int], Path], copy5: Callable[[Path], Home], tiny5: dict[str, Path], tmp_path: Path
) -> None:
    """Under torch.distributed.run with gloo both ranks hold the pruned network, with the same weights."""
    words = ("train", "--weights", full.root / "pruned.pt", "--data", tiny5["detect"], *SMALL, "--batch-size", "8")
    full.python(*LAUNCH, HERE / "ddp_five.py", *words, cwd=tmp_path)
    (first,), (second,) = (json.loads((tmp_path / f"rank{n}.json").read_text()) for n in (0, 1))
    assert first == second and first["widths"]["model.0.conv"] == 8 and len(first["widths"]) == 19
    assert full.ask(PROBES, ("size", tmp_path / "exp/weights/last.pt"), cwd=tmp_path) == [PRUNED]
    bare = copy5(without5(DDP))
    assert "insufficient CUDA devices" in bare.python(*LAUNCH, HERE / "ddp_five.py", *words, cwd=tmp_path, code=1)


def test_two_ranks_prune(full: Home, tiny5: dict[str, Path], tmp_path: Path) -> None:
    """prune.py itself: rank 0 prunes, both train what it has pruned, in each of two steps; a bad line is one line."""
    words = ("prune", "--weights", full.root / "dense.pt", "--data", tiny5["detect"], *SMALL)
    odd = full.python(*LAUNCH, HERE / "ddp_five.py", *words, "--batch-size", "9", cwd=tmp_path, code=1)
    assert "2 processes share a batch evenly; give --batch-size 8" in odd and not (tmp_path / "exp").exists()
    full.python(*LAUNCH, HERE / "ddp_five.py", *words, "--batch-size", "8", "--no-export", cwd=tmp_path)
    first, second = (json.loads((tmp_path / f"rank{n}.json").read_text()) for n in (0, 1))
    assert first == second and len(first) == 2
    report = json.loads((tmp_path / "exp/report.json").read_text())
    assert report["status"] == "done" and report["settings"]["steps"] == 2
    for step, trained in zip(report["steps"], first, strict=True):
        assert trained["widths"] == step["widths"]
    assert report["steps"][1]["params"] == PRUNED
