# SPDX-License-Identifier: AGPL-3.0-or-later
"""What is left of a real network that is pruned and not trained: YOLOv5 of COCO, by the fork's own prune_one_shot.py.

    python benchmarks/without_training.py FORK --weights yolov5n-coco.pt --data coco.yaml --out OUT [--imgsz 320]

FORK is what `prunekit setup v5` made. Each cell is one run with `--epochs 0`; its report.json holds the figures. Cells
that are in OUT/without-training.json already are kept, so a broken benchmark goes on. Upstream's time limit on NMS is
lifted: on a slow machine it leaves detections out. CPU, one thread.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

CELLS: dict[str, list[str]] = {
    "LAMP, 0.8, not repaired": "--importance lamp --target-macs 0.8 --repair 0".split(),
    "LAMP, 0.8": "--importance lamp --target-macs 0.8".split(),
    "random, 0.8": "--importance random --target-macs 0.8".split(),
    "fpgm, 0.8": "--importance fpgm --target-macs 0.8".split(),
    "fpgm, 0.6": "--importance fpgm --target-macs 0.6".split(),
    "reconstruction, global, 0.8": "--importance reconstruction --scope global --round-to 8 --target-macs 0.8".split(),
    "reconstruction, global, 0.6": "--importance reconstruction --scope global --round-to 8 --target-macs 0.6".split(),
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


def cell(fork: Path, out: Path, name: str, words: list[str], common: list[str]) -> dict[str, Any]:
    """Run one cell; its figures: MACs and parameters as fractions of dense, accuracies before and after."""
    folder = out / name.replace(", ", "_").replace(" ", "-")
    line = ["prune_one_shot.py", *common, *words, "--project", str(folder), "--name", "run", "--exist-ok"]
    env = {**os.environ, "OMP_NUM_THREADS": "1"}
    subprocess.run([sys.executable, "-c", DRIVER, *line], cwd=fork, env=env, check=True)
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
    parser.add_argument("fork", type=Path)
    parser.add_argument("--weights", type=Path, required=True)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--imgsz", type=int, default=320)
    options = parser.parse_args()
    out = options.out.resolve()
    out.mkdir(parents=True, exist_ok=True)
    target = out / "without-training.json"
    found = json.loads(target.read_text(encoding="utf-8")) if target.is_file() else {}
    common = ["--weights", str(options.weights.resolve()), "--data", str(options.data.resolve())]
    common += (
        f"--img {options.imgsz} --batch-size 16 --workers 0 --device cpu --epochs 0 --repair 128 --no-export".split()
    )
    for name, words in CELLS.items():
        if name not in found:
            found[name] = cell(options.fork.resolve(), out, name, words, common)
            target.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
        row = found[name]
        print(f"{name:<30} MACs {row['macs']:.3f}  mAP50 {row['pruned'][0]:.3f}  mAP50-95 {row['pruned'][1]:.3f}")


if __name__ == "__main__":
    main()
