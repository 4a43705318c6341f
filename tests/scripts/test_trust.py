# SPDX-License-Identifier: AGPL-3.0-or-later
"""No script of an ultralytics fork runs what a checkpoint holds; others' ordinary ones load without --trust."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest
from everyscript import HERE, attacks, lines_for, records, told, verdicts
from workshop import Workshop

pytestmark = [pytest.mark.upstream]
SCRIPTS = {
    name: []
    for name in (
        "prune.py",
        "prune_one_shot.py",
        "yolo11_pruning.py",
        "quantify.py",
        "deploy.py",
        "sensitivity.py",
        "inspect_bn.py",
        "train_sparse.py",
    )
}
SHARED = Path(__file__).parents[3] / "shared" / "weights"


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory, fork: Path, offline_env: dict[str, str]) -> Workshop:
    """A fork with the attacks in it."""
    root = tmp_path_factory.mktemp("trust") / "fork"
    shutil.copytree(fork, root)
    return Workshop(root, {**os.environ, **offline_env, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(root)})


def test_nothing_runs(bench: Workshop) -> None:
    """Every form, on every script: one line, exit code 2, and nothing was run."""
    lines = lines_for(attacks.write_all(bench.root), SCRIPTS, ["train_sparse.py"])
    (bench.root / "lines.json").write_text(json.dumps(lines))
    assert verdicts(bench.python(str(HERE / "all_scripts.py"), "lines.json"), lines) == []


LOSS = """
import torch
from ultralytics.nn.tasks import DetectionModel
from ultralytics.nn.modules import v10Detect
from ultralytics.utils import IterableSimpleNamespace
from ultralytics.prunekit.adapter import Ultralytics
from pathlib import Path
for name in ("yolov8n.yaml", "yolov10n.yaml"):
    model = DetectionModel(name, nc=4, verbose=False)
    model.args = IterableSimpleNamespace(box=7.5, cls=0.5, dfl=1.5, imgsz=64, task="detect", model=Path("x.pt"))
    model.criterion = model.init_criterion()
    assert type(model.criterion).__name__[:1].islower() or isinstance(model.model[-1], v10Detect)
    torch.save({"epoch": 3, "model": None, "ema": model.half(), "optimizer": {"state": {}}, "train_args": {}}, "x.pt")
    Ultralytics({}).check(Path("x.pt"))
    loaded = Ultralytics({}).load(Path("x.pt"))
    assert type(loaded.model[-1]) is type(model.model[-1]) and not hasattr(loaded, "criterion")
    data = Path("x.pt").read_bytes()
print("loads")
"""


def test_an_interrupted_training_is_no_foreign_code(bench: Workshop) -> None:
    """A network that still has its loss (v8DetectionLoss), and one whose head's name begins small (v10Detect)."""
    assert "loads" in bench.python("-c", LOSS)


@pytest.mark.skipif(not SHARED.is_dir(), reason="no ../shared/weights: other people's checkpoints are not here")
@pytest.mark.parametrize("name", ["yolov8n-mines.pt", "yolov8s-fall.pt"])
def test_other_peoples_checkpoints_load(bench: Workshop, name: str) -> None:
    """yolov8n-mines.pt was written by ultralytics 8.0, its loss in it."""
    said = bench.python("inspect_bn.py", "--weights", str(SHARED / name), "--png", "bn.png")
    assert "verdict:" in said


REMEMBERED = """
import contextlib, io, sys, torch
from pathlib import Path
from ultralytics import YOLO
from ultralytics.prunekit.main import guarded, prune
from ultralytics.prunekit.sparse import train
from ultralytics.pruning.settings import Settings
Path("data.yaml").write_text("train: a\\nval: b\\nnames: [x]\\ndownload: \\"open('owned', 'w')\\"\\n")
model = YOLO("yolov8n.yaml")
model.ckpt = {}
model.save("plain.pt")
content = torch.load("plain.pt", weights_only=False)
for data in ("https://example.invalid/data.yaml", "data.yaml", "ul://x/y", "data.zip", {"a": 1}):
    content["train_args"] = {"data": data, "task": "detect", "imgsz": 64, "sparsity": 0.1}
    content.update(epoch=1, optimizer={})
    torch.save(content, "remembers.pt")
    for body in (
        lambda: prune("", Settings(), ["--weights", "remembers.pt"]),
        lambda: prune("", Settings(), ["--weights", "remembers.pt", "--plan-only"]),
        lambda: train("", ["--resume", "remembers.pt"]),
    ):
        heard = io.StringIO()
        with contextlib.redirect_stderr(heard), contextlib.redirect_stdout(heard):
            code = guarded(body)
        said = heard.getvalue()
        assert "not used" in said and not Path("owned").exists(), (data, code, said[-500:])
print("none followed")
"""


def test_a_remembered_data_set_is_never_fetched(bench: Workshop) -> None:
    """A URL, or a YAML with `download:`, that only the checkpoint names: said, not followed."""
    assert "none followed" in bench.python("-c", REMEMBERED)


BUILDS = """
import contextlib, io, torch
from pathlib import Path
from ultralytics import YOLO
from ultralytics.prunekit.main import guarded
from ultralytics.prunekit.adapter import Ultralytics
from ultralytics.prunekit.structure import close_structure
from ultralytics.nn.tasks import parse_model
model = YOLO("yolov8n.yaml").model
rows = {"activation": "open('owned', 'w')"}, {"row": "check_requirements"}, {"row": "torch_safe_load"}
for change in rows:
    yaml = {**model.yaml, **{k: v for k, v in change.items() if k != "row"}}
    if "row" in change:
        yaml["backbone"] = [[-1, 1, change["row"], ["owner"]], *yaml["backbone"][1:]]
    heard = io.StringIO()
    with contextlib.redirect_stderr(heard):
        assert guarded(lambda: parse_model(yaml, 3)) == 2
    assert "would run" in heard.getvalue() and not Path("owned").exists()
import numpy as np, os, pytest
from ultralytics.data.utils import load_dataset_cache_file
class Evil:
    def __reduce__(self): return os.system, ("touch owned",)
for content in ({"labels": Evil()}, {"labels": [{"im_file": "x", "shape": (1, 2), "cls": np.zeros((1, 1))}]}):
    with open("labels.cache", "wb") as file:
        np.save(file, content)
    def body():
        try:
            print("labels", load_dataset_cache_file(Path("labels.cache"))["labels"][0]["shape"])
        except AssertionError:
            print("refused")
    assert guarded(body) == 0 and not Path("owned").exists()
"""


def test_what_lies_in_a_yaml_or_a_label_cache_is_not_run(bench: Workshop) -> None:
    """The YAML in a checkpoint is built by evaluating; a label cache is a pickle."""
    said = bench.python("-c", BUILDS)
    assert "refused" in said and "labels (1, 2)" in said


CHILD = """
from ultralytics import YOLO
from ultralytics.pruning.errors import PruneError
YOLO("best.pt")
try:
    YOLO("posix.pt")
except PruneError as error:
    print("refused", error)
"""


def test_processes_that_a_script_starts_are_behind_the_door(bench: Workshop) -> None:
    """As a rank of DDP is: it loads the checkpoint by upstream's code alone."""
    bench.network("yolov8n.yaml", "best.pt")
    (bench.root / "posix.pt").write_bytes(attacks.archive(attacks.PICKLES["posix"]))
    child = Workshop(bench.root, {**bench.env, "PRUNEKIT_DOOR": "closed"})
    assert "refused posix.pt: loading this file would run posix.system" in child.python("-c", CHILD)
    assert not (bench.root / "owned").exists()


def test_a_record_that_names_another_network(bench: Workshop) -> None:
    """report.json may come from elsewhere: its steps lie in its folder, and are looked at like any checkpoint."""
    bench.network("yolov8n.yaml", "best.pt")
    attacks.write_all(bench.root)
    lines, wanted = records(bench.root, "ultralytics")
    (bench.root / "lines.json").write_text(json.dumps(lines))
    output = bench.python(str(HERE / "all_scripts.py"), "lines.json")
    assert verdicts(output, lines) == []
    assert [want in said for said, want in zip(told(output), wanted, strict=True)] == [True] * 3, told(output)


def test_trust_opens_the_door(bench: Workshop) -> None:
    """With --trust the file is loaded as it is, and what that runs is said."""
    (bench.root / "posix.pt").write_bytes(attacks.archive(attacks.PICKLES["posix"]))
    said = bench.python("train_sparse.py", "--weights", "posix.pt", "--trust", code=2)
    assert "warning: loading posix.pt runs posix.system (--trust)" in said and (bench.root / "owned").exists()
    (bench.root / "owned").unlink()
