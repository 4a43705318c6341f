# SPDX-License-Identifier: AGPL-3.0-or-later
"""What the shared suite must know of a family: how it gets a fork and a checkpoint, and how its scripts are spelled.

A fourth family is a fourth `Family` here.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import badlines
import home_five
import home_seven
import pytest
from forkhome import Home
from workshop import Workshop

Request = pytest.FixtureRequest
SPARSE = ("train_sparse.py",)
SCRIPTS = ("prune.py", "prune_one_shot.py", "quantify.py", "deploy.py", "sensitivity.py", "inspect_bn.py", *SPARSE)


@dataclass(frozen=True, eq=False)
class Family:
    """One family as the tests type it."""

    name: str  # of `prunekit setup NAME`
    record: str  # `family` in report.json
    fixtures: tuple[str, str]  # the fork, and what copies it
    data: Callable[[Request], Path]  # the YAML of the tiny set
    best: Callable[[Home], Any]  # writes best.pt, an untrained network of ten classes
    quick: str  # flags of a training of one epoch at 64 px on a CPU
    scripts: dict[str, list[str]]  # that open a checkpoint, and what they need beside --weights
    resumed: tuple[str, ...]  # that go on with --resume FILE
    trusting: tuple[str, ...]  # a line that opens posix.pt with --trust
    held: str  # program of held/ on what else its checkpoints name
    record_arguments: str | None  # program that prints upstream's arguments of a record, if it holds them
    others: tuple[str, ...]  # other people's checkpoints, in ../shared/weights
    tables: tuple[str, ...]  # of badlines.yaml
    files: Callable[[Home, Request], None]  # writes what these tables name, beside best.pt and tiny.yaml
    run: tuple[str, str]  # statements, and an expression that runs `line`, (script, words), in one process
    help: tuple[str, tuple[str, ...], tuple[str, ...]]  # a script, upstream's flags that it shows, and hides
    sparse: tuple[str, ...] = ()  # tables of badlines.yaml for train_sparse.py and inspect_bn.py

    def home(self, request: Request) -> Home:
        """A private copy of the fork, or a skip where its sources are out of reach."""
        fork, copies = (request.getfixturevalue(name) for name in self.fixtures)
        return copies(fork)

    def lines(self) -> list[tuple[tuple[str, str], str, str]]:
        """Bad input: ((script, words), what the one line must hold, name)."""
        rows = [(("prune", words), said, name) for name, words, said in badlines.rows(*self.tables)]
        sparse = badlines.rows(*self.sparse)
        return rows + [((script, words), said, f"{script} {words}") for script, words, said in sparse]


def without_words(names: Iterable[str]) -> dict[str, list[str]]:
    """Scripts that need nothing beside --weights."""
    return {name: [] for name in names}


def usual(package: str) -> str:
    """Prints upstream's arguments with nothing typed, as a record holds them."""
    return f"""
import json
from {package}.arguments import TRAINERS, parse
print("USUAL" + json.dumps(parse([], next(iter(TRAINERS)), {{}}), default=str))
"""


# ultralytics

FUSED = "import sys; from ultralytics import YOLO; y = YOLO('best.pt'); y.fuse(); y.save(sys.argv[1])"
OF_YOLOV5 = """
import sys, types, torch
module = types.ModuleType("models.yolo")
sys.modules.update({"models": types.ModuleType("models"), "models.yolo": module})
class DetectionModel(torch.nn.Module): pass
DetectionModel.__module__ = "models.yolo"; module.DetectionModel = DetectionModel
torch.save({"model": DetectionModel()}, sys.argv[1])
"""


def best_eight(home: Workshop) -> None:
    """A small network, found as an installed fork is."""
    home.env["PYTHONPATH"] = str(home.root)
    home.small()


def files_eight(home: Workshop, request: Request) -> None:
    """One of 80 classes, a fused one, one of YOLOv5, settings with a misspelled key."""
    home.network("small.yaml", "eighty.pt", classes=80)
    for name, code in (("fused.pt", FUSED), ("five.pt", OF_YOLOV5)):
        home.python("-c", code, name)
    (home.root / "default.yaml").write_text("epocs: 3")  # as upstream calls its own, which the fork keeps elsewhere


EIGHT = Family(
    name="v8",
    record="ultralytics",
    fixtures=("fork", "copy8"),
    data=lambda request: request.getfixturevalue("tiny_set"),
    best=best_eight,
    quick="--imgsz 64 --batch 8 --epochs 1 --device cpu --workers 0 --plots False --exist-ok True",
    scripts=without_words((*SCRIPTS, "yolo11_pruning.py")),
    resumed=SPARSE,
    trusting=("train_sparse.py", "--weights", "posix.pt", "--trust"),
    held="held_eight.py",
    record_arguments=None,
    others=("yolov8n-mines.pt", "yolov8s-fall.pt"),  # the first by ultralytics 8.0, its loss in it
    tables=("everywhere", "values", "ultralytics"),
    files=files_eight,
    run=(
        "from ultralytics.prunekit.main import guarded, prune; from ultralytics.pruning.settings import Settings",
        """guarded(lambda: prune("", Settings(round_to=8),
            line[1].split() if "--resume" in line[1] else ["--device", "cpu", "--epochs", "1", *line[1].split()]))""",
    ),
    help=("prune.py", ("--close_mosaic 10",), ()),
)

# YOLOv5

LOOKUP = """
import sys, torch
from models.yolo import Detect
class Evil:
    def __reduce__(self): return (getattr, (Detect, "__init__"))
torch.save({"model": Evil()}, sys.argv[1])
"""


def files_five(home: Home, request: Request) -> None:
    """Other networks, some that look up what they may not, a set without images, half a file of hyperparameters."""
    nets = request.getfixturevalue("nets5")
    for name in ("eighty.pt", "fused.pt", "pruned.pt"):
        shutil.copy(nets / name, home.root)
    for name, code in (("eight.pt", badlines.EIGHT), ("lookup.pt", LOOKUP)):
        home.python("-c", code, name)
    bare = home.root / "bare"
    bare.mkdir()
    (home.root / "bare.yaml").write_text(f"train: {bare}\nval: {bare}\nnc: 10\nnames: {list('abcdefghij')}\n")
    (home.root / "half.yaml").write_text("lr0: 0.01")


FIVE = Family(
    name="v5",
    record="yolov5",
    fixtures=("fork5", "copy5"),
    data=lambda request: request.getfixturevalue("tiny5")["detect"],
    best=lambda home: home.python(home_five.HERE / "make_five.py", "small best.pt"),
    quick="--img 64 --batch-size 8 --epochs 1 --device cpu --workers 0 --noplots",
    scripts=without_words(SCRIPTS),
    resumed=SPARSE,
    trusting=("train_sparse.py", "--weights", "posix.pt", "--trust"),
    held="held_five.py",
    record_arguments=usual("prunekit_v5"),
    others=("yolov5n-coco.pt",),  # Ultralytics' own
    tables=("everywhere", "values", "argparse", "yolov5"),
    files=files_five,
    run=(
        "from prunekit_v5.stack import start",
        """start(os.path.abspath("prune.py"), *(("main", "prune") if line[0] == "prune" else ("sparse", line[0])), "",
            line[1].split() if line[0] == "inspect" or "--resume" in line[1] else ["--device", "cpu", *line[1].split()],
            **({"steps": 1, "round_to": 8} if line[0] == "prune" else {}))""",
    ),
    help=(
        "prune.py",
        ("--multi-scale", "--cache", "--batch-size", "--hyp", "--mask-ratio"),
        ("--weights", "--evolve "),
    ),
    sparse=("yolov5_sparse",),
)

# YOLOv7


def files_seven(home: Home, request: Request) -> None:
    """Other networks, and data sets with something wrong in each."""
    for words in ("twenty.pt 20", "fused.pt 10 fused", "orepa.pt 10 orepa"):
        home_seven.small(home, words)
    home.python("-c", badlines.EIGHT, "eight.pt")
    home.python("-c", "import torch; torch.save({'model': None}, 'bare.pt')")
    text = (home.root / "tiny.yaml").read_text()
    (home.root / "gone.yaml").write_text(text.replace("images/val", "images/elsewhere"))
    (home.root / "lacking.yaml").write_text(text.replace("nc: 10\n", ""))
    (home.root / "bare").mkdir()
    (home.root / "bare.yaml").write_text(f"train: bare\nval: bare\nnc: 10\nnames: {list(range(10))}\n")
    (home.root / "words.yaml").write_text(text.replace("nc: 10\n", "nc: ten\n"))
    (home.root / "names.yaml").write_text(text.replace("names: [", "names: [eleventh, "))


RESUMED = ("train.py", "train_aux.py", *SPARSE)
SEVEN = Family(
    name="v7",
    record="yolov7",
    fixtures=("fork7", "copy7"),
    data=lambda request: request.getfixturevalue("tiny7"),
    best=lambda home: home_seven.small(home, "best.pt 10"),
    quick="--img-size 64 64 --batch-size 8 --epochs 1 --device cpu --workers 0 --noautoanchor",
    scripts={
        **without_words((*SCRIPTS, "pruner.py", "pruner_one_shot.py", "reparameterize.py", "train.py", "train_aux.py")),
        "generate_prune_yaml.py": ["--model", "cfg/training/yolov7.yaml", "--pruned_model", "x.yaml"],
    },
    resumed=RESUMED,
    trusting=("train.py", "--weights", "posix.pt", "--trust", "--device", "cpu"),
    held="held_seven.py",
    record_arguments=usual("prunekit_v7"),
    others=(),
    tables=("everywhere", "argparse", "yolov7"),
    files=files_seven,
    run=(
        "from prunekit_v7.stack import start",
        """start(os.path.abspath("prune.py"), "main", "prune", "",
            [*line[1].split(), *([] if "--resume" in line[1] or "--device" in line[1] else ["--device", "cpu"])],
            steps=1, round_to=8)""",
    ),
    help=(
        "pruner.py",
        ("--multi-scale", "--cache-images", "--batch-size", "--hyp", "--img-size"),
        ("--weights", "--evolve ", "--prune_ratio"),
    ),
)

ALL = (EIGHT, FIVE, SEVEN)
SCRIPTED = (FIVE, SEVEN)  # upstreams of scripts alone


def marks(family: Family, *cheap: Family) -> tuple[pytest.MarkDecorator, ...]:
    """A family whose tests are not cheap is of the slow tier."""
    return () if family in cheap else (pytest.mark.slow,)


def each(families: Iterable[Family] = ALL, cheap: tuple[Family, ...] = ()) -> pytest.MarkDecorator:
    """Parametrize a test by `family`."""
    params = [pytest.param(it, id=it.name, marks=marks(it, *cheap)) for it in families]
    return pytest.mark.parametrize("family", params)
