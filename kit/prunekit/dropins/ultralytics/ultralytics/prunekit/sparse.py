# SPDX-License-Identifier: AGPL-3.0-or-later
"""The command lines of train_sparse.py and inspect_bn.py."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ultralytics import YOLO
from ultralytics.cfg import TASK2DATA
from ultralytics.data.utils import IMG_FORMATS, check_cls_dataset, check_det_dataset
from ultralytics.pruning.errors import PruneError
from ultralytics.pruning.failures import reason_of
from ultralytics.pruning.family.contract import Network
from ultralytics.pruning.family.data_check import check_names, check_places
from ultralytics.pruning.files import check_yaml
from ultralytics.pruning.scratch import temporary_folder
from ultralytics.pruning.scripts import inspect_bn as bn_view
from ultralytics.pruning.scripts import sparse_training
from ultralytics.pruning.training.bn_sparsity import BnReport

from .adapter import TRAINERS, Ultralytics, find_weights
from .arguments import help_text, split_arguments
from .remembered import why_not_here


def train(description: str, argv: list[str]) -> Path:
    """train_sparse.py: see `pruning.scripts.sparse_training.trained`."""
    return sparse_training.trained(description, argv, help_text, lambda words: _train(split_arguments(words)))


def _train(overrides: dict[str, Any]) -> Path:
    """The training itself."""
    check_values(overrides)
    model = _resumed(overrides) if overrides.get("resume") else _fresh(overrides)
    model.train(**{**overrides, "amp": False})  # said as it is: patch 1 switches it off in any case
    trainer: Any = model.trainer
    return Path(trainer.last)


def _fresh(overrides: dict[str, Any]) -> YOLO:
    """A new run: fill in the defaults, say them, and check network and data."""
    given = overrides.pop("model", None)
    if not given:
        raise PruneError("no network given: --weights best.pt (or --model yolov8n.yaml to start from scratch)")
    values, said = bn_view.with_defaults(overrides, "yolo train ...")
    overrides.update(values)
    model = _open(str(given))
    task = str(model.task)
    overrides.setdefault("data", TASK2DATA[task])
    if isinstance(overrides.get("pretrained"), str):
        overrides["pretrained"] = str(find_weights(overrides["pretrained"]))
    _check_data(overrides["data"], task)
    _rehearse(overrides, model)
    print(f"{said}; data {overrides['data']}")
    return model


def _resumed(overrides: dict[str, Any]) -> YOLO:
    """A broken run: everything but the place comes from its checkpoint, the penalty too."""
    named = isinstance(overrides["resume"], str)
    place, flag = (overrides["resume"], "--resume") if named else (overrides.get("model"), "--weights")
    if not place:
        raise PruneError("which run? --resume runs/detect/train/weights/last.pt")
    if not Path(place).is_file():
        raise PruneError(f"{flag} {place}: no such file. Give the run's checkpoint: runs/detect/train/weights/last.pt")
    model = _open(str(place))
    if model.ckpt.get("optimizer") is None or model.ckpt.get("epoch", -1) < 0:
        raise PruneError(f"{place}: this run is finished, or its training state is gone: there is nothing to resume")
    remembered = model.ckpt["train_args"]
    if why := why_not_here(remembered.get("data"), str(model.task)):
        raise PruneError(f"{place}: the run's data set is not used: {why}. Put it back, then resume")
    if not (remembered.get("sparsity") or remembered.get("sparsity_beta")):
        raise PruneError(f"{place} was trained without a penalty: yolo train resume=True model={place}")
    overrides.pop("model", None)
    overrides["resume"] = True
    print(f"Sparsity training goes on: sparsity {remembered['sparsity']}, sparsity_beta {remembered['sparsity_beta']}")
    return model


def _open(name: str) -> YOLO:
    """The network to train: a checkpoint, or upstream's YAML for a start from scratch."""
    try:
        if name.endswith((".yaml", ".yml")):
            return YOLO(name)
        return YOLO(find_weights(name))
    except PruneError:
        raise
    except Exception as error:
        raise PruneError(f"{name}: upstream cannot open it ({str(error).splitlines()[0][:200]})") from error


def _check_data(data: str, task: str) -> None:
    check_yaml("--data", Path(data))
    try:
        found = check_cls_dataset(data) if task == "classify" else check_det_dataset(data)
    except (Exception, SystemExit) as error:
        first = next(iter(str(error).strip().splitlines()), type(error).__name__)
        raise PruneError(f"--data {data}: {first.rstrip('.')}. Correct its paths, or give another --data.") from error
    for key in ("train", "val"):
        check_places(data, key, found.get(key), IMG_FORMATS)
    check_names(found["names"], data)


def _rehearse(overrides: dict[str, Any], model: YOLO) -> None:
    """What prune.py looks at before its work, on the network that upstream will train."""
    family = Ultralytics({"imgsz": 640, **overrides})
    family.task = str(model.task)
    family.rehearse(_built(overrides, model))


def _built(overrides: dict[str, Any], model: YOLO) -> Network:
    """The network as upstream's trainer makes it; its head is new where the data has other classes."""
    own: Any = model.model
    with temporary_folder() as folder:
        place = {"project": folder, "name": "rehearsal", "exist_ok": True, "plots": False}
        more = {"model": "rehearsal.pt", "mode": "train", "task": model.task, "amp": False}
        try:
            trainer = TRAINERS[str(model.task)](overrides={**overrides, **place, **more})
            made: Network = trainer.get_model(cfg=own.yaml, weights=own if model.ckpt else None, verbose=False)
        except (PruneError, MemoryError):
            raise
        except (Exception, SystemExit) as error:
            raise PruneError(f"upstream cannot begin this training ({reason_of(error)}).") from error
    had, has = own.yaml.get("nc"), made.yaml.get("nc")
    if model.ckpt and had != has:
        print(f"The network has {had} classes, the data {has}: upstream makes a new head")
    return made


def check_values(overrides: dict[str, Any]) -> None:
    """Refuse what would end in a traceback once training has begun."""
    bn_view.check_strengths(overrides)
    family = Ultralytics(overrides)
    family.check_values()
    family.check_device()


def inspect(description: str, argv: list[str]) -> BnReport:
    """inspect_bn.py."""
    return bn_view.inspect(description, argv, find_weights, lambda trust: Ultralytics({"imgsz": 128}, trust=trust))
