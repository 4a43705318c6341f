# SPDX-License-Identifier: AGPL-3.0-or-later
"""Bad input to a YOLOv7 fork's train.py, with and without --prune_ratio: one line, exit code 2, nothing left."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from pathlib import Path

import badlines
import pytest
from home_seven import CHARTLESS, Home, small, typed

pytestmark = [pytest.mark.upstream, pytest.mark.slow]
CFG = "--cfg cfg/training/small.yaml"


@pytest.fixture(scope="module")
def bench(fork7: Path, copy7: Callable[[Path], Home], tiny7: Path) -> Home:
    """One fork for all: nothing here may change it."""
    home = copy7(fork7)
    small(home, "best.pt 10")
    badlines.damage(home.root)
    home.python("-c", "import torch; torch.save({'model': None}, 'bare.pt')")
    shutil.copy(tiny7, home.root / "tiny.yaml")
    return home


COMMON = "train.py --weights best.pt --data tiny.yaml --device cpu --workers 0 --prune_ratio"
REFUSED = {  # before anything is loaded; the last after it
    "train.py --weights best.pt --data tiny.yaml --prune_ratio 1.5": "must lie between 0 and 1",
    "train.py --weights best.pt --data tiny.yaml --prune_ratio 0.5 --device 0": "--device 0: no CUDA device here",
    "train.py --weights gone.pt --data tiny.yaml --prune_ratio 0.5": "--weights gone.pt: no such checkpoint",
    f"train.py --weights '' --data tiny.yaml --prune_ratio 0.5 {CFG}": "no network given: --weights best.pt",
    f"{COMMON} 0.0001 --name refused": "error: The plan removes 0 of",
}


def test_train_refuses_in_one_line(bench: Home) -> None:
    """train.py --prune_ratio with a ratio or a device that cannot be: exit code 2, and no run folder."""
    for line, (code, text) in typed(bench, [*REFUSED]).items():
        assert code == 2 and REFUSED[line] in text and "Traceback" not in text, (line, text)
    assert not list((bench.root / "runs/train").iterdir()), "a run folder of a training that never began"
    (bench.root / "runs/train/kept").mkdir()
    (bench.root / "runs/train/kept/notes.txt").write_text("the user's")
    bench.python(*COMMON.split(), *"0.0001 --name kept --exist-ok".split(), code=2, cold=True)
    assert (bench.root / "runs/train/kept/notes.txt").is_file()
    shutil.rmtree(bench.root / "runs")


# Makes two more of pruned.pt: as a training of its exact rows writes it, and as a tool does that knows no YAML.
THINNED = """
import copy, torch, yaml
held = torch.load("pruned.pt", weights_only=False)
held["model"].yaml = yaml.safe_load(open("exact.yaml"))
torch.save(held, "exact.pt")
held["model"].yaml = yaml.safe_load(open("cfg/training/small.yaml"))
torch.save(held, "elsewhere.pt")
"""
REPLACED = {  # words of train.py: what it says; with the pruned weights lost, a mostly random network would be pruned
    f"{CFG} --weights pruned.pt --prune_ratio 0.5": "is not the pruned network of pruned.pt: ",
    f"{CFG} --weights pruned.pt": "is not the pruned network of pruned.pt: ",
    f"{CFG} --weights exact.pt --prune_ratio 0.5": "is not the pruned network of exact.pt: ",
    f"{CFG} --weights exact.pt": "is not the pruned network of exact.pt: ",
    f"{CFG} --weights elsewhere.pt --prune_ratio 0.5": "of the network that --cfg cfg/training/small.yaml",
    "--weights elsewhere.pt --prune_ratio 0.5": "of the network that its YAML builds are in it",
    "--cfg cfg/training/yolov7.yaml --weights best.pt --prune_ratio 0.5": "of the network that --cfg",
}


@pytest.fixture(scope="module")
def thinned(fork7: Path, copy7: Callable[[Path], Home], tiny7: Path) -> Home:
    """A fork with a dense and three thinned checkpoints, and the data set."""
    home = copy7(fork7)
    for words in ("best.pt 10", "pruned.pt 10 pruned"):
        small(home, words)
    made = "--model cfg/training/small.yaml --weights pruned.pt --pruned_model exact.yaml"
    home.python("generate_prune_yaml.py", *made.split())
    home.python("-c", THINNED)
    shutil.copy(tiny7, home.root / "tiny.yaml")
    return home


def test_train_stops_where_the_pruned_weights_would_be_lost(thinned: Home) -> None:
    """One line and exit code 2 from both training scripts, before upstream makes its run folder."""
    more = "--data tiny.yaml --epochs 0 --device cpu"  # where nothing is refused, there is nothing to train
    lines = {f"{script} {words} {more}": words for script in ("train.py", "train_aux.py") for words in REPLACED}
    for line, (code, text) in typed(thinned, [*lines]).items():
        last = text.splitlines()[-1]
        assert code == 2 and last.startswith(f"{line.split()[0]}: error: ") and REPLACED[lines[line]] in last, (
            line,
            text,
        )
        assert re.search("[Ll]eave --cfg out|Give a checkpoint", last), last
    assert not (thinned.root / "runs").exists()


def test_train_prunes_what_holds_its_weights(thinned: Home) -> None:
    """The same checkpoints with their own YAMLs, or none."""
    common = "--data tiny.yaml --device cpu --workers 0 --batch-size 8 --img-size 64 64 --epochs 1 --prune_ratio 0.3"
    for words in ("--weights pruned.pt", "--weights exact.pt --cfg exact.yaml"):
        said = thinned.python(CHARTLESS, "train.py", *words.split(), *common.split(), "--noautoanchor")
        assert "After Pruning: MACs=" in said and "Traceback" not in said
    shutil.rmtree(thinned.root / "runs")


DAMAGED = {  # what train.py says of each, whether it prunes or not
    "--weights cut.pt": "damaged, or not what training wrote (PytorchStreamReader failed reading zip archive",
    "--weights text.pt": "damaged, or not what training wrote (",
    "--weights bare.pt": "(no YOLOv7 network in it)",
    "--weights cut.pt --prune_ratio 0.5": "--weights cut.pt: damaged",
    "--resume cut.pt": "--resume cut.pt: damaged",
}


def test_train_names_a_damaged_checkpoint(bench: Home) -> None:
    """Upstream makes a run folder and ends in a traceback."""
    lines = {f"train.py {words} --data tiny.yaml --device cpu": wanted for words, wanted in DAMAGED.items()}
    for line, (code, text) in typed(bench, [*lines]).items():
        last = text.splitlines()[-1]
        assert code == 2 and last.startswith("train.py: error: ") and lines[line] in last, text
        assert "Traceback" not in text
    assert not (bench.root / "runs").exists()
