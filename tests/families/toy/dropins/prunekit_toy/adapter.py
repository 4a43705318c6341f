# SPDX-License-Identifier: AGPL-3.0-or-later
"""The toydet family: what the engine needs of its networks, in upstream's own calls."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from collections.abc import Iterator, Mapping, Sequence
from copy import deepcopy
from itertools import islice
from pathlib import Path
from typing import Any

import export
import onnxruntime
import torch
import train
import val
from net import data as datasets
from net.model import Net
from pruning.checkpoint.allowed import Rules
from pruning.checkpoint.network_form import check_content, check_form
from pruning.checkpoint.once import Opened
from pruning.checkpoint.reading import door, know, read
from pruning.errors import NoData, PruneError
from pruning.family import defaults
from pruning.family.contract import Family, Found, Metrics, Network
from pruning.family.detections import CONFIDENCE, labelled
from pruning.family.hooked import check_hooks
from pruning.family.ranges import check_numbers
from pruning.network.surgery import SwapRule, own_rules
from pruning.scripts.upstream_parser import caught_parser, parse_words
from pruning.training.schedule import GIVEN, Schedule
from torch import Tensor

from .hooks import HOOKED
from .structure import close_structure, output_layers

ROOT = Path(__file__).resolve().parents[1]
LEAST = {"epochs": 0, "batch_size": 1, "imgsz": 4}
know(Rules(packages=("net",)))


class Toydet:
    """Implements `pruning.family.contract.Family`."""

    name = "toydet"
    framed, ranked = False, False
    tracing, dropped, gains, stacks = defaults.tracing, defaults.dropped, defaults.gains, defaults.stacks

    def __init__(self, given: Mapping[str, Any] | None = None, *, trust: bool = False) -> None:
        self._given, self._trust = dict(given or {}), trust
        self._opened = Opened()
        self.rules: Sequence[SwapRule] = own_rules(ROOT)

    def check(self, weights: Path) -> None:
        check_hooks(ROOT, HOOKED)
        with door(trust=self._trust):
            self.load(weights)

    def take(self, weights: Path, words: Sequence[str], seed: int) -> None:
        trained = read(weights, map_location="cpu").get("opt") or {}
        kept = {key: trained[key] for key in ("data", "imgsz") if key in trained}
        refused = {"cfg": "the network comes from --weights"}
        self._given = parse_words(parser(), words, {"project": None, "name": None, **kept}, refused)
        check_numbers(self._given, LEAST)

    def check_data(self, weights: Path) -> None:
        data, model = self._given["data"], self.load(weights)
        if not Path(data).is_file():
            raise NoData(f"--data {data}: no such file. Give one: --data cfg/squares.yaml")
        classes, command = datasets.read(data)["nc"], f"python train.py --weights {weights} --data {data}"
        defaults.require_classes(model.yaml["nc"], classes, weights, data, "another --data", command)
        losses, images = (lambda: self.losses(model)), (lambda: self.images(weights))
        defaults.look_at_data(losses, images, self._given["epochs"], data)

    def load(self, weights: Path) -> Network:
        return self._opened(weights, self._load)

    def _load(self, weights: Path) -> Network:
        with defaults.opening(weights):
            content = read(weights, map_location="cpu")
        check_content(content, weights)
        model = content["model"]
        if not isinstance(model, Net):
            raise PruneError(f"{weights}: a {type(model).__name__}, not a network of toydet.")
        check_form(model, weights)
        return model.float().requires_grad_(True)

    def example(self, model: Network) -> Tensor:
        return torch.zeros(1, 3, self._given["imgsz"], self._given["imgsz"])

    def ignored(self, model: Network) -> Mapping[str, str]:
        return output_layers(model)

    def losses(self, model: Network) -> Iterator[Tensor]:
        mode, given = model.training, self._given
        batches = datasets.loader(datasets.read(given["data"]), "train", given["imgsz"], given["batch_size"])
        model.train()
        for images, labels in islice(batches, 4):
            yield datasets.loss(model(images), labels)
        model.train(mode)

    def save(self, model: Network, source: Path, target: Path) -> None:
        model = deepcopy(model).eval()
        model.yaml = close_structure(model)
        torch.save(defaults.fresh(read(source, map_location="cpu"), model), target)

    def write_yaml(self, weights: Path, target: Path) -> None:
        defaults.write_structure(close_structure(self.load(weights)), target, "train.py --cfg pruned.yaml")

    def finetune(self, weights: Path, folder: Path, *, sparsity: float = 0.0, schedule: Schedule = GIVEN) -> Path:
        if self._given["epochs"] == 0:
            return weights
        place = {"project": str(folder.parent), "name": folder.name, "exist_ok": True, "weights": str(weights)}
        own = {"epochs": schedule.epochs(self._given["epochs"]), "lr": self._given["lr"] * schedule.rate}
        train.train(Namespace(**{**self._given, **place, **own, "sparsity": sparsity, "sparsity_beta": sparsity}))
        return defaults.trained(folder, sparsity)

    def evaluate(self, weights: Path) -> Metrics:
        return self._scored(deepcopy(self.load(weights)))

    def evaluate_onnx(self, path: Path) -> Metrics:
        session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
        return self._scored(lambda x: torch.from_numpy(session.run(None, {"images": x.numpy()})[0]), batch=1)

    def _scored(self, model: Any, **more: Any) -> Metrics:
        return Metrics(*val.run(model, datasets.read(self._given["data"]), self._given["imgsz"], **more))

    def images(self, weights: Path) -> Iterator[Tensor]:
        data = datasets.read(self._given["data"])
        for number in torch.randperm(data["train"], generator=torch.Generator().manual_seed(0)).tolist():
            yield datasets.sample(number, self._given["imgsz"])[0][None]

    def export(self, weights: Path, target: Path) -> None:
        defaults.export_copy(weights, target, lambda copy: export.run(str(copy), self._given["imgsz"]))

    def found(self, weights: Path, images: Sequence[Tensor]) -> Sequence[list[Found]]:
        model, found = self.load(weights), []
        for image in images:
            *_, sure, kind = val.best_rows(self.reference(weights, image)[0])[0].tolist()
            found.append([labelled(model.names, kind, sure)] if sure >= CONFIDENCE else [])
        return found

    def reference(self, weights: Path, image: Tensor) -> Sequence[Tensor]:
        with torch.inference_mode():
            return [deepcopy(self.load(weights)).eval()(image)]

    def arguments(self) -> Mapping[str, Any]:
        return dict(self._given)


def parser() -> ArgumentParser:
    """Upstream's own."""
    return caught_parser(train.parse_opt)


_: type[Family] = Toydet
