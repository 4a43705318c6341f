# SPDX-License-Identifier: AGPL-3.0-or-later
"""The YOLOv7 family: what the engine needs of its detection networks, in upstream's own calls."""

from __future__ import annotations

import contextlib
import importlib
import io
import warnings
from argparse import Namespace
from collections.abc import Iterator, Mapping, Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any

import torch
import yaml
from models.experimental import attempt_load
from models.yolo import Model
from pruning.checkpoint.network_form import check_content, check_form
from pruning.checkpoint.once import Opened
from pruning.checkpoint.reading import door, know, read
from pruning.errors import PruneError
from pruning.family import defaults
from pruning.family.contract import Family, Found, Metrics, Network
from pruning.family.detections import CONFIDENCE, from_rows
from pruning.family.hooked import check_hooks
from pruning.family.ranges import check_freezing
from pruning.network.surgery import SwapRule, own_rules
from pruning.scratch import Scratch, temporary_folder
from pruning.training import ddp as ranks
from pruning.training.schedule import GIVEN, Schedule
from torch import Tensor
from utils.datasets import create_dataloader
from utils.general import check_img_size, non_max_suppression
from utils.torch_utils import select_device

from . import calibration, data, network, onnx_side
from .arguments import parse, run_script, train
from .hooks import HOOKED
from .quiet import quiet
from .remembered import remembered
from .structure import close_structure, sync_attributes

know(network.MADE_OF)
STALE = (*defaults.STALE, "training_results", "wandb_id")
WARMUP = 0.1  # share of a step's iterations; upstream's 1000 or more are longer than a short fine-tuning

ROOT = Path(__file__).resolve().parents[1]  # the fork's folder


class Yolov7:
    """Adapter bound to one run's upstream options; implements `pruning.family.contract.Family`."""

    name = "yolov7"
    framed, ranked = True, False

    def __init__(self, given: Mapping[str, Any] | None = None, *, trust: bool = False) -> None:
        """Bind the run's options.

        Args:
            given: every option of upstream's training script; `take` reads them from a command line instead.
            trust: load checkpoints that run code of their own.
        """
        self._given = dict(given or {})
        self._trust = trust
        self.rules: Sequence[SwapRule] = own_rules(ROOT)  # none of upstream's hides a split
        self._opened = Opened()
        self._scratch = Scratch()  # upstream's side products of validation
        self._gone = ""  # the data set that the checkpoint was trained on, where it is not here
        self.trainer = "train.py"

    def check(self, weights: Path) -> None:
        """See `Family.check`; also learns which of upstream's two scripts trains this head."""
        check_hooks(ROOT, HOOKED)
        with door(trust=self._trust):
            head = type(self.load(weights).model[-1]).__name__
        self.trainer = "train_aux.py" if head == "IAuxDetect" else "train.py"

    def take(self, weights: Path, words: Sequence[str], seed: int) -> None:
        """Read upstream's options from a command line; data and image size as the training's opt.yaml has them.

        Raises:
            PruneError: an option that upstream does not have, or a value that does not fit.
        """
        model, kept = self.load(weights), remembered(weights)
        self._gone = kept.pop("gone", "")
        if model.yaml["nc"] != 1:
            kept.pop("single_cls", None)
        given = parse(_without_seed(words), self.trainer, kept)
        data.check_values(given)
        data.check_device(given["device"])
        if given["cfg"]:
            self._check_same(weights, model, data.found("--cfg", given["cfg"]))
        stride = max(int(model.stride.max()), 32)
        sizes = [check_img_size(size, stride) for size in given["img_size"]]
        given["img_size"] = (sizes * 2)[:2]  # train, test
        for key in ("data", "hyp"):
            given[key] = data.found(f"--{key}", given[key]) if given[key] else ""
        data.check_hyp(given["hyp"])
        self._given = {**given, "cfg": ""}

    def check_data(self, weights: Path) -> None:
        """See `Family.check_data`."""
        model = self.load(weights)
        if self._gone and not self._given["data"]:
            raise PruneError(f"no data set given, and that of {weights}, {self._gone}, is gone: --data my.yaml")
        data.check_data(self._given["data"], model, weights, self.trainer, self._given["single_cls"])
        check_freezing(self._given.get("freeze"), len(model.model))
        calibration.check_val(model, Namespace(**self._given))
        losses = lambda: calibration.losses(model, Namespace(**{**self._given, "batch_size": 2}))  # noqa: E731
        defaults.look_at_data(losses, lambda: self.images(weights), self._given["epochs"], self._given["data"])

    def load(self, weights: Path) -> Network:
        """See `Family.load`; each file is opened once."""
        return self._opened(weights, self._load)

    def _load(self, weights: Path) -> Network:
        with defaults.opening(weights):
            checkpoint = _read(weights)
        model = checkpoint.get("ema") or checkpoint["model"]
        if not isinstance(model, Model):
            found = f"a {type(model).__name__}, not a YOLOv7 network"
            raise PruneError(f"{weights}: holds {found}. Give the checkpoint that training wrote (weights/best.pt).")
        check_form(model, weights)
        network.refuse_unknown(model, str(weights))
        return model.float().requires_grad_(True)

    def example(self, model: Network) -> Tensor:
        """See `Family.example`: zeros (1, channels, imgsz, imgsz)."""
        size = self._given["img_size"][0]
        return torch.zeros(1, model.yaml.get("ch", 3), size, size)

    def ignored(self, model: Network) -> Mapping[str, str]:
        """See `Family.ignored`."""
        return network.ignored_layers(model)

    tracing, dropped, gains = defaults.tracing, defaults.dropped, defaults.gains
    stacks = defaults.stacks  # none: each row of these networks is a single convolution

    def losses(self, model: Network) -> Iterator[Tensor]:
        """See `Family.losses`: upstream's OTA loss on batches of its own train loader, one scalar a batch."""
        return calibration.losses(model, Namespace(**self._given))

    def save(self, model: Network, source: Path, target: Path) -> None:
        """See `Family.save`; float32, no optimizer state, the structure closed into `model.yaml`."""
        write_checkpoint(model, source, target)

    def write_yaml(self, weights: Path, target: Path) -> None:
        """See `Family.write_yaml`."""
        defaults.write_structure(close_structure(self.load(weights)), target, "train.py --cfg pruned.yaml")

    def finetune(self, weights: Path, folder: Path, *, sparsity: float = 0.0, schedule: Schedule = GIVEN) -> Path:
        """See `Family.finetune`: upstream's whole script, with a hyp file of this step's own.

        A checkpoint that still has optimizer, EMA and epoch of another training is stripped first: upstream would go
        on with them.
        """
        if self._given["epochs"] == 0:
            return weights
        with temporary_folder() as scratch:
            start, hyp = Path(scratch) / "start.pt", Path(scratch) / "hyp.yaml"
            torch.save(defaults.fresh(_read(weights), self.load(weights), STALE), start)
            hyp.write_text(yaml.safe_dump(self._step_hyp(schedule), sort_keys=False), encoding="utf-8")
            place = {"project": str(folder.parent.resolve()), "name": folder.name, "exist_ok": True}
            strength = {"sparsity": sparsity, "sparsity_beta": sparsity}
            epochs = schedule.epochs(self._given["epochs"])
            options = {**self._given, **place, **strength, "weights": str(start), "hyp": str(hyp), "epochs": epochs}
            ranks.tell({"trainer": self.trainer, "options": options})
            train(self.trainer, options)
        for extra in (*folder.glob("weights/epoch_*.pt"), folder / "weights" / "init.pt"):
            extra.unlink(missing_ok=True)  # with optimizer and EMA, gigabytes in a run of several steps
        return defaults.trained(folder, sparsity)

    def _step_hyp(self, schedule: Schedule) -> dict[str, Any]:
        """The hyperparameters of one step, fresh from their file: upstream scales them in place."""
        hyp = {"warmup_iters": WARMUP, **data.read_yaml("--hyp", self._given["hyp"])}
        hyp["lr0"] *= schedule.rate
        if schedule.warmup is not None and schedule.warmup < hyp["warmup_iters"] < 1:  # from 1 on it is iterations
            hyp["warmup_iters"] = schedule.warmup
        hyp.pop("anchors", None)  # a number of anchors to begin with
        return hyp

    def evaluate(self, weights: Path) -> Metrics:
        """See `Family.evaluate`: as the evaluation after each epoch, on the fused network, in full precision."""
        given, size = self._given, self._given["img_size"][1]
        device = select_device(given["device"], batch_size=given["batch_size"])
        with quiet():
            model = attempt_load(str(weights), map_location=device)
        content, batch = data.read_yaml("--data", given["data"]), given["batch_size"] * 2
        loader = create_dataloader(
            content["val"],
            size,
            batch,
            max(int(model.stride.max()), 32),
            Namespace(**given),
            pad=0.5,
            rect=True,
            workers=given["workers"],
        )[0]
        results, _, _ = importlib.import_module("test").test(
            content,
            batch_size=batch,
            imgsz=size,
            model=model,
            dataloader=loader,
            single_cls=given["single_cls"],
            save_dir=Path(self._scratch.name),
            plots=False,
            half_precision=False,
            v5_metric=given["v5_metric"],
        )
        return Metrics(map50=float(results[2]), map50_95=float(results[3]))

    def evaluate_onnx(self, path: Path) -> Metrics:
        """See `Family.evaluate_onnx`."""
        return onnx_side.evaluate(path, Namespace(**self._given), Path(self._scratch.name))

    def images(self, weights: Path) -> Iterator[Tensor]:
        """See `Family.images`."""
        return onnx_side.images(Namespace(**self._given), max(int(self.load(weights).stride.max()), 32))

    def export(self, weights: Path, target: Path) -> None:
        """See `Family.export`: boxes decoded (`--grid`), before NMS.

        Upstream's script tries every format that it knows; how those fare that nobody asked for is no news.
        """
        size = str(self._given["img_size"][0])

        def export(copy: Path) -> None:
            said = io.StringIO()
            try:
                with contextlib.suppress(SystemExit), contextlib.redirect_stdout(said), warnings.catch_warnings():
                    warnings.simplefilter("ignore")
                    run_script("export.py", ["--weights", str(copy), "--img-size", size, size, "--grid"])
            finally:
                if not copy.with_suffix(".onnx").is_file():
                    print(said.getvalue())

        defaults.export_copy(weights, target, export)

    def found(self, weights: Path, images: Sequence[Tensor]) -> Sequence[list[Found]]:
        """See `Family.found`."""
        with quiet(), torch.inference_mode():
            model = attempt_load(str(weights), map_location=torch.device("cpu"))
            rows = [non_max_suppression(model(image)[0], CONFIDENCE)[0] for image in images]
        return [from_rows(each, model.names) for each in rows]

    def reference(self, weights: Path, image: Tensor) -> Sequence[Tensor]:
        """See `Family.reference`: boxes (1, anchors, 5 + classes) of the fused network."""
        with quiet(), torch.inference_mode():
            return [attempt_load(str(weights), map_location=torch.device("cpu"))(image)[0]]

    def arguments(self) -> Mapping[str, Any]:
        """See `Family.arguments`."""
        return dict(self._given)

    def _check_same(self, weights: Path, model: Network, cfg: str) -> None:
        """`--cfg` beside `--weights` says what the network is; PruneError if it is another."""
        data.read_architecture("--cfg", cfg)
        with quiet(), torch.random.fork_rng(devices=[]):
            built = Model(cfg, ch=model.yaml.get("ch", 3), nc=model.yaml["nc"])
        have, want = ({k: tuple(v.shape) for k, v in each.state_dict().items()} for each in (model, built))
        if have != want:
            sizes = [f"{sum(p.numel() for p in each.parameters()):,}" for each in (model, built)]
            raise PruneError(
                f"--cfg {cfg} is not the network of {weights}: {sizes[1]} parameters against {sizes[0]}. The network "
                "comes from --weights: leave --cfg out"
            )


def _without_seed(words: Sequence[str]) -> Sequence[str]:
    """The words without `--seed N`: train.py has a seed of its own that cannot be changed."""
    if "--seed" not in words:
        return words
    at = list(words).index("--seed")
    print(f"--seed {words[at + 1]} counts for the ranking of channels; YOLOv7 trains with a seed of its own")
    return [*words[:at], *words[at + 2 :]]


def write_checkpoint(model: Network, source: Path, target: Path) -> None:
    """Write a network as a checkpoint with the metadata of `source`: float32, nothing of a training's progress."""
    model = deepcopy(model).eval()
    sync_attributes(model)
    model.yaml = close_structure(model)
    head = model.model[-1]
    head.grid = [torch.zeros(1)] * head.nl  # made again by each forward
    torch.save(defaults.fresh(_read(source), model, STALE), target)


def _read(weights: Path) -> dict[str, Any]:
    """A checkpoint's content; a bare module, as init.pt is one, is none: upstream could not validate it."""
    content: dict[str, Any] = read(weights, map_location="cpu")
    check_content(content, weights)
    return content


_: type[Family] = Yolov7  # a checker holds the adapter against the contract
