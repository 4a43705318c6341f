# SPDX-License-Identifier: AGPL-3.0-or-later
"""Does a YOLOv7 recover after pruning? yolov7-tiny on the digits, half of the channels, the same epochs for everyone.

    python benchmarks/recovery_v7.py FORK OUT [--train 400] [--dense-epochs 15] [--epochs 10] [--seed 0] [WORDS]

FORK is what `prunekit setup v7` made. Trains a dense network, then gives the same number of further epochs to it, to
two-step iterative pruning (`pruner.py`), and to one-shot pruning (`pruner_one_shot.py`). Prints a table, and writes it
with all settings to OUT/recovery.json. What is in OUT already is kept, so a broken benchmark goes on. WORDS
(`--single-cls`) go to all trainings. CPU, one thread.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import yaml
from prunekit.demo.digits import build

# Upstream weighs objectness by (pixels / 640)^2 and classes by classes / 80: at 64 px with ten of them next to nothing
# is left of either, so the gains take it back. Digits must not be mirrored, and 400 iterations are no 1000.
HYP = {
    "obj": 40.0,
    "cls": 4.0,
    "loss_ota": 0,
    "lr0": 0.02,
    "lrf": 0.1,
    "momentum": 0.9,
    "warmup_iters": 0.1,
    "warmup_bias_lr": 0.02,
    "nbs": 8,
    "mosaic": 0.0,
    "mixup": 0.0,
    "paste_in": 0.0,
    "fliplr": 0.0,
    "scale": 0.3,
    "translate": 0.15,
    "hsv_h": 0.0,
    "hsv_s": 0.0,
    "hsv_v": 0.0,
}
# After the training from scratch, for everyone: with 0.02 the larger networks' class loss rose by half on the way.
FURTHER = {"lr0": 0.01, "warmup_bias_lr": 0.01}
# --notest: validated after the last epoch alone, so that nobody picks a lucky one.
QUICK = "--batch-size 8 --workers 0 --device cpu --cache-images --noautoanchor --notest".split()
RATIO = "0.5"


class Figures(NamedTuple):
    """A network's size and accuracy."""

    params: int
    map50: float
    map50_95: float


def main() -> None:
    """Run what is missing, then print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("fork", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--dense-epochs", type=int, default=15)
    parser.add_argument("--epochs", type=int, default=10, help="after each of the two steps; the others get twice that")
    parser.add_argument("--train", type=int, default=400, help="images to train on; half as many to validate on")
    parser.add_argument("--imgsz", type=int, default=64, help="height and width of the scenes")
    parser.add_argument("--seed", type=int, default=0, help="of the data; upstream trains with a seed of its own")
    given, given.words = parser.parse_known_args()
    found = recovery(given, given.fork.resolve(), given.out.resolve())
    settings = {key: value for key, value in vars(given).items() if key not in ("fork", "out", "words")}
    record = {
        "settings": settings,
        "hyp": HYP,
        "further": FURTHER,
        "ratio": RATIO,
        "words": [*QUICK, *given.words],
        "networks": {name: figures._asdict() for name, figures in found.items()},
    }
    (given.out / "recovery.json").write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    print(table(found))


def recovery(
    given: argparse.Namespace, fork: Path, out: Path, env: Mapping[str, str] = os.environ
) -> dict[str, Figures]:
    """Everyone's figures; `given` holds every option and upstream's `words`; `env` is for the scripts."""
    data = build(out / "digits", train=given.train, val=given.train // 2, imgsz=given.imgsz, seed=given.seed)
    bench = Bench(fork, out, data, given.imgsz, env)
    bench.common += given.words
    return stages(given, bench)


class Bench:
    """The fork, the place for results, the data."""

    def __init__(self, fork: Path, out: Path, data: Path, imgsz: int, env: Mapping[str, str]) -> None:
        self.fork, self.out = fork, out
        self.env = {**env, "OMP_NUM_THREADS": "1", "MPLBACKEND": "Agg"}
        usual = yaml.safe_load((fork / "data/hyp.scratch.tiny.yaml").read_text())
        for name, values in (("first", HYP), ("further", {**HYP, **FURTHER})):
            (out / f"hyp-{name}.yaml").write_text(yaml.safe_dump({**usual, **values}))
        self.common = [*QUICK, "--data", str(data), "--project", str(out), "--img-size", str(imgsz), str(imgsz)]

    def run(self, name: str, script: str, *words: object) -> Path:
        """Run a script of the fork once; its folder."""
        folder = self.out / name
        if not (folder / "done").exists():
            hyp = self.out / f"hyp-{'first' if name == 'dense' else 'further'}.yaml"
            command = [sys.executable, script, *map(str, words), *self.common, "--hyp", str(hyp)]
            command += ["--name", name, "--exist-ok"]
            with (self.out / f"{name}.log").open("w") as log:
                subprocess.run(command, cwd=self.fork, stdout=log, stderr=subprocess.STDOUT, check=True, env=self.env)
            (folder / "done").touch()
        return folder


def stages(given: argparse.Namespace, bench: Bench) -> dict[str, Figures]:
    """Who ends where after the same number of epochs."""
    cfg = bench.fork / "cfg/training/yolov7-tiny.yaml"
    dense = bench.run("dense", "train.py", "--weights", "", "--cfg", cfg, "--epochs", given.dense_epochs)
    best, twice = dense / "weights/best.pt", 2 * given.epochs
    shot = bench.run(
        "one_shot", "pruner_one_shot.py", "--weights", best, "--prune_ratio", RATIO, "--epochs", twice, "--no-export"
    )
    steps = bench.run(
        "steps",
        "pruner.py",
        "--weights",
        best,
        "--prune_ratio",
        RATIO,
        "--steps",
        2,
        "--epochs",
        given.epochs,
        "--no-export",
    )
    more = bench.run("dense_more", "train.py", "--weights", best, "--cfg", "", "--epochs", twice)
    reports = {
        name: json.loads((folder / "report.json").read_text())
        for name, folder in (("one shot", shot), ("two steps", steps))
    }
    begin = reports["one shot"]["dense"]
    found = {"dense": _row(begin, ""), "dense, as many more epochs": _last(begin["params"], more / "results.txt")}
    for name, report in reports.items():
        found[f"{name}, just pruned"] = _row(report["steps"][-1], "pruned_")
        found[name] = _row(report["steps"][-1], "")
    return found


def _row(step: dict[str, Any], prefix: str) -> Figures:
    return Figures(step["params"], step[f"{prefix}map50"], step[f"{prefix}map50_95"])


def _last(params: int, results: Path) -> Figures:
    """The last epoch's validation, as train.py notes it."""
    loose, strict = results.read_text().splitlines()[-1].split()[10:12]
    return Figures(params, float(loose), float(strict))


def table(found: dict[str, Figures]) -> str:
    """Markdown."""
    rows = [f"| {name} | {n:,} | {loose:.3f} | {strict:.3f} |" for name, (n, loose, strict) in found.items()]
    return "\n".join(["| network | parameters | mAP50 | mAP50-95 |", "|---|---|---|---|", *rows])


if __name__ == "__main__":
    main()
