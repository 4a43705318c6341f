# SPDX-License-Identifier: AGPL-3.0-or-later
"""Learning is real: yolov5n on the digits, to half the MACs in one step and to 0.3 in three, against the dense one.

All digits are one class: ten want more than twice the epochs until the same shows.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from home_five import Home
from learning_five import OPTIONS, write_hyp

pytestmark = [pytest.mark.upstream, pytest.mark.slow, pytest.mark.timeout(3600)]  # minutes, on a quiet machine
DENSE, EXTRA, STEPS = 40, 12, 3  # epochs from scratch, epochs more for each of the three, steps they are shared among
MORE = """
import json, sys
from prunekit_v5.adapter import Yolov5
from pathlib import Path
weights, data = sys.argv[1:]
family = Yolov5()
family.check(Path(weights))
family.take(Path(weights), f"--data {data} --img 64 --device cpu --workers 0 --single-cls".split(), 0)
print("ANSWERS" + json.dumps(family.evaluate(Path(weights)).map50))
"""


@pytest.fixture(scope="module")
def learned(fork5: Path, copy5: Callable[[Path], Home], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """mAP50 of the dense network trained on, and the reports of pruning it in one step and in three."""
    from prunekit.demo.digits import build

    home, data = copy5(fork5), build(tmp_path_factory.mktemp("digits5") / "digits", train=96, val=64, imgsz=64)
    common = ["--data", data, "--hyp", write_hyp(home.root, home.root / "hyp.yaml"), *OPTIONS, "--single-cls"]
    home.python("train.py", "--weights", "", "--cfg", "yolov5n.yaml", "--epochs", DENSE, "--name", "dense", *common)
    weights = home.root / "runs/train/dense/weights/last.pt"
    common = ["--weights", weights, *common]
    home.python("train.py", "--epochs", EXTRA, "--name", "more", *common)
    said = home.python("-c", MORE, home.root / "runs/train/more/weights/last.pt", data)
    # By LAMP, not repaired: with the default, nothing is lost that fine-tuning could bring back.
    half = ["--target-macs", "0.5", "--importance", "lamp", "--round-to", "1", "--no-export", *common]
    home.python("prune_one_shot.py", "--epochs", EXTRA, "--name", "once", *half)
    less = ["--target-macs", "0.3", *half[2:]]  # to 0.5, a step costs less than the test wants won back, on some CPUs
    home.python("prune.py", "--steps", STEPS, "--epochs", EXTRA // STEPS, "--name", "thrice", *less)
    runs = {name: home.report(f"runs/prune/{name}") for name in ("once", "thrice")}
    text = (home.root / "runs/prune/thrice/report.md").read_text()
    figures = {"more": json.loads(said.rpartition("ANSWERS")[2]), **runs, "text": text}
    for name, report in runs.items():
        print(name, [round(row["map50"], 3) for row in (report["dense"], *report["steps"])], figures["more"])
    return figures


def test_dense_network_learns(learned: dict[str, Any]) -> None:
    assert learned["once"]["dense"]["map50"] > 0.8 and learned["more"] > 0.8


def test_half_the_macs_keep_the_accuracy(learned: dict[str, Any]) -> None:
    """Within 0.05 of the dense network that got the same extra epochs, and pruning alone had cost more than that."""
    dense, step = learned["once"]["dense"], learned["once"]["steps"][0]
    assert step["macs"] / dense["macs"] == pytest.approx(0.5, abs=0.01)
    assert step["map50"] > learned["more"] - 0.05 > step["pruned_map50"]


def test_three_steps_in_one_process(learned: dict[str, Any]) -> None:
    """Each step loses accuracy and wins it back; four epochs a step are all warm-up, so less comes back."""
    dense, steps = learned["thrice"]["dense"], learned["thrice"]["steps"]
    assert len(steps) == STEPS and steps[-1]["macs"] / dense["macs"] == pytest.approx(0.3, abs=0.01)
    assert all(step["map50"] > step["pruned_map50"] + 0.1 for step in steps)
    assert steps[-1]["map50"] > 0.7


def test_losses_weigh_the_same_in_every_step(learned: dict[str, Any]) -> None:
    """Three trainings in one process: train.py scales the gains in place, and a shared dict would shrink them."""
    gains = [step["gains"] for step in learned["thrice"]["steps"]]
    assert len(gains) == STEPS and gains[0] == gains[1] == gains[2]
    assert gains[0] == {"box": pytest.approx(0.05), "obj": pytest.approx(50 / 100), "cls": pytest.approx(4 * 1 / 80)}
    assert "Loss weights in every step: box 0.05, obj 0.5, cls 0.05." in learned["text"]
