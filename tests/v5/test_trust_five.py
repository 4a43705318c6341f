# SPDX-License-Identifier: AGPL-3.0-or-later
"""No script of a YOLOv5 fork runs what a checkpoint holds; other people's ordinary ones load without --trust."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import everyscript
import pytest
from everyscript import attacks
from home_five import HERE, Home

pytestmark = [pytest.mark.upstream, pytest.mark.slow]
NAMES = (
    "prune.py",
    "prune_one_shot.py",
    "quantify.py",
    "deploy.py",
    "sensitivity.py",
    "inspect_bn.py",
    "train_sparse.py",
)
SHARED = Path(__file__).parents[3] / "shared" / "weights" / "yolov5n-coco.pt"
# Upstream's arguments with nothing typed, as a record holds them.
USUAL = """
import json
from prunekit_v5.arguments import TRAINERS, parse
print("USUAL" + json.dumps(parse([], next(iter(TRAINERS)), {}), default=str))
"""


@pytest.fixture(scope="module")
def bench(fork5: Path, copy5: Callable[[Path], Home]) -> Home:
    """A fork with the attacks in it."""
    home = copy5(fork5)
    home.python(HERE / "make_five.py", "yolov5n best.pt")
    home.files = attacks.write_all(home.root)  # type: ignore[attr-defined]
    return home


def test_nothing_runs(bench: Home) -> None:
    """Every form, on every script: one line, exit code 2, and nothing was run."""
    lines = everyscript.lines_for(bench.files, {name: [] for name in NAMES}, ["train_sparse.py"])  # type: ignore[attr-defined]
    (bench.root / "lines.json").write_text(json.dumps(lines))
    assert everyscript.verdicts(bench.python(everyscript.HERE / "all_scripts.py", "lines.json"), lines) == []


@pytest.mark.skipif(not SHARED.is_file(), reason="no ../shared/weights: other people's checkpoints are not here")
def test_other_peoples_checkpoints_load(bench: Home) -> None:
    """Ultralytics' own yolov5n, trained on COCO."""
    assert "verdict:" in bench.python("inspect_bn.py", "--weights", SHARED, "--png", "bn.png")


CASES = """
import contextlib, io, json, os, sys, torch
from pathlib import Path
import numpy as np
os.environ["YOLO_AUTOINSTALL"] = "false"
from pruning.scripts.prune import guarded
from pruning.settings import Settings
from prunekit_v5.main import prune
from prunekit_v5.sparse import train
from models.yolo import parse_model
def heard(body):
    said = io.StringIO()
    with contextlib.redirect_stderr(said), contextlib.redirect_stdout(said):
        code = guarded(body)
    assert not Path("owned").exists(), said.getvalue()
    return code, said.getvalue()
content = torch.load("best.pt", weights_only=False)
Path("data.yaml").write_text("train: a\\nval: b\\nnames: [x]\\ndownload: \\"open('owned', 'w')\\"\\n")
for data in ("data.yaml", "https://example.invalid/d.yaml"):
    content.update(opt={"data": data, "imgsz": 64, "sparsity": 0.1}, optimizer={}, epoch=1)
    torch.save(content, "remembers.pt")
    code, said = heard(lambda: prune("", ["--weights", "remembers.pt"], defaults=Settings()))
    assert code == 2, said
    code, said = heard(lambda: train("", ["--resume", "remembers.pt"]))
    assert code == 2 and "never downloaded" in said, said
yaml = content["model"].yaml
first = yaml["backbone"][0]
for change in (
    {"activation": "open('owned', 'w')"},
    {"backbone": [[-1, 1, "eval", ["'x'"]], *yaml["backbone"][1:]]},
    {"backbone": [[-1, 1, "exec", ["open('owned', 'w')"]], *yaml["backbone"][1:]]},
    {"backbone": [[*first[:3], [" open('owned', 'w')", *first[3][1:]]], *yaml["backbone"][1:]]},
    {"backbone": [[*first[:3], ["nn.Module.__init__.__globals__", *first[3][1:]]], *yaml["backbone"][1:]]},
):
    code, said = heard(lambda: parse_model({**yaml, **change}, [3]))
    assert code == 2 and "would run" in said, said
class Evil:
    def __reduce__(self): return os.system, ("touch owned",)
with open("labels.cache", "wb") as file:
    np.save(file, {"hash": Evil()})
def cache():
    try:
        np.load("labels.cache", allow_pickle=True)
    except AssertionError:
        print("refused")
assert "refused" in heard(cache)[1]
from prunekit_v5.main import UPSTREAM
for key in ("bucket", "evolve"):  # a record is no command line
    code, said = heard(lambda: UPSTREAM.reopen({key: "x; touch owned #"}, Settings(), trust=False))
    assert code == 2 and f"--{key}" in said, said
print("nothing ran")
"""


def test_what_a_checkpoint_remembers_is_not_run(bench: Home) -> None:
    """A data set to download, expressions in its YAML, a label cache beside the labels."""
    assert "nothing ran" in bench.python("-c", CASES)


def test_a_record_that_names_another_network(bench: Home) -> None:
    """report.json may come from elsewhere: its steps lie in its folder, and are looked at like any checkpoint."""
    everyscript.check_records(bench, "yolov5", USUAL)


def test_trust_opens_the_door(bench: Home) -> None:
    """With --trust the file is loaded as it is, and what that runs is said."""
    said = bench.python("train_sparse.py", "--weights", "posix.pt", "--trust", code=2)
    assert "warning: loading posix.pt runs posix.system (--trust)" in said and (bench.root / "owned").exists()
    (bench.root / "owned").unlink()
