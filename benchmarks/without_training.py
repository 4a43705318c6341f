# SPDX-License-Identifier: AGPL-3.0-or-later
"""What is left of a real network that is pruned and not trained, by the fork's own prune_one_shot.py.

    python benchmarks/without_training.py v5 FORK --weights yolov5n-coco.pt --data coco.yaml --out OUT [--imgsz 320]
    python benchmarks/without_training.py v8 FORK --weights bccd-trained.pt --data bccd.yaml --out OUT --imgsz 240 \\
        --macs 0.5 0.35 --seeds 0 1 2

FORK is what `prunekit setup` made. Each cell is one run with `--epochs 0`; its report.json holds the figures. A seed
draws the random channels and the images of the repair. Cells that are in OUT/without-training.json already are kept, so
a broken benchmark goes on. YOLOv5's time limit on NMS is lifted: on a slow machine it leaves detections out. CPU, one
thread.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

GLOBAL = "--importance reconstruction --scope global --round-to 8"
WAYS = {
    "default": "",
    "LAMP, not repaired": "--importance lamp --repair 0",
    "LAMP": "--importance lamp",
    "random": "--importance random",
    "fpgm": "--importance fpgm",
    "fpgm, 8": "--importance fpgm --round-to 8",
    "fpgm, 1": "--importance fpgm --round-to 1",
    "reconstruction, global, 8": GLOBAL,
    "reconstruction, 8": "--importance reconstruction --round-to 8",
    "reconstruction, 16": "--importance reconstruction",
    "reconstruction, global, 1": "--importance reconstruction --scope global --round-to 1",
}
# Runs the script with NMS as upstream has it, but for the seconds after which it gives up.
DRIVER = """
import inspect, runpy, sys
sys.path.insert(0, ".")
import utils.general as general
source = inspect.getsource(general.non_max_suppression)
patient = source.replace("time_limit = 0.5 + 0.05 * bs", "time_limit = 1e9")
assert patient != source, "upstream's time limit is written otherwise now"
exec(compile(patient, general.__file__, "exec"), general.__dict__)
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


# How each upstream's scripts take the same arguments.
STYLES = {
    "v5": "--weights {weights} --data {data} --img {imgsz} --batch-size 16 --workers 0 --device cpu --seed {seed} "
    "--project {folder} --name run --exist-ok",
    "v8": "--weights {weights} data={data} imgsz={imgsz} batch=16 workers=0 device=cpu seed={seed} plots=False "
    "verbose=False project={folder} name=run exist_ok=True",
}


def cell(options: argparse.Namespace, way: str, macs: float, seed: int, folder: Path) -> dict[str, Any]:
    """Run one cell; its figures: MACs and parameters as fractions of dense, accuracies before and after."""
    place = {"weights": options.weights.resolve(), "data": options.data.resolve(), "imgsz": options.imgsz}
    common = [word.format(**place, seed=seed, folder=folder) for word in STYLES[options.target].split()]
    own = [*"--epochs 0 --repair 128 --no-export --target-macs".split(), str(macs), *WAYS[way].split()]
    start = [sys.executable, *(["-c", DRIVER] if options.target == "v5" else [])]
    env = {**os.environ, "OMP_NUM_THREADS": "1"}
    subprocess.run([*start, "prune_one_shot.py", *common, *own], cwd=options.fork.resolve(), env=env, check=True)
    report = json.loads((folder / "run" / "report.json").read_text(encoding="utf-8"))
    dense, step = report["dense"], report["steps"][0]
    return {
        "macs": step["macs"] / dense["macs"],
        "params": step["params"] / dense["params"],
        "dense": [dense["map50"], dense["map50_95"]],
        "pruned": [step["pruned_map50"], step["pruned_map50_95"]],
        "repair": {key: step["repair"][key] for key in ("images", "before", "after")} if "repair" in step else None,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("target", choices=STYLES)
    parser.add_argument("fork", type=Path)
    parser.add_argument("--weights", type=Path, required=True)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--imgsz", type=int, default=320)
    parser.add_argument("--macs", type=float, nargs="+", default=[0.8, 0.6], help="fractions of the dense network's")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=[*WAYS], metavar="WAY", help="a part of them")
    options = parser.parse_args()
    out = options.out.resolve()
    out.mkdir(parents=True, exist_ok=True)
    target = out / "without-training.json"
    found = json.loads(target.read_text(encoding="utf-8")) if target.is_file() else {}
    for seed, macs, way in itertools.product(options.seeds, options.macs, options.ways):
        name = f"{way}, {macs:g}, seed {seed}"
        if name not in found:
            found[name] = cell(options, way, macs, seed, out / name.replace(", ", "_").replace(" ", "-"))
            target.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
        row = found[name]
        print(f"{name:<40} MACs {row['macs']:.3f}  mAP50 {row['pruned'][0]:.3f}  mAP50-95 {row['pruned'][1]:.3f}")


if __name__ == "__main__":
    main()
