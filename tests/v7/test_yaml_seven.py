# SPDX-License-Identifier: AGPL-3.0-or-later
"""generate_prune_yaml.py and reparameterize.py as a user types them, and what upstream does with the results."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from home_seven import CHARTLESS, HERE, Home, small, typed

pytestmark = [pytest.mark.upstream, pytest.mark.slow]
LINE = "generate_prune_yaml.py --model ./cfg/training/yolov7.yaml --pruned_model"
MADE = "generate_prune_yaml.py --model cfg/training/small.yaml"
QUICK = "--batch-size 8 --workers 0 --device cpu --noautoanchor --img-size 64 64 --epochs 1".split()
B = "--weights tiny.pt --pruned_model new.yaml"
BAD = {
    "no run": (f"{MADE} --pruned_model new.yaml", "no finished pruning run"),
    "no such model": (f"generate_prune_yaml.py --model nowhere.yaml {B}", "--model nowhere.yaml: no such file"),
    "another network": (f"generate_prune_yaml.py --model cfg/training/yolov7.yaml {B}", "row 3 is"),
    "deploy": (f"generate_prune_yaml.py --model cfg/deploy/small.yaml {B}", "row 22 is"),
    "no architecture": (f"generate_prune_yaml.py --model data.yaml {B}", "no 'depth_multiple:' in it"),
    "no such weights": (f"{MADE} --weights gone.pt --pruned_model new.yaml", "gone.pt: no such file"),
    "onto itself": (f"{MADE} --weights tiny.pt --pruned-model cfg/training/small.yaml", "give another name"),
    "onto the weights": (f"{MADE} --weights tiny.pt --pruned_model tiny.pt", "name it pruned_model.yaml"),
    "deploy onto a folder": ("reparameterize.py --weights tiny.pt --output cfg", "a folder is there"),
    "deploy onto itself": ("reparameterize.py --weights tiny.pt --output tiny.pt", "give another name"),
}


def finished(home: Home, folder: str, cfg: str) -> Path:
    """A finished pruning run as prune.py leaves it; its network."""
    run = home.root / folder
    run.mkdir(parents=True)
    home.python(HERE / "make_seven.py", cfg, run / "pruned.pt", "10", "pruned")
    record = {
        "schema": 1,
        "settings": {},
        "family": "yolov7",
        "weights": "best.pt",
        "arguments": {},
        "status": "done",
        "final": {"checkpoint": "pruned.pt", "yaml": "pruned.yaml"},
    }
    (run / "report.json").write_text(json.dumps(record))
    return run / "pruned.pt"


@pytest.fixture(scope="module")
def tiny(fork7: Path, copy7: Callable[[Path], Home], tiny7: Path) -> Home:
    """A fork with a pruned network of the small YAML, its deploy form's YAML and data, but no run."""
    home = copy7(fork7)
    small(home, "tiny.pt 10 pruned")
    text = (home.root / "cfg/training/small.yaml").read_text()
    (home.root / "cfg/deploy/small.yaml").write_text(text.replace("IDetect", "Detect"))
    shutil.copy(tiny7, home.root / "data.yaml")
    return home


def test_published_lines(fork7: Path, copy7: Callable[[Path], Home]) -> None:
    """The network of the last pruning run, named; rows with real widths that a YAML reader and a person can read."""
    home = copy7(fork7)
    finished(home, "runs/prune/exp_voc", "training/yolov7")
    first = home.python(*LINE.split(), "./pruned_model.yaml")
    assert "Pruned weights: runs/prune/exp_voc/pruned.pt (last pruning run" in first
    home.python(*LINE.split(), "./cfg/pruned_model.yaml")
    text = (home.root / "pruned_model.yaml").read_text()
    assert (home.root / "cfg/pruned_model.yaml").read_text() == text
    content = yaml.safe_load(text)
    assert (content["nc"], content["depth_multiple"], content["width_multiple"]) == (10, 1.0, 1.0)
    rows = [*content["backbone"], *content["head"]]
    assert rows[0] == [-1, 1, "prunekit.Conv", [16, 3, 1]] and len(rows) == 106 and rows[-1][2] == "IDetect"
    assert "[-1, 1, prunekit.Conv, [16, 3, 1]]  # 0: 32\n" in text
    spp = next(row for row in rows if row[2] == "prunekit.SPPCSPC")
    assert spp[3] == [256, {f"cv{i}": 256 for i in range(1, 7)}]
    assert len(text.splitlines()) < 125, "a row a line"


def test_the_yaml_trains_prunes_again_and_deploys(tiny: Home) -> None:
    """train.py --cfg: the pruned network, its weights in it; then once more, from what that training wrote."""
    written = tiny.python(*f"{MADE} --weights tiny.pt --pruned_model pruned_model.yaml --verify".split())
    assert "Verified: built from the file, weights loaded strictly, largest difference of outputs 0" in written
    trained = tiny.python(
        CHARTLESS,
        "train.py",
        "--cfg",
        "pruned_model.yaml",
        "--weights",
        "tiny.pt",
        "--data",
        "data.yaml",
        *QUICK,
        "--hyp",
        "data/hyp.scratch.tiny.yaml",
        "--name",
        "again",
    )
    transferred = next(line for line in trained.splitlines() if "Transferred" in line)
    got, of = transferred.split("Transferred ")[1].split()[0].split("/")
    assert int(of) - int(got) == 2, "all but the two anchor buffers, which upstream takes from --cfg"
    best = "runs/train/again/weights/best.pt"
    tiny.python(
        CHARTLESS,
        "prune_one_shot.py",
        "--weights",
        best,
        "--data",
        "data.yaml",
        *QUICK,
        "--prune-ratio",
        "0.3",
        "--round-to",
        "1",
        "--no-export",
        "--name",
        "twice",
    )
    report = tiny.report("runs/prune/twice")
    once, twice = report["dense"]["params"], report["steps"][0]["params"]
    assert f"{once:,} parameters" in written and twice < 0.6 * once
    said = tiny.python(*f"{MADE} --pruned_model twice.yaml --verify".split())
    assert f"{twice:,} parameters" in said and "runs/prune/twice/pruned.pt" in said
    said = tiny.python("reparameterize.py", "--weights", "runs/prune/twice/pruned.pt")
    assert "Written: runs/prune/twice/pruned_deploy.pt" in said
    shown = tiny.python(
        CHARTLESS,
        "test.py",
        "--weights",
        "runs/prune/twice/pruned_deploy.pt",
        "--data",
        "data.yaml",
        "--img-size",
        "64",
        "--device",
        "cpu",
        "--no-trace",
        "--batch-size",
        "8",
    )
    assert "mAP@.5" in shown


def test_bad_input_is_one_line_and_leaves_nothing(tiny: Home) -> None:
    shutil.rmtree(tiny.root / "runs", ignore_errors=True)  # of the test before: one row is that there is no run
    before = sorted(path.name for path in tiny.root.iterdir())
    answers = typed(tiny, [words for words, _ in BAD.values()])
    for name, (code, text) in zip(BAD, answers.values(), strict=True):
        errors = [line for line in text.splitlines() if line.startswith("error: ")]
        assert code == 2 and len(errors) == 1 and BAD[name][1] in errors[0], (name, text)
    assert sorted(path.name for path in tiny.root.iterdir()) == before
