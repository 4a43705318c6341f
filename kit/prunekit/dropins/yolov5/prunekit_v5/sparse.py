# SPDX-License-Identifier: AGPL-3.0-or-later
"""The command lines of train_sparse.py and inspect_bn.py, for YOLOv5."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import yaml
from models.yolo import DetectionModel, SegmentationModel
from pruning.errors import PruneError
from pruning.failures import reason_of
from pruning.family.contract import Network
from pruning.family.data_check import rehearse
from pruning.family.ranges import check_freezing, require_harmless
from pruning.scripts import inspect_bn as bn_view
from pruning.scripts import sparse_training
from pruning.training import ddp as ranks
from pruning.training.bn_sparsity import BnReport
from utils.general import check_yaml

from . import calibration
from .adapter import Yolov5, find_weights
from .adapter import train as train_upstream
from .arguments import help_text, parse
from .checks import check_device, check_values, data_set, found

HIDDEN = ("help", "evolve", "evolve_population", "resume_evolve", "local_rank")
REFUSED = {"evolve": "evolve hyperparameters with train.py first, then give them with --hyp"}
FOLDERS = {"detect": "runs/train", "segment": "runs/train-seg"}
UNSET = dict.fromkeys(("weights", "data", *bn_view.DEFAULTS))


def train(description: str, argv: list[str]) -> Path:
    """train_sparse.py: see `pruning.scripts.sparse_training.trained`."""
    return sparse_training.trained(description, argv, lambda: help_text(HIDDEN), _train)


def _train(argv: list[str]) -> Path:
    """The training itself."""
    where = sparse_training.where(argv)
    if where.resume is not None:
        task, options = _resumed(where.resume, argv)
    else:
        task = _task(where)
        options = _fresh(parse(argv, task, {**UNSET, "project": FOLDERS[task], "name": "exp"}, REFUSED), task)
    done = train_upstream(task, options)  # a resumed run finds its folder by itself
    return Path(where.resume) if where.resume else Path(done.save_dir) / "weights" / "last.pt"


def _task(where: argparse.Namespace) -> str:
    """The task of the network to start from: a checkpoint's own, or what a YAML's last layer does."""
    family = Yolov5()
    if sparse_training.of_checkpoint(where, family, find_weights, "yolov5s.yaml to start from scratch"):
        return family.task
    cfg = found("--cfg", where.cfg)
    try:
        rows = yaml.safe_load(Path(check_yaml(cfg)).read_text(encoding="utf-8"))["head"]
        return "segment" if rows[-1][2] == "Segment" else "detect"
    except (AssertionError, KeyError, IndexError, TypeError, yaml.YAMLError) as error:
        raise PruneError(f"--cfg {where.cfg}: no such file, or not a network of YOLOv5 ({error}).") from error


def _fresh(options: dict[str, Any], task: str) -> dict[str, Any]:
    """A new run: fill in the defaults, say them, check values, device and data."""
    given = {key: value for key, value in options.items() if value is not None}
    bn_view.check_strengths(given)
    values, said = bn_view.with_defaults(given, f"python {'segment/' if task == 'segment' else ''}train.py ...")
    if not options["data"]:
        raise PruneError("no data set given: --data my.yaml")
    if options["cfg"] and Path(options["cfg"]).suffix not in (".yaml", ".yml"):
        raise PruneError(f"--cfg {options['cfg']}: not a YAML of a network, such as models/yolov5s.yaml")
    weights = str(find_weights(options["weights"])) if options["weights"] else ""
    files = {"data": found("--data", options["data"]), "hyp": found("--hyp", options["hyp"]), "weights": weights}
    check_values({**options, **files})
    check_device(options["device"])
    classes = 1 if options["single_cls"] else int(data_set(files["data"])["nc"])
    ready = {**options, **values, **files, "resume": False}
    if ranks.leads():
        _rehearse(argparse.Namespace(**{**ready, "batch_size": 2}), task, classes)
        print(f"{said}; data {files['data']}")
    return ready


def _rehearse(opt: argparse.Namespace, task: str, classes: int) -> None:
    """What prune.py looks at before its work, on the network that upstream will train."""
    model = _built(opt, task, classes)
    check_freezing(opt.freeze, len(model.model))
    calibration.check_val(model, opt)
    if opt.epochs != 0:
        rehearse(calibration.losses(model, opt, task), opt.data)


def _built(opt: argparse.Namespace, task: str, classes: int) -> Network:
    """The checkpoint's network, or that of a YAML; with other classes than the data has, its head is made again."""
    structure: Any = opt.cfg
    if not opt.cfg:
        model = Yolov5().load(Path(opt.weights))
        if model.yaml["nc"] == classes:
            return model
        print(f"{opt.weights} has {model.yaml['nc']} classes, the data {classes}: upstream makes a new head")
        structure = model.yaml
    kind = SegmentationModel if task == "segment" else DetectionModel
    try:
        return kind(check_yaml(opt.cfg) if opt.cfg else structure, ch=3, nc=classes)
    except (Exception, SystemExit) as error:
        raise PruneError(f"--cfg {opt.cfg}: upstream cannot build this network ({reason_of(error)}).") from error


def _resumed(last: str, argv: list[str]) -> tuple[str, dict[str, Any]]:
    """A broken run: its task and the options with which upstream goes on; all but the place is in its checkpoint."""
    family = Yolov5()
    trained = sparse_training.resumable(last, argv, family).get("opt") or {}
    sparse_training.require_penalty(trained, last, f"python train.py --resume {last}")
    _require_own_options(Path(last), trained)
    sparse_training.say_penalty(trained)
    return family.task, parse(["--resume", last], family.task, {}, REFUSED)


def _require_own_options(last: Path, trained: dict[str, Any]) -> None:
    """Upstream resumes with the options beside the checkpoint, or in it: their data set must be here, nothing is run.

    Raises:
        PruneError: they name what would be downloaded, or ask for an evolution.
    """
    beside = last.parent.parent / "opt.yaml"
    options = yaml.safe_load(beside.read_text(errors="ignore")) if beside.is_file() else trained
    if not isinstance(options, dict):
        raise PruneError(
            f"{last}: the options that it remembers are not those of a sparsity training. Start a new training"
        )
    require_harmless(options, f"--resume {last}")
    data_set(str(options.get("data") or ""), named=False)


def inspect(description: str, argv: list[str]) -> BnReport:
    """inspect_bn.py."""
    return bn_view.inspect(description, argv, find_weights, lambda trust: Yolov5({"imgsz": 128}, trust=trust))
