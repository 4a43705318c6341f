# SPDX-License-Identifier: AGPL-3.0-or-later
"""The YOLOv5 family: what the engine needs of detection and segmentation networks, in upstream's own calls."""

from __future__ import annotations

import argparse
import contextlib
import importlib
import importlib.util
import logging
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from copy import deepcopy
from itertools import chain
from pathlib import Path
from typing import Any

import torch
import yaml
from models.common import Conv, TransformerBlock
from models.experimental import attempt_load
from models.yolo import DetectionModel, SegmentationModel
from pruning.checkpoint.allowed import Rules
from pruning.checkpoint.network_form import check_content, check_form
from pruning.checkpoint.once import Opened
from pruning.checkpoint.reading import door, know, read
from pruning.errors import NoData, PruneError
from pruning.family import defaults
from pruning.family.contract import Family, Found, Metrics, Network
from pruning.family.detections import CONFIDENCE, from_rows
from pruning.family.hooked import check_hooks
from pruning.family.ranges import check_freezing, check_numbers
from pruning.network.surgery import SwapRule, own_rules
from pruning.scratch import Scratch
from pruning.scripts import prune as command
from pruning.training import ddp as ranks
from pruning.training.schedule import GIVEN, Schedule
from torch import Tensor
from ultralytics.utils import LOGGER
from utils.callbacks import Callbacks
from utils.downloads import attempt_download
from utils.general import check_img_size, non_max_suppression

from . import calibration
from .arguments import parse, trainer_of
from .checks import LEAST, check_device, check_values, data_set, found
from .hooks import HOOKED
from .structure import READERS, close_structure, output_layers

KEPT = {"data": str, "imgsz": int, "single_cls": bool}  # what a checkpoint remembers of its training, where it is sound
PUBLISHED = re.compile(r"yolov5[nsmlx]6?(-seg)?\.pt")
know(
    Rules(
        packages=("models", "utils"),
        methods=("models.yolo.Detect.forward",),
        never=("models.common.DetectMultiBackend", "models.common.AutoShape"),  # open files and runtimes
    )
)
WORD_DATA = re.compile(r"(--)?data(=|$)")
OPSET = 17  # what export.py takes on the command line; its function's own default, 12, allows no INT8 per channel

ROOT = Path(__file__).resolve().parents[1]  # the fork's folder


class Yolov5:
    """Adapter bound to one run's upstream options; implements `pruning.family.contract.Family`."""

    name = "yolov5"
    framed, ranked = True, False

    def __init__(self, given: Mapping[str, Any] | None = None, *, head: str = "outputs", trust: bool = False) -> None:
        """Bind the run's options.

        Args:
            given: every option of upstream's training script; `take` reads them from a command line instead.
            head: "outputs" keeps only the head's output layers, "whole" keeps all of it.
            trust: load checkpoints that run code of their own.
        """
        self._given = dict(given or {})
        self._head, self._trust = head, trust
        self.rules: Sequence[SwapRule] = own_rules(ROOT)  # none of upstream's hides a split
        self._opened = Opened()
        self._scratch = Scratch()  # upstream's side products of validation
        self.task = "detect"
        self._gone = ""  # the data set that the checkpoint remembers, where it is not here
        self.named = not given  # is the data set one that the user named? Of a run's record it is not

    def check(self, weights: Path) -> None:
        """See `Family.check`; also learns the task."""
        check_hooks(ROOT, HOOKED)
        with door(trust=self._trust):
            self.task = "segment" if isinstance(self.load(weights), SegmentationModel) else "detect"

    def take(self, weights: Path, words: Sequence[str], seed: int) -> None:
        """Read upstream's options from a command line; data and image size as the checkpoint remembers them.

        Raises:
            PruneError: an option that upstream does not have, or a value that does not fit.
        """
        trained = read(weights, map_location="cpu").get("opt")
        trained = trained if isinstance(trained, Mapping) else {}
        remembered = {key: trained[key] for key in KEPT if trained.get(key) and type(trained[key]) is KEPT[key]}
        if self.load(weights).yaml["nc"] != 1:
            remembered.pop("single_cls", None)
        if not Path(str(remembered.get("data", ""))).is_file():
            self._gone = str(remembered.pop("data", ""))
        self.named = not remembered.get("data") or any(WORD_DATA.match(word) for word in words)
        self._given = {**parse(words, self.task, {"data": "", **remembered}), "seed": seed}
        check_numbers(self._given, LEAST)
        stride = max(int(self.load(weights).stride.max()), 32)
        self._given["imgsz"] = check_img_size(self._given["imgsz"], stride, floor=stride * 2)  # as train.py does
        for key in ("data", "hyp"):
            self._given[key] = found(f"--{key}", self._given[key]) if self._given[key] else ""
        check_values(self._given)
        check_device(self._given["device"])

    def check_data(self, weights: Path) -> None:
        """See `Family.check_data`."""
        data = self._given["data"]
        if not data:
            if self._gone:
                raise PruneError(f"no data set given, and that of {weights}, {self._gone}, is gone: --data my.yaml")
            raise NoData(f"no data set given, and {weights} remembers none: --data my.yaml")
        known = data_set(data, named=self.named)
        print(f"Data set: {data}. Image size: {self._given['imgsz']} px.")
        model, classes = self.load(weights), 1 if self._given["single_cls"] else known["nc"]
        train = f"python train.py --weights {weights} --data {data}"
        defaults.require_classes(model.yaml["nc"], classes, weights, data, "--single-cls", train)
        check_freezing(self._given.get("freeze"), len(model.model))
        calibration.check_val(model, argparse.Namespace(**self._given))
        small = argparse.Namespace(**{**self._given, "batch_size": 2})
        losses = lambda: calibration.losses(model, small, self.task)  # noqa: E731
        defaults.look_at_data(losses, lambda: self.images(weights), self._given["epochs"], data)

    def load(self, weights: Path) -> Network:
        """See `Family.load`; each file is opened once."""
        return self._opened(weights, self._load)

    def _load(self, weights: Path) -> Network:
        with defaults.opening(weights, lambda: check_content(read(weights, map_location="cpu"), weights)):
            model = attempt_load(str(weights), device=torch.device("cpu"), fuse=False)
        if not isinstance(model, DetectionModel):
            kind = type(model).__name__
            raise PruneError(f"{weights}: a {kind}; prunekit prunes detection and segmentation networks.")
        unfused = all(hasattr(module, "bn") for module in model.modules() if isinstance(module, Conv))
        defaults.refuse_fused(not unfused, weights)
        check_form(model, weights)
        return model.float().requires_grad_(True)

    def example(self, model: Network) -> Tensor:
        """See `Family.example`: zeros (1, channels, imgsz, imgsz)."""
        size = self._given["imgsz"]
        return torch.zeros(1, model.yaml.get("ch", 3), size, size)

    def ignored(self, model: Network) -> Mapping[str, str]:
        """See `Family.ignored`."""
        return ignored_layers(model, self._head)

    tracing, dropped, gains = defaults.tracing, defaults.dropped, defaults.gains

    def stacks(self, model: Network) -> Mapping[str, str]:
        """See `Family.stacks`: C3 (of YOLOv5's own networks; the others are kept)."""
        kinds = {at: type(layer).__name__ for at, layer in enumerate(model.model)}
        return {f"model.{at}": READERS[kind] for at, kind in kinds.items() if kind in READERS}

    def losses(self, model: Network) -> Iterator[Tensor]:
        """See `Family.losses`: upstream's loss on batches of its own train loader, one scalar a batch."""
        return calibration.losses(model, argparse.Namespace(**self._given), self.task)

    def save(self, model: Network, source: Path, target: Path) -> None:
        """See `Family.save`; float32, no optimizer state, the structure closed into `model.yaml`."""
        model = deepcopy(model).eval()
        model.yaml = close_structure(model)
        head = model.model[-1]
        head.grid, head.anchor_grid = ([torch.empty(0)] * head.nl for _ in range(2))  # made again by each forward
        torch.save(defaults.fresh(read(source, map_location="cpu"), model), target)

    def write_yaml(self, weights: Path, target: Path) -> None:
        """See `Family.write_yaml`."""
        defaults.write_structure(close_structure(self.load(weights)), target, "train.py --cfg pruned.yaml")

    def finetune(self, weights: Path, folder: Path, *, sparsity: float = 0.0, schedule: Schedule = GIVEN) -> Path:
        """See `Family.finetune`; the other ranks, if there are any, are told to join.

        `hyp` stays a path: train.py scales the gains of the losses in what it has read from it. A scaled schedule is
        a file of its own in `folder`, where every rank finds it.
        """
        if self._given["epochs"] == 0:
            return weights
        place = {"project": str(folder.parent.resolve()), "name": folder.name, "exist_ok": True, "resume": False}
        strength = {"sparsity": sparsity, "sparsity_beta": sparsity}
        scaled = {"hyp": self._hyp(schedule, folder), "epochs": schedule.epochs(self._given["epochs"])}
        options = {**self._given, **place, **strength, **scaled, "weights": str(weights), "cfg": ""}
        ranks.tell({"task": self.task, "options": options})
        train(self.task, options)
        return defaults.trained(folder, sparsity)

    def _hyp(self, schedule: Schedule, folder: Path) -> str:
        """The file of hyperparameters of a fine-tuning into `folder`: the given one, or a scaled copy in `folder`."""
        given = self._given["hyp"]
        if schedule == GIVEN:
            return str(given)
        hyp = yaml.safe_load(Path(given).read_text(encoding="utf-8", errors="ignore"))
        hyp["lr0"] *= schedule.rate
        if schedule.warmup is not None:
            epochs = schedule.epochs(self._given["epochs"])
            hyp["warmup_epochs"] = min(hyp["warmup_epochs"], schedule.warmup * epochs)
        folder.mkdir(parents=True, exist_ok=True)
        target = folder / "scaled_hyp.yaml"
        target.write_text(yaml.safe_dump(hyp, sort_keys=False), encoding="utf-8")
        return str(target.resolve())

    def evaluate(self, weights: Path) -> Metrics:
        """See `Family.evaluate`: boxes for detect, masks for segment."""
        return self._validated(weights)

    def _validated(self, weights: Path, **more: Any) -> Metrics:
        given = {key: self._given[key] for key in ("data", "imgsz", "device", "workers", "single_cls")}
        batch = self._given["batch_size"] * 2 if self._given["batch_size"] > 0 else 32
        place = {"project": self._scratch.name, "name": "val", "exist_ok": True, "plots": False}
        validator = importlib.import_module("val" if self.task == "detect" else "segment.val")
        with _without_hints(self._scratch.name):
            results = validator.run(**{**given, **more}, **place, weights=str(weights), batch_size=batch, half=False)[0]
        loose = 2 if self.task == "detect" else 6  # (P, R, mAP50, mAP50-95) of boxes, then of masks
        return Metrics(map50=float(results[loose]), map50_95=float(results[loose + 1]))

    def evaluate_onnx(self, path: Path) -> Metrics:
        """See `Family.evaluate_onnx`."""
        return self._validated(path, device="cpu")

    def images(self, weights: Path) -> Iterator[Tensor]:
        """See `Family.images`."""
        return calibration.images(argparse.Namespace(**self._given), max(int(self.load(weights).stride.max()), 32))

    def export(self, weights: Path, target: Path) -> None:
        """See `Family.export`; slimmed only where onnxslim is installed, for upstream would pip-install it."""
        exporter = importlib.import_module("export")
        size, slim = self._given["imgsz"], importlib.util.find_spec("onnxslim") is not None
        options = {"imgsz": (size, size), "include": ("onnx",), "device": "cpu", "simplify": slim, "opset": OPSET}

        def export(copy: Path) -> None:
            with contextlib.suppress(SystemExit), _image_channels(exporter), _without_hints(str(copy.parent)):
                exporter.run(weights=str(copy), **options)

        defaults.export_copy(weights, target, export)

    def found(self, weights: Path, images: Sequence[Tensor]) -> Sequence[list[Found]]:
        """See `Family.found`: boxes, also of masks."""
        model = attempt_load(str(weights), device=torch.device("cpu"), fuse=True).float().eval()
        masks = getattr(model.model[-1], "nm", 0)
        with torch.inference_mode():
            rows = [non_max_suppression(model(image)[0], CONFIDENCE, nm=masks)[0] for image in images]
        return [from_rows(each, model.names) for each in rows]

    def reference(self, weights: Path, image: Tensor) -> Sequence[Tensor]:
        """See `Family.reference`: outputs in export form."""
        model = attempt_load(str(weights), device=torch.device("cpu"), fuse=True).float().eval()
        head = model.model[-1]
        head.export, head.inplace = True, False
        with torch.inference_mode():
            outputs = model(image)
        return list(outputs)

    def arguments(self) -> Mapping[str, Any]:
        """See `Family.arguments`."""
        return dict(self._given)


def ignored_layers(model: Network, head: str = "outputs") -> dict[str, str]:
    """Layers whose output channels must stay, with the reason; `head` "whole" keeps all of the head."""
    kept = dict(output_layers(model))
    if head == "whole":
        kept[f"model.{len(model.model) - 1}"] = "head not pruned"
    for name, module in model.named_modules():
        if isinstance(module, TransformerBlock):
            kept[name] = "transformer block not pruned: its reshapes fix the width"
    return kept


@contextmanager
def _without_hints(folder: str) -> Iterator[None]:
    """Without upstream's lines that point into `folder`, which is gone when they are read."""

    def points_elsewhere(record: logging.LogRecord) -> bool:
        return folder not in record.getMessage()

    LOGGER.addFilter(points_elsewhere)
    try:
        yield
    finally:
        LOGGER.removeFilter(points_elsewhere)


@contextmanager
def _image_channels(exporter: Any) -> Iterator[None]:
    """Let upstream's export, which takes the first weight's input for the image's channels, see those of the YAML.

    A Focus stem (YOLOv5 v5.0) makes four channels of each.
    """
    load = exporter.attempt_load

    def loaded(*args: Any, **more: Any) -> Network:
        model = load(*args, **more)
        first, every = next(model.parameters()), model.parameters
        stand_in = first.detach().new_empty(1, model.yaml.get("ch", 3), 1, 1)
        model.parameters = lambda recurse=True: chain([stand_in], every(recurse))
        return model

    exporter.attempt_load = loaded
    try:
        yield
    finally:
        exporter.attempt_load = load


def find_weights(name: str) -> Path:
    """The file behind `--weights`, as `pruning.scripts.prune.find_weights` finds it."""
    return command.find_weights(name, PUBLISHED.fullmatch, attempt_download)


def train(task: str, options: Mapping[str, Any]) -> argparse.Namespace:
    """One training by upstream's script; returns its options with the folder (`save_dir`) filled in.

    Takes a fresh copy of the options and fresh callbacks, for train.py changes both.
    """
    given = argparse.Namespace(**deepcopy(dict(options)))
    trainer_of(task).main(given, **({"callbacks": Callbacks()} if task == "detect" else {}))
    return given


_: type[Family] = Yolov5  # a checker holds the adapter against the contract
