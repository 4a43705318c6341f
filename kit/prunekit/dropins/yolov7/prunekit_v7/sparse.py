# SPDX-License-Identifier: AGPL-3.0-or-later
"""The command lines of train_sparse.py and inspect_bn.py, for YOLOv7."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import yaml
from models.yolo import Model
from pruning.errors import PruneError
from pruning.failures import reason_of
from pruning.family.contract import Network
from pruning.family.data_check import rehearse
from pruning.family.ranges import check_freezing, require_harmless
from pruning.scripts import inspect_bn as bn_view
from pruning.scripts import sparse_training
from pruning.scripts.upstream_parser import option_rows, parse_words
from pruning.training import ddp as ranks
from pruning.training.bn_sparsity import BnReport
from utils.general import check_img_size, increment_path

from . import calibration, data
from .adapter import Yolov7
from .arguments import REFUSED, run_script, train, upstream_parser
from .main import find_weights
from .quiet import quiet

HIDDEN = ("help", "evolve", "local_rank", "prune_ratio", "trust")
REFUSED_HERE = {**REFUSED, "prune_ratio": "sparsity training comes before pruning: prune_one_shot.py"}
UNSET: dict[str, Any] = {
    "weights": "",
    "data": "",
    "cfg": "",
    "prune_ratio": None,
    "sparsity": None,
    "sparsity_beta": None,
}
AUXILIARY = "IAuxDetect"


def train_sparse(description: str, argv: list[str]) -> Path:
    """train_sparse.py: see `pruning.scripts.sparse_training.trained`."""
    return sparse_training.trained(description, argv, _help_text, lambda words: _train(words, "--trust" in argv))


def _help_text() -> str:
    rows = option_rows(upstream_parser("train.py"), HIDDEN)
    return "\n".join(["train arguments of upstream (passed through; defaults shown):", *rows.values()])


def _train(argv: list[str], trust: bool) -> Path:
    """The training itself."""
    where = sparse_training.where(argv)
    if where.resume is not None:
        return _resume(where.resume, argv, trust)
    trainer = _trainer(where)
    options = _fresh(parse_words(upstream_parser(trainer), argv, {**UNSET, "trust": trust}, REFUSED_HERE), trainer)
    train(trainer, options)
    return Path(options["project"]) / options["name"] / "weights" / "last.pt"


def _trainer(where: argparse.Namespace) -> str:
    """train.py, or train_aux.py for a network with an auxiliary head: of the checkpoint, or of a YAML's last row."""
    family = Yolov7()
    if sparse_training.of_checkpoint(where, family, find_weights, "cfg/training/yolov7.yaml, from scratch"):
        return family.trainer
    rows = data.read_architecture("--cfg", data.found("--cfg", where.cfg))["head"]
    return "train_aux.py" if rows[-1][2] == AUXILIARY else "train.py"


def _fresh(options: dict[str, Any], trainer: str) -> dict[str, Any]:
    """A new run: fill in the defaults, say them, check values, device and data, and number its folder as upstream."""
    given = {key: value for key, value in options.items() if value is not None}
    bn_view.check_strengths(given)
    given["optimizer"] = "Adam" if given["adam"] else "SGD"
    values, said = bn_view.with_defaults(given, f"python {trainer} ...")
    del values["optimizer"]
    if not options["data"]:
        raise PruneError("no data set given: --data data/custom.yaml")
    files = {key: data.found(f"--{key}", options[key]) if options[key] else "" for key in ("data", "hyp", "cfg")}
    data.check_values(options)
    data.check_hyp(files["hyp"])
    data.check_device(options["device"])
    weights = _checked_network(options, files, trainer)
    base = Path(options["project"]) / options["name"]
    folder = Path(increment_path(base, exist_ok=options["exist_ok"]))
    place = {"project": str(folder.parent), "name": folder.name, "exist_ok": True}
    ready = {**options, **values, **files, **place, "weights": weights, "resume": False}
    if ranks.leads():
        _rehearse(ready)
        print(f"{said}; data {files['data']}")
    return ready


def _checked_network(options: dict[str, Any], files: dict[str, str], trainer: str) -> str:
    """The checkpoint to begin with ("" for none), its classes held against the data set's."""
    path = find_weights(options["weights"]) if options["weights"] else None
    if path is not None and not options["cfg"]:  # with another YAML the head is made again
        data.check_data(files["data"], Yolov7().load(path), path, trainer, options["single_cls"])
    else:
        data.check_set(files["data"], options["single_cls"])
    return str(path or "")


def _rehearse(options: dict[str, Any]) -> None:
    """What prune.py looks at before its work, on the network that upstream will train."""
    model = _built(options)
    check_freezing(options["freeze"], len(model.model))
    sizes = [check_img_size(size, max(int(model.stride.max()), 32)) for size in options["img_size"]]
    opt = argparse.Namespace(**{**options, "batch_size": 2, "img_size": (sizes * 2)[:2]})
    calibration.check_val(model, opt)
    if opt.epochs != 0:
        rehearse(calibration.losses(model, opt), opt.data)


def _built(options: dict[str, Any]) -> Network:
    """The checkpoint's network, or that of a YAML with as many classes as the data set has."""
    if not options["cfg"]:
        return Yolov7().load(Path(options["weights"]))
    classes = data.check_set(options["data"], options["single_cls"])
    try:
        with quiet():
            return Model(options["cfg"], ch=3, nc=classes)
    except (Exception, SystemExit) as error:
        raise PruneError(f"--cfg {options['cfg']}: upstream cannot build this network ({reason_of(error)}).") from error


def _resume(last: str, argv: list[str], trust: bool) -> Path:
    """Go on with a broken run: all but the place is in the opt.yaml beside its checkpoint."""
    path, family = Path(last), Yolov7()
    sparse_training.resumable(last, argv, family)
    trained = _noted(path)
    require_harmless(trained, f"--resume {last}")
    sparse_training.require_penalty(trained, last, f"python {family.trainer} --resume {last}")
    known = str(trained.get("data") or "")  # upstream would fetch what its YAML says, whoever wrote the record
    data.check_data(known, family.load(path), path, family.trainer, bool(trained.get("single_cls")))
    sparse_training.say_penalty(trained)
    run_script(family.trainer, ["--resume", last, *(["--trust"] if trust else [])])
    return path


def _noted(last: Path) -> dict[str, Any]:
    """The options of the run that wrote a checkpoint; upstream keeps them in opt.yaml beside its folder."""
    opt = last.resolve().parent.parent / "opt.yaml"
    try:
        return dict(yaml.safe_load(opt.read_text(encoding="utf-8")))
    except (OSError, yaml.YAMLError, TypeError, ValueError) as error:
        raise PruneError(f"--resume {last}: its run's options, {opt}, cannot be read ({error})") from error


def inspect(description: str, argv: list[str]) -> BnReport:
    """inspect_bn.py."""
    return bn_view.inspect(description, argv, find_weights, lambda trust: Yolov7({"img_size": [128] * 2}, trust=trust))
