# SPDX-License-Identifier: AGPL-3.0-or-later
"""The ultralytics family: what the engine needs of YOLOv8, 11, 12 and 26, in upstream's own calls."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from copy import copy, deepcopy
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from ultralytics import YOLO
from ultralytics.cfg import get_cfg
from ultralytics.data.utils import IMG_FORMATS, check_cls_dataset, check_det_dataset
from ultralytics.models.yolo import classify, detect, obb, pose, segment
from ultralytics.pruning.checkpoint.network_form import check_content, check_form
from ultralytics.pruning.checkpoint.once import Opened
from ultralytics.pruning.checkpoint.reading import door, know, read
from ultralytics.pruning.errors import NoData, PruneError
from ultralytics.pruning.family import defaults
from ultralytics.pruning.family.contract import Family, Found, Metrics, Network
from ultralytics.pruning.family.data_check import check_names, check_places, rehearse
from ultralytics.pruning.family.hooked import check_hooks
from ultralytics.pruning.family.ranges import check_freeze, check_numbers
from ultralytics.pruning.files import check_yaml
from ultralytics.pruning.network.surgery import SwapRule, own_rules
from ultralytics.pruning.scratch import Scratch
from ultralytics.pruning.training.schedule import GIVEN, Schedule
from ultralytics.utils import LOGGER
from ultralytics.utils.checks import check_imgsz
from ultralytics.utils.downloads import GITHUB_ASSETS_NAMES, attempt_download_asset
from ultralytics.utils.torch_utils import select_device

from .arguments import scheduled
from .blocks import RULES, ignored_layers, refuse_unknown, stacks, tracing
from .calibration import check_labels, images
from .hooks import HOOKED
from .predicting import found_in
from .releases import forget_loss, load_checkpoint
from .remembered import why_not_here
from .rules import RULES as MADE_OF
from .structure import close_structure

# Keys that the pruning run sets itself, step by step.
OWN_KEYS = ("model", "project", "name", "exist_ok", "resume", "mode", "save_dir", "sparsity", "sparsity_beta")
TRAINERS = {
    "detect": detect.DetectionTrainer,
    "segment": segment.SegmentationTrainer,
    "pose": pose.PoseTrainer,
    "obb": obb.OBBTrainer,
    "classify": classify.ClassificationTrainer,
}
OPTIMIZERS = ("sgd", "musgd", "adam", "adamax", "adamw", "nadam", "radam", "rmsprop", "auto")
CACHES = (None, False, True, "ram", "disk")
CALIBRATION_BATCHES = 8
know(MADE_OF)
ROOT = Path(__file__).resolve().parents[2]  # the fork's folder
STALE = ("ema", "updates", "optimizer", "scaler", "best_fitness")  # of a training's progress
LEAST = {
    "epochs": 0,
    "imgsz": 32,
    "fraction": 1e-9,
    "batch": 1e-9,
    "workers": 0,
    "nbs": 1,
    "patience": 0,
    "close_mosaic": 0,
    "max_det": 1,
    "mask_ratio": 1,
    "warmup_epochs": 0,
    "box": 0,
    "cls": 0,
    "dfl": 0,
    "pose": 0,
    "kobj": 0,
    "time": 1e-9,
    "save_period": -1,
    "seed": 0,
    "erasing": 0,
    "vid_stride": 1,
}


class Ultralytics:
    """Adapter bound to one run's upstream train arguments; implements `pruning.family.contract.Family`."""

    name = "ultralytics"

    def __init__(self, overrides: Mapping[str, Any], *, head: str = "outputs", trust: bool = False) -> None:
        """Bind the run's arguments.

        Args:
            overrides: upstream train arguments as given, without defaults.
            head: "outputs" keeps only the head's output layers, "whole" keeps head and attention blocks whole.
            trust: load checkpoints that run code of their own.
        """
        self._given = {key: value for key, value in overrides.items() if key not in OWN_KEYS}
        self._head = head
        self._trust = trust
        self.rules: Sequence[SwapRule] = (*RULES, *own_rules(ROOT))
        self._opened = Opened()
        self._scratch = Scratch()  # upstream's side products of validation
        self.task = "detect"
        self.framed, self.ranked = True, False
        self.resumed = False  # are the arguments those of a run's record, not of a command line?
        self.callbacks: Mapping[str, Sequence[Callable[..., Any]]] = {}  # the user's, by upstream's events
        self._not_here = ""  # why the data set that the checkpoint remembers is not used

    def check(self, weights: Path) -> None:
        """See `Family.check`; also learns the task and the arguments that the checkpoint remembers."""
        check_hooks(ROOT, HOOKED)
        with door(trust=self._trust):
            model = self.load(weights)
        self.task, self.ranked = model.task, bool(getattr(model, "end2end", False))
        self.framed = model.task != "classify"
        refuse_unknown(model, weights)
        if self._given.get("task") not in (None, self.task):
            raise PruneError(f"--task {self._given['task']}: {weights} is a {self.task} network. Leave --task out.")
        if self.task not in TRAINERS:
            raise PruneError(f"{weights}: a {self.task} network; prunekit prunes {', '.join(TRAINERS)}.")
        keys = ("imgsz", "data", *(("single_cls",) if model.yaml.get("nc") == 1 else ()))
        args = model.args if isinstance(getattr(model, "args", None), Mapping) else {}
        remembered = {key: args[key] for key in keys if args.get(key)}
        if self.resumed or "data" not in self._given:
            data = remembered.pop("data", None)
            data = self._given.pop("data", None) or data
            self._not_here = why_not_here(data, self.task) if data else ""
            remembered.update({} if self._not_here or not data else {"data": data})
        self._given = {"imgsz": 640, **remembered, **self._given}
        self.check_values()
        if isinstance(self._given.get("pretrained"), str):
            given = self._given["pretrained"]
            raise PruneError(f"--pretrained {given}: the network comes from --weights. Leave --pretrained out.")
        self.check_device()
        self._given["imgsz"] = check_imgsz(self._given["imgsz"], stride=int(model.stride.max()), floor=32, max_dim=1)
        if Path(str(self._given.get("data"))).exists():
            self._given["data"] = str(Path(self._given["data"]).resolve())  # a run may be resumed from elsewhere

    def check_data(self, weights: Path) -> None:
        """Find the data set as upstream does, and hold its classes against the network's.

        Raises:
            PruneError: the data set is missing or unreadable, or has another number of classes.
        """
        data = self._given.get("data")
        if not data:
            if self._not_here:
                raise PruneError(
                    f"no data set given, and that of {weights} is not used: {self._not_here}: --data my.yaml"
                )
            raise NoData(f"no data set given, and {weights} remembers none: --data my.yaml")
        check_yaml("--data", Path(str(data)))
        try:
            found = check_cls_dataset(data) if self.task == "classify" else check_det_dataset(data)
        except (Exception, SystemExit) as error:
            first = next(iter(str(error).strip().splitlines()), type(error).__name__)
            raise PruneError(
                f"data set {data}: {first.rstrip('.')}. Correct its paths, or give another --data."
            ) from error
        split = self._given.get("split", "val")
        if not found.get(split):
            raise PruneError(f"--split {split}: {data} has no such split to validate on.")
        for key in dict.fromkeys(("train", split)):
            check_places(str(data), key, found.get(key), IMG_FORMATS)
        check_names(found["names"], str(data))
        print(f"Data set: {data}. Image size: {self._given['imgsz']} px.")
        self._check_classes(weights, found)
        self.rehearse(self.load(weights))

    def rehearse(self, model: Network) -> None:
        """Labels, and a training batch of two images through the loss, unless nothing will be trained."""
        check_freeze(self._given.get("freeze"), len(model.model))
        trains = self._given.get("epochs") != 0
        for key in (self._given.get("split", "val"), *(["train"] if trains else [])):
            check_labels(_for_upstream(self._given), self.task, key, max(int(model.stride.max()), 32))
        if trains:
            small = copy(self)
            small._given = {**self._given, "batch": 2, "cache": False, "plots": False}
            with defaults.quiet(LOGGER):  # a trainer's own opening lines are those of no training
                rehearse(small.losses(model), str(self._given["data"]))

    def _check_classes(self, weights: Path, found: Mapping[str, Any]) -> None:
        """PruneError unless the data set has the network's classes and key points."""
        data, structure = self._given["data"], self.load(weights).yaml
        shape: Any = found.get("kpt_shape")
        if self.task == "pose" and list(structure.get("kpt_shape") or shape) != list(shape):
            raise PruneError(f"{weights} has key points {structure['kpt_shape']}, {data} has {list(shape)}.")
        classes = 1 if self._given.get("single_cls") else found["nc"]
        train = f"yolo train model={weights} data={data}"
        defaults.require_classes(structure["nc"], classes, weights, data, "--single-cls True", train)

    def check_values(self) -> None:
        """Refuse values that upstream would refuse, now instead of after hours; and a fork that lost its hooks."""
        check_hooks(ROOT, HOOKED)
        given = self._given
        try:
            args = get_cfg(overrides=_for_upstream(given))
        except (Exception, SystemExit) as error:
            first = next(iter(str(error).strip().splitlines()), type(error).__name__)
            raise PruneError(f"{first} (see --help for upstream's train arguments)") from error
        if str(args.optimizer).lower() not in OPTIMIZERS:
            raise PruneError(f"--optimizer {args.optimizer}: upstream knows {', '.join(OPTIMIZERS)}.")
        values = {key: value for key, value in vars(args).items() if key != "batch" or value != -1}
        check_numbers(values, LEAST)
        for key in ("imgsz", "epochs", "fraction"):
            if not isinstance(getattr(args, key), (int, float)):
                raise PruneError(f"--{key} {getattr(args, key)}: must be a number.")
        if not isinstance(args.imgsz, int):
            raise PruneError(f"--imgsz {args.imgsz}: must be a whole number.")
        if args.cache not in CACHES:
            raise PruneError(f"--cache {args.cache}: upstream knows True, False, ram and disk.")
        if args.batch > 1 and args.batch != int(args.batch):
            raise PruneError(f"--batch {args.batch}: must be a whole number, or below 1: a share of the GPU's memory.")

    def check_device(self) -> None:
        """Refuse a device that is not here before anything is done on another."""
        try:
            select_device(self._given.get("device"), verbose=False)
        except (ValueError, AssertionError) as error:
            first = str(error).strip().splitlines()[0]
            raise PruneError(f"{first} Leave --device out to use what is here, or give --device cpu.") from error

    def load(self, weights: Path) -> Network:
        """See `Family.load`; each file is opened once."""
        return self._opened(weights, self._load)[0]

    def _load(self, weights: Path) -> tuple[Network, dict[str, Any]]:
        """A checkpoint's network, and what stands beside it."""
        with defaults.opening(weights, lambda: check_content(read(weights, map_location="cpu"), weights)):
            model, checkpoint = load_checkpoint(weights)
        if any("quantized" in type(module).__module__ for module in model.modules()):
            raise PruneError(f"{weights}: a quantized network cannot be pruned. Prune first, quantize the result.")
        defaults.refuse_fused(hasattr(model, "is_fused") and model.is_fused(), weights)
        check_form(model, weights)
        forget_loss(model)
        return model.float().requires_grad_(True), {**checkpoint, **dict.fromkeys(STALE), "model": None}

    def example(self, model: Network) -> Tensor:
        """See `Family.example`: zeros (1, channels, imgsz, imgsz)."""
        size = self._given["imgsz"]
        return torch.zeros(1, model.yaml.get("channels", 3), size, size)

    def ignored(self, model: Network) -> Mapping[str, str]:
        """See `Family.ignored`."""
        return ignored_layers(model, mode="head" if self._head == "whole" else "outputs")

    def stacks(self, model: Network) -> Mapping[str, str]:
        """See `Family.stacks`."""
        return stacks(model.model)

    def dropped(self, model: Network) -> Sequence[str]:
        """See `Family.dropped`: the branches of an end-to-end head that have a one-to-one twin."""
        head, prefix = model.model[-1], f"model.{len(model.model) - 1}"
        if not getattr(head, "end2end", False):
            return ()
        return [f"{prefix}.{name}" for name, _ in head.named_children() if hasattr(head, f"one2one_{name}")]

    def tracing(self, model: Network) -> AbstractContextManager[None]:
        """See `Family.tracing`."""
        return tracing(model)

    def losses(self, model: Network) -> Iterator[Tensor]:
        """See `Family.losses`: upstream's loss on batches of its own train loader, one scalar a batch."""
        overrides = {**self._overrides(Path(self._scratch.name) / "calibration"), "model": "calibration.pt"}
        with defaults.quiet(LOGGER):
            trainer = TRAINERS[self.task](overrides=overrides)  # for its data; the model is handed to it
        model.args = trainer.args
        forget_loss(model)
        trainer.model, trainer.args.workers = model, 0
        trainer.device = next(model.parameters()).device  # where the graph's weights are, whatever trains later
        loader = trainer.get_dataloader(trainer.data["train"], batch_size=trainer.batch_size, rank=-1, mode="train")
        for number, batch in enumerate(loader):
            if number == CALIBRATION_BATCHES:
                break
            yield model.loss(trainer.preprocess_batch(batch))[0].sum()
        forget_loss(model)

    def save(self, model: Network, source: Path, target: Path) -> None:
        """See `Family.save`; float32, no optimizer state, the structure closed into `model.yaml`."""
        checkpoint = self._opened(source, self._load)[1]
        model = deepcopy(model)
        model.yaml = close_structure(model)
        forget_loss(model)
        model.args = {**checkpoint.get("train_args", {}), "task": self.task}
        torch.save({**checkpoint, "epoch": -1, "model": model.requires_grad_(False)}, target)

    def write_yaml(self, weights: Path, target: Path) -> None:
        """See `Family.write_yaml`."""
        how = "YOLO('pruned.yaml').load('pruned.pt')"
        defaults.write_structure(close_structure(self.load(weights)), target, how)

    def finetune(self, weights: Path, folder: Path, *, sparsity: float = 0.0, schedule: Schedule = GIVEN) -> Path:
        """See `Family.finetune`: one fresh upstream trainer, so optimizer and EMA belong to the pruned network."""
        if self._given.get("epochs") == 0:
            return weights
        overrides = scheduled(self._overrides(folder), schedule)
        if sparsity:
            overrides.setdefault("optimizer", "SGD")  # `auto` may choose AdamW, which rescales the penalty away
        self._yolo(weights).train(**{**overrides, "sparsity": sparsity, "sparsity_beta": sparsity})
        return defaults.trained(folder, sparsity)

    def evaluate(self, weights: Path) -> Metrics:
        """See `Family.evaluate`."""
        keys = "data imgsz batch device workers split iou max_det single_cls classes conf".split()
        given = {key: self._given[key] for key in keys if key in self._given}
        if not isinstance(given.get("batch", 1), int) or given.get("batch", 1) < 1:
            del given["batch"]  # AutoBatch is for training
        folder = Path(self._scratch.name)
        model = self._yolo(weights)  # a fresh one: val fuses what it is given
        return _metrics(
            self.task, model.val(**given, plots=False, verbose=False, project=str(folder), name="val", exist_ok=True)
        )

    def evaluate_onnx(self, path: Path) -> Metrics:
        """See `Family.evaluate_onnx`."""
        keys = "data imgsz workers split iou max_det single_cls classes conf".split()
        given = {key: self._given[key] for key in keys if key in self._given}
        place = {"project": self._scratch.name, "name": "val", "exist_ok": True, "plots": False, "verbose": False}
        return _metrics(self.task, YOLO(path, task=self.task).val(**given, **place, batch=1, device="cpu"))

    def images(self, weights: Path) -> Iterator[Tensor]:
        """See `Family.images`."""
        return images(_for_upstream(self._given), self.task, int(self.load(weights).stride.max()))

    def gains(self, weights: Path) -> Mapping[str, float]:
        """See `Family.gains`."""
        trained = self._opened(weights, self._load)[1].get("train_args", {})
        return {key: float(trained[key]) for key in ("box", "cls", "dfl", "pose") if key in trained}

    def export(self, weights: Path, target: Path) -> None:
        """See `Family.export`; slimmed only where onnxslim is installed, for upstream would pip-install it."""
        slim = importlib.util.find_spec("onnxslim") is not None
        options = {"imgsz": self._given["imgsz"], "max_det": self._most_detections(), "simplify": slim}

        def export(copy: Path) -> None:
            with defaults.quiet(LOGGER):  # its closing lines name this scratch copy
                YOLO(copy, task=self.task).export(format="onnx", device="cpu", verbose=False, **options)

        defaults.export_copy(weights, target, export, f"try: yolo export model={weights}")

    def found(self, weights: Path, images: Sequence[Tensor]) -> Sequence[list[Found]]:
        """See `Family.found`."""
        with defaults.quiet(LOGGER):
            return found_in(weights, self.task, images, self._given["imgsz"], self._scratch.name)

    def reference(self, weights: Path, image: Tensor) -> Sequence[Tensor]:
        """See `Family.reference`: outputs in export form."""
        with defaults.quiet(LOGGER):
            model = load_checkpoint(weights, fuse=True)[0].float()
        for module in model.modules():
            if hasattr(module, "export"):
                module.export, module.format, module.max_det = True, "onnx", self._most_detections()
        with torch.inference_mode():
            outputs = model(image)
        return outputs if isinstance(outputs, (tuple, list)) else [outputs]

    def arguments(self) -> Mapping[str, Any]:
        """See `Family.arguments`."""
        return dict(self._given)

    def _most_detections(self) -> int:
        """Upstream's max_det, or the number of anchor points of a small image: an end-to-end head picks no more."""
        points = sum((self._given["imgsz"] // stride) ** 2 for stride in (8, 16, 32))
        return min(int(self._given.get("max_det") or 300), points)

    def _yolo(self, weights: Path) -> YOLO:
        """A checkpoint as upstream's object, with the user's callbacks."""
        model = YOLO(weights, task=self.task)
        for event, functions in self.callbacks.items():
            for function in functions:
                model.add_callback(event, function)
        return model

    def _overrides(self, folder: Path) -> dict[str, Any]:
        """Upstream overrides of a training into exactly `folder`."""
        place = {"project": str(folder.parent.resolve()), "name": folder.name, "exist_ok": True}
        own = {"task": self.task, "mode": "train", "amp": False}  # said as it is: patch 1 switches it off in any case
        return {**_for_upstream(self._given), **place, **own}


def _for_upstream(given: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments without `epochs=0`: that is ours (no fine-tuning), and newer releases refuse it."""
    return {key: value for key, value in given.items() if (key, value) != ("epochs", 0)}


def find_weights(name: str) -> Path:
    """The file behind `--weights`: a path, or the name of a published checkpoint that upstream downloads.

    Raises:
        PruneError: neither.
    """
    path = Path(name)
    if path.suffix in (".yaml", ".yml"):
        raise PruneError(f"--weights {name}: pruning needs trained weights. Train first: yolo train model={name}")
    if path.is_file():
        return path
    if path.name == name and name in GITHUB_ASSETS_NAMES:
        try:
            return Path(attempt_download_asset(name))
        except Exception as error:
            raise PruneError(f"--weights {name}: not here, and downloading it failed ({error}).") from error
    raise PruneError(f"--weights {name}: no such file. Give a trained checkpoint: runs/detect/train/weights/best.pt")


def _metrics(task: str, result: Any) -> Metrics:
    """Upstream's result as the engine's two figures."""
    if task == "classify":
        return Metrics(map50=float(result.top5), map50_95=float(result.top1), labels=("top-5", "top-1"))
    own = {"segment": "seg", "pose": "pose"}.get(task, "box")
    return Metrics(map50=float(getattr(result, own).map50), map50_95=float(getattr(result, own).map))


_: type[Family] = Ultralytics  # a checker holds the adapter against the contract
