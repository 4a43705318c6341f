# SPDX-License-Identifier: AGPL-3.0-or-later
"""No script of a YOLOv7 fork, its train.py included, runs what a checkpoint holds."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import everyscript
import pytest
from everyscript import attacks
from home_seven import HERE, Home

pytestmark = [pytest.mark.upstream, pytest.mark.slow]
NAMES = (
    "prune.py",
    "prune_one_shot.py",
    "pruner.py",
    "pruner_one_shot.py",
    "quantify.py",
    "deploy.py",
    "sensitivity.py",
    "inspect_bn.py",
    "reparameterize.py",
    "train.py",
    "train_aux.py",
    "train_sparse.py",
)
SCRIPTS: dict[str, list[str]] = {
    **{name: [] for name in NAMES},
    "generate_prune_yaml.py": ["--model", "cfg/training/yolov7.yaml", "--pruned_model", "x.yaml"],
}
# Upstream's arguments with nothing typed, as a record holds them.
USUAL = """
import json
from prunekit_v7.arguments import TRAINERS, parse
print("USUAL" + json.dumps(parse([], next(iter(TRAINERS)), {}), default=str))
"""


@pytest.fixture(scope="module")
def bench(fork7: Path, copy7: Callable[[Path], Home]) -> Home:
    """A fork with the attacks in it."""
    home = copy7(fork7)
    home.python(HERE / "make_seven.py", "training/yolov7-tiny", "best.pt", "10")
    home.files = attacks.write_all(home.root)  # type: ignore[attr-defined]
    return home


def test_nothing_runs(bench: Home) -> None:
    """Every form, on every script: one line, exit code 2, and nothing was run."""
    resumed = ["train.py", "train_aux.py", "train_sparse.py"]
    lines = everyscript.lines_for(bench.files, SCRIPTS, resumed)  # type: ignore[attr-defined]
    (bench.root / "lines.json").write_text(json.dumps(lines))
    assert everyscript.verdicts(bench.python(everyscript.HERE / "all_scripts.py", "lines.json"), lines) == []


CASES = """
import contextlib, io, logging, os, torch
from pathlib import Path
from pruning.scripts.prune import guarded
from models.yolo import parse_model
from prunekit_v7 import hooks
def heard(body):
    said = io.StringIO()
    with contextlib.redirect_stderr(said), contextlib.redirect_stdout(said):
        code = guarded(body)
    assert not Path("owned").exists(), said.getvalue()
    return code, said.getvalue()
yaml = torch.load("best.pt", weights_only=False)["model"].yaml
first = yaml["backbone"][0]
for change in (
    [[-1, 1, "exec", ["open('owned', 'w')"]], *yaml["backbone"][1:]],
    [[*first[:3], [" open('owned', 'w')", *first[3][1:]]], *yaml["backbone"][1:]],
    [[*first[:3], ["[open('owned', 'w') for _ in '1']", *first[3][1:]]], *yaml["backbone"][1:]],
    [[*first[:3], ["(lambda: open('owned', 'w'))()", *first[3][1:]]], *yaml["backbone"][1:]],
):
    code, said = heard(lambda: parse_model({**yaml, "backbone": change}, [3]))
    assert code == 2 and "would run" in said, said
assert heard(lambda: parse_model({**yaml}, [3]))[0] == 0  # which has nn.LeakyReLU(0.1) in its rows
heard(lambda: print(hooks.label_cache(Path("posix.pt"))))
assert "False" in heard(lambda: print(hooks.label_cache(Path("posix.pt"))))[1]
for change in ({"backbone": [{-1: 0, 1: 0, "open('owned', 'w')": 0, ("x",): 0}, *yaml["backbone"][1:]]},
               {"backbone": [[*first[:3], {"open('owned', 'w')": 0}], *yaml["backbone"][1:]]},
               {"backbone": [[-1, 1, "\uff45xec", ["open('owned', 'w')"]], *yaml["backbone"][1:]]}):
    code, said = heard(lambda: parse_model({**yaml, **change}, [3]))
    assert code == 2 and "refused" in said, said
from pruning.settings import Settings
from prunekit_v7.main import UPSTREAM
for key in ("bucket", "evolve"):  # a record is no command line: upstream gives the bucket's name to a shell
    code, said = heard(lambda: UPSTREAM.reopen({key: "x; touch owned #"}, Settings(), trust=False))
    assert code == 2 and f"--{key}" in said, said
run = Path("run/weights"); run.mkdir(parents=True)
(run.parent / "opt.yaml").write_text("bucket: x; touch owned\\ndata: data/coco.yaml\\nsparsity: 0.1\\n")
checkpoint = torch.load("best.pt", weights_only=False)
torch.save({**checkpoint, "epoch": 1, "optimizer": {}}, run / "last.pt")
from prunekit_v7 import sparse, first
code, said = heard(lambda: sparse._resume("run/weights/last.pt", [], False))
assert code == 2 and "--bucket" in said, said
assert "--bucket" in first._not_resumable(run / "last.pt")
print("nothing ran")
"""


def test_what_a_checkpoint_or_a_label_cache_holds_is_not_run(bench: Home) -> None:
    """Expressions in a checkpoint's YAML, and a label cache, which upstream reads as a checkpoint."""
    assert "nothing ran" in bench.python("-c", CASES)


def test_a_record_that_names_another_network(bench: Home) -> None:
    """A step's network must lie in the run's own folder, and is read like any checkpoint."""
    everyscript.check_records(bench, "yolov7", USUAL)


def test_trust_opens_the_door(bench: Home) -> None:
    """It loads the file as it is, and says what that runs; train.py takes it, too."""
    said = bench.python("train.py", "--weights", "posix.pt", "--trust", "--device", "cpu", code=2)
    assert "warning: loading posix.pt runs posix.system (--trust)" in said and (bench.root / "owned").exists()
    (bench.root / "owned").unlink()
