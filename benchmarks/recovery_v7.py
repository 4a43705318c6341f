# SPDX-License-Identifier: AGPL-3.0-or-later
"""Does a YOLOv7 recover after pruning? yolov7-tiny on the digits, half of the channels, the same epochs for everyone.

    python benchmarks/recovery_v7.py FORK OUT [--dense-epochs 60] [--epochs 20] [--imgsz 32]

FORK is what `prunekit setup v7` made. Trains a dense network, then gives the same number of further epochs to it, to
two-step iterative pruning (`pruner.py`), and to one-shot pruning (`pruner_one_shot.py`). Prints a table. What is in OUT
already is kept, so a broken benchmark goes on. CPU, one thread.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml
from prunekit.demo.digits import build

# As a user with a small data set would set them: digits must not be mirrored, and 400 iterations are no 1000.
HYP = {"warmup_iters": 0.05, "nbs": 16, "mosaic": 0.0, "mixup": 0.0, "paste_in": 0.0, "fliplr": 0.0, "scale": 0.2,
       "translate": 0.1, "hsv_s": 0.2, "lr0": 0.002}
QUICK = "--batch-size 16 --workers 0 --device cpu --cache-images --adam".split()
RATIO = "0.5"


def main() -> None:
    """Run what is missing, then print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("fork", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--dense-epochs", type=int, default=60)
    parser.add_argument("--epochs", type=int, default=20, help="after each of the two steps; the others get twice that")
    parser.add_argument("--train", type=int, default=128, help="images to train on; half as many to validate on")
    parser.add_argument("--imgsz", type=int, default=32, help="height and width of the scenes")
    given = parser.parse_args()
    out = given.out.resolve()
    data = build(out / "digits", train=given.train, val=given.train // 2, imgsz=given.imgsz, seed=0, task="detect")
    print(table(stages(given, Bench(given.fork.resolve(), out, data, given.imgsz))))


class Bench:
    """The fork, the place for results, the data."""

    def __init__(self, fork: Path, out: Path, data: Path, imgsz: int) -> None:
        self.fork, self.out, self.hyp = fork, out, out / "hyp.yaml"
        usual = yaml.safe_load((fork / "data/hyp.scratch.tiny.yaml").read_text())
        self.hyp.write_text(yaml.safe_dump({**usual, **HYP}))
        self.common = [*QUICK, "--data", str(data), "--hyp", str(self.hyp), "--project", str(out)]
        self.common += ["--img-size", str(imgsz), str(imgsz)]

    def run(self, name: str, script: str, *words: object) -> Path:
        """Run a script of the fork once; its folder."""
        folder = self.out / name
        if not (folder / "done").exists():
            command = [sys.executable, script, *map(str, words), *self.common, "--name", name, "--exist-ok"]
            with (self.out / f"{name}.log").open("w") as log:
                env = {**os.environ, "OMP_NUM_THREADS": "1", "MPLBACKEND": "Agg"}
                subprocess.run(command, cwd=self.fork, stdout=log, stderr=subprocess.STDOUT, check=True, env=env)
            (folder / "done").touch()
        return folder


def stages(given: argparse.Namespace, bench: Bench) -> dict[str, tuple[int, float, float]]:
    """{who: (parameters, mAP50, mAP50-95)} after the same number of epochs."""
    cfg = bench.fork / "cfg/training/yolov7-tiny.yaml"
    dense = bench.run("dense", "train.py", "--weights", "", "--cfg", cfg, "--epochs", given.dense_epochs)
    best, twice = dense / "weights/best.pt", 2 * given.epochs
    shot = bench.run("one_shot", "pruner_one_shot.py", "--weights", best, "--prune_ratio", RATIO, "--epochs", twice)
    steps = bench.run("steps", "pruner.py", "--weights", best, "--prune_ratio", RATIO, "--steps", 2,
                      "--epochs", given.epochs)
    more = bench.run("dense_more", "train.py", "--weights", best, "--cfg", "", "--epochs", twice)
    reports = {name: json.loads((folder / "report.json").read_text()) for name, folder in
               (("one shot", shot), ("two steps", steps))}
    begin = reports["one shot"]["dense"]
    found = {"dense": (begin["params"], begin["map50"], begin["map50_95"])}
    found["dense, as many more epochs"] = (begin["params"], *_best_of(more / "results.txt"))
    for name, report in reports.items():
        found[f"{name}, just pruned"] = _row(report["steps"][-1], "pruned_")
        found[name] = _row(report["steps"][-1], "")
    return found


def _row(step: dict[str, Any], prefix: str) -> tuple[int, float, float]:
    return step["params"], step[f"{prefix}map50"], step[f"{prefix}map50_95"]


def _best_of(results: Path) -> tuple[float, float]:
    """(mAP50, mAP50-95) of the epoch that upstream calls best: 0.1 mAP50 + 0.9 mAP50-95."""
    rows = [[float(word) for word in line.split()[10:12]] for line in results.read_text().splitlines()]
    best = max(rows, key=lambda row: 0.1 * row[0] + 0.9 * row[1])
    return best[0], best[1]


def table(found: dict[str, tuple[int, float, float]]) -> str:
    """Markdown."""
    rows = [f"| {name} | {n:,} | {loose:.3f} | {strict:.3f} |" for name, (n, loose, strict) in found.items()]
    return "\n".join(["| network | parameters | mAP50 | mAP50-95 |", "|---|---|---|---|", *rows])


if __name__ == "__main__":
    main()
