# SPDX-License-Identifier: AGPL-3.0-or-later
"""What is left of half a network without any training, for each family and task: repaired, not repaired, random.

    prunekit setup v8 forks/v8; prunekit setup v5 forks/v5; prunekit setup v7 forks/v7
    python benchmarks/zero_epochs.py forks OUT [--only yolov8n yolov8n-seg]

Each network learns scenes of handwritten digits from scratch (`compare.py`'s sizes and settings); then each way is one
run of the fork's prune_one_shot.py with no epochs. Accuracy is upstream's own for the task: of boxes, and for masks
and key points theirs is the second. What is in OUT/zero-epochs.json stays, so a broken benchmark goes on. CPU.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from comparing.cells import Bench
from comparing.targets import TARGETS
from prunekit.demo import runner
from prunekit.demo.digits import build
from prunekit.demo.runner import YOLO

HALF = 0.5  # of the dense network's MACs
RANKED = ("--importance", "reconstruction", "--scope", "global", "--round-to", "8")
WAYS: Mapping[str, tuple[str, ...]] = {
    "default": (),
    "default, not repaired": ("--repair", "0"),
    "random": ("--importance", "random"),
    "reconstruction, global, 8": RANKED,
}


@dataclass(frozen=True)
class Network:
    """What is trained: a target of `prunekit setup`, whose fork is used, and a network and task of its upstream."""

    target: str
    start: str
    task: str = "detect"


NETWORKS: Mapping[str, Network] = {
    "yolov8n": Network("v8", "yolov8n.yaml"),
    "yolo11n": Network("v8", "yolo11n.yaml"),
    "yolo26n": Network("v8", "yolo26n.yaml"),
    "yolov8n-seg": Network("v8", "yolov8n-seg.yaml", "segment"),
    "yolov8n-pose": Network("v8", "yolov8n-pose.yaml", "pose"),
    "yolov8n-obb": Network("v8", "yolov8n-obb.yaml", "obb"),
    "yolov8n-cls": Network("v8", "yolov8n-cls.yaml", "classify"),
    "yolov5n": Network("v5", "models/yolov5n.yaml"),
    "yolov7-tiny": Network("v7", "cfg/training/yolov7-tiny.yaml"),
}


def measured(forks: Path, out: Path, name: str) -> dict[str, Any]:
    """Train a network and prune it every way; the figures of each."""
    network = NETWORKS[name]
    sizes = TARGETS[network.target].tiers["full"]
    data = build(out / "data" / network.task, train=sizes.train, val=sizes.val, imgsz=sizes.imgsz, task=network.task)
    fork = (forks / network.target).resolve()
    bench = Bench(out / name, fork, network.target, sizes, data, f"python benchmarks/zero_epochs.py {forks} {out}")
    job, place = bench.job(0), bench.folder / "dense"
    best = place / "weights" / "best.pt"
    if not best.is_file():
        words = job.train(network.start, sizes.epochs, place)
        if network.target == "v8":  # upstream's trainer of the task
            words = [network.task if word == "detect" else word for word in words]
            assert words[: len(YOLO) + 1] == [*YOLO, network.task]
        runner.run(bench.workshop, "dense", words, lambda: None, bench.again)
    found = {}
    for way, options in WAYS.items():
        folder = bench.folder / way.replace(", ", "_").replace(" ", "-")
        asked = ["--target-macs", str(HALF), *options]
        weights = best if best.is_file() else best.with_name("last.pt")
        words = job.prune("prune_one_shot.py", weights, asked, job.words(0, folder))
        runner.run(bench.workshop, folder.name, words, lambda: None, bench.again)
        found[way] = figures(json.loads((folder / "report.json").read_text(encoding="utf-8")))
        print(f"{name:<14} {way:<26} {found[way]['dense']} -> {found[way]['pruned']}", flush=True)
    return found


def figures(report: Mapping[str, Any]) -> dict[str, Any]:
    """Of a run without training: what is left of the cost, and accuracy before and after."""
    dense, step = report["dense"], report["steps"][0]
    return {
        "macs": round(step["macs"] / dense["macs"], 4),
        "params": round(step["params"] / dense["params"], 4),
        "measures": dense["measures"],
        "dense": [round(dense[key], 4) for key in ("map50", "map50_95")],
        "pruned": [round(step[f"pruned_{key}"], 4) for key in ("map50", "map50_95")],
        "seconds": step["seconds"],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("forks", type=Path, help="folder with the forks v8, v5 and v7")
    parser.add_argument("out", type=Path)
    parser.add_argument("--only", nargs="+", choices=NETWORKS, default=[*NETWORKS], metavar="NETWORK")
    options = parser.parse_args()
    out = options.out.resolve()
    out.mkdir(parents=True, exist_ok=True)
    for name in options.only:
        target = out / f"{name}.json"
        if not target.is_file():
            found = measured(options.forks, out, name)
            target.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
    made = {name: out / f"{name}.json" for name in NETWORKS}
    every = {name: json.loads(path.read_text(encoding="utf-8")) for name, path in made.items() if path.is_file()}
    (out / "zero-epochs.json").write_text(json.dumps(every, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
