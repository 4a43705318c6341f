# SPDX-License-Identifier: AGPL-3.0-or-later
"""Do YOLOv7's own scripts run on this torch and numpy, with a dense network and with a pruned one?

    python benchmarks/stacks_v7.py FORK OUT [--device cpu] [--python /other/venv/bin/python]

FORK is what `prunekit setup v7` made; --python names the environment to try. Trains yolov7-tiny for an epoch, prunes
it, trains that; test.py, detect.py and export.py on both; train_aux.py with yolov7-w6, dense and pruned. Prints a line
for each, and the stack. Sixteen small images: it shows that the scripts run, not that anything learns. Exit code 1 if
one of them failed; its log is in OUT.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from prunekit.demo.digits import build

STACK = (
    "import torch, numpy, platform; gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else 'no GPU'; "
    "print(f'Python {platform.python_version()}, torch {torch.__version__}, numpy {numpy.__version__}, {gpu}')"
)
FINITE = (
    "import sys, numpy, onnxruntime; it = onnxruntime.InferenceSession(sys.argv[1], providers=['CPUExecutionProvider'])"
    "; x = it.get_inputs()[0]; out = it.run(None, {x.name: numpy.full(x.shape, 0.5, 'float32')}); "
    "assert all(numpy.isfinite(o).all() for o in out); print('ONNX', [list(o.shape) for o in out])"
)
SEEN = {  # what a script says when it has done its work
    "train.py": r"(Transferred \d+/\d+)|(AMP is off)|(\d+ epochs completed)",
    "train_aux.py": r"(Transferred \d+/\d+)|(AMP is off)|(\d+ epochs completed)",
    "prune_one_shot.py": r"^parameters +([\d,]+ -> [\d,]+)",
    "test.py": r"^ +all +\d+ +\d+ +\S+ +\S+ +(\S+)",
    "detect.py": r"(Done)\. \(",
    "export.py": r"ONNX (\[\[.*\]\])",
}


class Row(NamedTuple):
    """One script on one network: what it said that shows it worked, or None."""

    script: str
    network: str
    seen: str | None


class Walk:
    """The fork, its environment, the data."""

    def __init__(self, fork: Path, out: Path, python: str, device: str) -> None:
        self.fork, self.out, self.python, self.device = fork.resolve(), out.resolve(), python, device
        self.data = build(self.out / "digits", train=16, val=8, imgsz=64, seed=0)
        self.env = {"OMP_NUM_THREADS": "1", "MPLBACKEND": "Agg", **os.environ}

    def stack(self) -> str:
        """The versions that are tried."""
        return self._python("stack", "-c", STACK)[1].strip()

    def rows(self) -> Iterator[Row]:
        """Everything, in the order in which one script needs what another wrote."""
        for cfg, trainer, size in (("yolov7-tiny", "train.py", 64), ("yolov7-w6", "train_aux.py", 128)):
            hyp = "data/hyp.scratch.tiny.yaml" if trainer == "train.py" else "data/hyp.scratch.p6.yaml"
            words = ["--data", self.data, "--hyp", hyp, "--epochs", 1, "--noautoanchor", "--batch-size", 8]
            fresh = ["--cfg", f"cfg/training/{cfg}.yaml", "--weights", ""]
            yield self.run(f"{cfg}-dense", trainer, size, *fresh, *words)
            dense = self.out / f"{cfg}-dense/weights/best.pt"
            prune = ["--weights", dense, "--prune-ratio", 0.5, "--no-export", *words, "--epochs", 0]
            yield self.run(f"{cfg}-half", "prune_one_shot.py", size, *prune)
            half = self.out / f"{cfg}-half/pruned.pt"
            yield self.run(f"{cfg}-half-trained", trainer, size, "--cfg", "", "--weights", half, *words)
            if trainer == "train.py":
                for name, weights in ((f"{cfg}-dense", dense), (f"{cfg}-half", half)):
                    yield from self.use(name, weights, size)

    def use(self, name: str, weights: Path, size: int) -> Iterator[Row]:
        """test.py, detect.py, export.py."""
        common = ["--weights", weights]
        yield self.run(name, "test.py", size, *common, "--data", self.data, "--batch-size", 8, "--no-trace")
        yield self.run(name, "detect.py", size, *common, "--source", self.data.parent / "images/val", "--no-trace")
        yield self.run(name, "export.py", size, *common, "--grid")

    def run(self, name: str, script: str, size: int, *words: object) -> Row:
        """One script; what it left behind is looked at as well."""
        sizes = [size, size] if "train" in script or "prune" in script or script == "export.py" else [size]
        place = [] if script == "export.py" else ["--project", self.out, "--name", name, "--exist-ok"]
        workers = ["--workers", 0] if "train" in script or "prune" in script else []
        every = ["--img-size", *sizes, "--device", self.device, *workers, *place]
        code, said = self._python(f"{name}-{script}", script, *words, *every)
        if script == "export.py" and code == 0:
            code, said = self._python(f"{name}-onnx", "-c", FINITE, words[1].with_suffix(".onnx"))
        found = re.findall(SEEN[script], said, re.MULTILINE) if code == 0 else []
        texts = dict.fromkeys("".join(each) for each in found)  # of alternatives one is not empty
        return Row(script, name, "; ".join(texts) or None)

    def _python(self, log: str, *words: object) -> tuple[int, str]:
        command = [self.python, *map(str, words)]
        done = subprocess.run(command, cwd=self.fork, env=self.env, capture_output=True, text=True, check=False)
        (self.out / f"{log}.log").write_text(done.stdout + done.stderr, encoding="utf-8")
        return done.returncode, done.stdout + done.stderr


def main() -> int:
    """Walk, print, say how it went."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("fork", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--python", default=sys.executable, help="the interpreter of the environment to try")
    parser.add_argument("--device", default="cpu", help="cpu, or a GPU's number")
    given = parser.parse_args()
    walk = Walk(given.fork, given.out, given.python, given.device)
    print(walk.stack())
    failed = 0
    for row in walk.rows():
        failed += row.seen is None
        print(f"{row.script:<18} {row.network:<25} {'FAILED' if row.seen is None else row.seen}", flush=True)
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main())
