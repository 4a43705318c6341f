# SPDX-License-Identifier: AGPL-3.0-or-later
"""YOLOv7's series: each patch's behaviour, and that it is not there in a fork that ends before the patch."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from home_seven import HERE, SERIES, Home, small

pytestmark = [pytest.mark.upstream, pytest.mark.slow]
STACK, AMP, BN_L1, STRUCTURE, ROWS, OFFLINE, DDP, SHORT, EXPORT, PRUNE, CACHE = range(1, 12)
DENSE, FUSED, PRUNED = 573_844, 547_412, 147_492  # the small YAML, ten classes; every group halved
PROBES = HERE / "series_seven.py"
GUARD = 'KeyError: "pruned by prunekit: only a prunekit fork can build this network'

FAILING = """
import runpy, sys, torch
def fail(*args, **more): raise RuntimeError("no exporter here")
torch.onnx.export = fail
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""

BY_ENGINE = """
import sys, torch
from pathlib import Path
from prunekit_v7.main import UPSTREAM
from pruning.settings import Settings
def fail(*args, **more): raise RuntimeError("no exporter here")
torch.onnx.export = fail
found = UPSTREAM.open(sys.argv[1], [], Settings(), trust=False)
try:
    found.family.export(found.weights, Path("made.onnx"))
except Exception as error:
    print("told:", error)
"""


@pytest.fixture(scope="module")
def full(fork7: Path, copy7: Callable[[Path], Home]) -> Home:
    """The whole fork, with dense.pt, pruned.pt (and .yaml) of the small YAML in it."""
    home = copy7(fork7)
    for words in ("dense.pt 10", "pruned.pt 10 pruned"):
        small(home, words)
    return home


@pytest.fixture
def compare(full: Home, prefix7: Callable[[int], Home], tmp_path: Path) -> Callable[..., list[list[Any]]]:
    """Answers of the full fork, and of the fork that ends before patch N, to the same questions."""

    def both(number: int, *questions: tuple[object, ...]) -> list[list[Any]]:
        answers = []
        for home, place in ((full, tmp_path / "full"), (prefix7(number - 1), tmp_path / "before")):
            place.mkdir()
            answers.append(home.ask(PROBES, *questions, cwd=place))
        return answers

    return both


@pytest.fixture
def files(full: Home) -> dict[str, Path]:
    """The checkpoints of the full fork, by name."""
    return {path.stem: path for path in full.root.glob("*.pt")}


@pytest.fixture
def brisk(full: Home, tmp_path: Path) -> Path:
    """Hyperparameters whose warm-up ends within a few steps."""
    usual = yaml.safe_load((full.root / "data/hyp.scratch.tiny.yaml").read_text())
    hyp = tmp_path / "brisk.yaml"
    hyp.write_text(yaml.safe_dump({**usual, "warmup_iters": 0.1, "nbs": 8}))
    return hyp


def test_runs_on_this_torch_and_numpy(compare: Callable[..., Any], files: dict[str, Path], tiny7: Path) -> None:
    """Loads, without gradients, trains and measures; plain upstream does none of it."""
    (loaded, trained), (broken, untrained) = compare(STACK, ("loads", files["dense"]), ("train", files["dense"], tiny7))
    assert loaded == [FUSED, False] and trained == DENSE
    assert "weights_only" in broken and "weights_only" in untrained


def test_amp_is_off(compare: Callable[..., Any], files: dict[str, Path], tiny7: Path) -> None:
    """Of the loss scaler, of autocast, of each epoch's evaluation; without the patch all three are on."""
    with_patch, without = compare(AMP, ("precision", files["dense"], tiny7))
    assert with_patch == [{"scaler": [False], "autocast": [False], "half": [False]}]
    assert without == [{"scaler": [True], "autocast": [True], "half": [True]}]


def test_penalty_once_a_step(compare: Callable[..., Any], files: dict[str, Path], tiny7: Path, brisk: Path) -> None:
    """Once per optimizer step, it moves gamma, the flag is remembered; frozen networks are an error."""
    words = (files["dense"], tiny7, "--epochs", "2", "--hyp", brisk, "--sparsity")
    frozen = ("penalty", *words, "0.05", "--freeze", *range(22))
    (sparse, plain, nothing), (unknown, *_) = compare(
        BN_L1, ("penalty", *words, "0.5"), ("penalty", *words, "0"), frozen
    )
    assert sparse["steps"] == sparse["calls"] == plain["steps"] > 0 and plain["calls"] == 0
    assert sparse["gamma"] < plain["gamma"] and sparse["sparsity"] == 0.5
    assert nothing.startswith("PruneError") and "has no effect" in nothing
    assert unknown == "SystemExit: 2"


def test_pruned_network_is_rebuilt_pruned(compare: Callable[..., Any], full: Home, tiny7: Path) -> None:
    """From its checkpoint, its YAML and by the hub; without the hooks the guard stops each, as in stock."""
    pruned, cfg = full.root / "pruned.pt", full.root / "pruned.yaml"
    questions = [("train", pruned, tiny7), ("train", pruned, tiny7, "--cfg", cfg), ("build", cfg), ("hub", pruned)]
    with_patch, without = compare(STRUCTURE, *questions)
    assert with_patch == [PRUNED] * 4
    assert all(answer.startswith(GUARD) for answer in without[:3]), without  # the stock hub needs pkg_resources


def test_auxiliary_heads_train(full: Home, tiny7: Path, tmp_path: Path) -> None:
    """train_aux.py on a pruned network keeps all eight branches."""
    small(full, "aux.pt 10 pruned", "small-w")
    weights = full.root / "aux.pt"
    (before, after) = full.ask(PROBES, ("size", weights), ("train_aux", weights, tiny7), cwd=tmp_path)
    assert before == after == 132_252


def test_exact_rows(compare: Callable[..., Any]) -> None:
    """A network pruned globally, in rows of its real widths (SPPCSPC and RepConv): loads strictly."""
    ((off, _, blocks),), (without,) = compare(ROWS, ("exact", "training/yolov7"))
    assert off == 0.0 and blocks == 3
    assert "Error" in without, without


def test_start_needs_no_network(compare: Callable[..., Any], files: dict[str, Path]) -> None:
    """A path is what was typed, a missing file an error at once, wandb and pip are left alone."""
    (quiet,), (busy,) = compare(OFFLINE, ("startup", files["dense"]))
    assert quiet["asked"] == [] and not quiet["wandb"]
    assert quiet["said"][0] is None and quiet["said"][1].startswith("FileNotFoundError: nowhere.pt: no such file")
    assert "requests" in busy["asked"] and busy["wandb"]


def test_two_ranks_on_a_cpu(full: Home, prefix7: Callable[[int], Home], tiny7: Path, tmp_path: Path) -> None:
    """Under torch.distributed.run with gloo both ranks hold the pruned network, with the same weights."""
    launch = "-m torch.distributed.run --standalone --nproc_per_node 2".split()
    words = [
        "--weights",
        full.root / "pruned.pt",
        "--data",
        tiny7,
        "--epochs",
        "1",
        "--name",
        "exp",
        "--exist-ok",
        "--hyp",
        full.root / "data/hyp.scratch.tiny.yaml",
        "--noautoanchor",
        *"--img 64 64 --workers 0 --device cpu --project . --batch-size 8".split(),
    ]
    full.python(*launch, HERE / "ddp_seven.py", "train.py", *words, cwd=tmp_path)
    ranks = [json.loads((tmp_path / f"rank{n}.json").read_text()) for n in (0, 1)]
    assert ranks[0] == ranks[1] and ranks[0][0]["widths"]["model.0.conv"] == 16 and len(ranks[0][0]["widths"]) == 18
    said = prefix7(DDP - 1).python(*launch, HERE / "ddp_seven.py", "train.py", *words, cwd=tmp_path, code=1)
    assert "process group has not been initialized" in said


def test_two_ranks_prune(full: Home, tiny7: Path, tmp_path: Path) -> None:
    """pruner.py in two processes: both train the same widths, step after step."""
    launch = "-m torch.distributed.run --standalone --nproc_per_node 2".split()
    words = [
        "--weights",
        full.root / "dense.pt",
        "--data",
        tiny7,
        "--epochs",
        "1",
        "--project",
        ".",
        "--name",
        "exp",
        *"--img 64 64 --workers 0 --device cpu --batch-size 8 --steps 2 --no-export --noautoanchor".split(),
    ]
    full.python(*launch, HERE / "ddp_seven.py", "prune.py", *words, cwd=tmp_path)
    ranks = [json.loads((tmp_path / f"rank{n}.json").read_text()) for n in (0, 1)]
    assert ranks[0] == ranks[1] and len(ranks[0]) == 2
    steps = json.loads((tmp_path / "exp/report.json").read_text())["steps"]
    assert [row["widths"] for row in ranks[0]] == [step["widths"] for step in steps]


def test_short_trainings(
    compare: Callable[..., Any], full: Home, files: dict[str, Path], brisk: Path, tiny7: Path
) -> None:
    """warmup_iters and nbs are what the training does; --epochs 1 trains one epoch more, always."""
    ((lr, steps), more), ((cold, few), none) = compare(
        SHORT, ("warmup", files["dense"], tiny7, brisk), ("onward", full.root / "cfg/training/small.yaml", tiny7)
    )
    assert lr > 20 * cold > 0 and (steps, few) == (6, 6) and more == 2
    assert "Error" in none


def test_failed_export_fails(full: Home, prefix7: Callable[[int], Home], files: dict[str, Path]) -> None:
    """Where torch's exporter raises: exit code 1 and what was written; without the patch 0."""
    words = ["export.py", "--weights", files["pruned"], "--img-size", "64", "--device", "cpu"]
    said = full.python("-c", FAILING, *words, code=1)
    assert "error: no ONNX file was written" in said and "pruned.torchscript.pt" in said
    prefix7(EXPORT - 1).python("-c", FAILING, *words)
    said = full.python("-c", BY_ENGINE, files["pruned"])
    assert said.index("no exporter here") < said.index("told: ") and "its log is above" in said


def test_prune_and_train(compare: Callable[..., Any], files: dict[str, Path], tiny7: Path) -> None:
    """--prune_ratio prints both figures, trains the pruned network; a resumed run does not prune again, and ends."""
    (((before, after), cut, resumed),), (unknown,) = compare(
        PRUNE, ("first", files["dense"], tiny7, "--prune_ratio", "0.5")
    )
    assert before.startswith("Before Pruning: MACs=") and f"#Params={DENSE / 1e6} M" in before
    assert after.startswith("After Pruning: MACs=") and f"#Params={PRUNED / 1e6} M" in after
    assert (cut, resumed) == (PRUNED, [PRUNED, -1])
    assert unknown == "SystemExit: 2"


def test_changed_data_set_is_noticed(compare: Callable[..., Any], tiny7: Path, tmp_path: Path) -> None:
    """The next training sees one more label, and labels where another YOLO has cached them; without it neither."""
    import shutil

    shutil.copytree(tiny7.parent, tmp_path / "data")
    data = tmp_path / "data.yaml"
    data.write_text(tiny7.read_text().replace(str(tiny7.parent), str(tmp_path / "data")))
    with_patch, without = compare(CACHE, ("classes_seen", data), ("other_cache", data))
    assert with_patch[0] == 1 and without[0] == 0
    assert with_patch[1] > 1 and str(without[1]).startswith("UnpicklingError")


def test_every_patch_says_what_why_and_when_to_retire() -> None:
    """The series file lists exactly the patches there are; each carries its header."""
    names = (SERIES / "series").read_text().split()
    assert sorted(names) == sorted(p.name for p in SERIES.glob("*.patch")) and len(names) == CACHE
    for name in names:
        header = (SERIES / name).read_text().partition("\ndiff --git")[0]
        assert all(f"\n{part}" in header for part in ("What: ", "Why: ", "Retire when: ")), name
