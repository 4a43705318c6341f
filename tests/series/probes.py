# SPDX-License-Identifier: AGPL-3.0-or-later
"""What a fork does, one function per behaviour: `python probes.py [[NAME, ARGUMENT, ...], ...]` prints JSON answers.

Runs in a process of its own, under the full fork, under one with a patch taken out, or under a stock upstream.
"""

from __future__ import annotations

import io
import json
import sys
from contextlib import redirect_stderr, redirect_stdout
from inspect import signature
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

import torch
from exports import exported, upstreams_decoding  # noqa: F401 - the first is a probe, too
from ultralytics import YOLO, cfg
from ultralytics.cfg import get_cfg
from ultralytics.engine import trainer as engine
from ultralytics.models.yolo.detect import DetectionTrainer
from ultralytics.nn import tasks
from ultralytics.utils import LOGGER

sys.path.append(str(Path(__file__).parents[1]))
from answering import answer, attempt, count

SMALL = {"imgsz": 64, "batch": 8, "device": "cpu", "workers": 0, "plots": False, "verbose": False, "exist_ok": True}
load_checkpoint = getattr(tasks, "load_checkpoint", None) or tasks.attempt_load_one_weight  # its name until 8.3.19x
RUNS = Path.cwd() / "runs"  # upstream puts a relative project under its own settings' folder


def amp(model: str, data: str) -> Any:
    """AMP after `_setup_train`, for the only process and for DDP rank 1, on a machine whose AMP check would pass."""
    from ultralytics.prunekit import hooks  # a stock upstream, which other probes run under, has none

    said: list[str] = []
    engine.check_amp, found = lambda _: True, {}
    for rank in (-1, 1):
        place = {"project": str(RUNS), "name": "amp"}
        trainer = DetectionTrainer(overrides={**SMALL, **place, "model": model, "data": data})
        engine.RANK = hooks.RANK = rank
        with patch.object(LOGGER, "info", lambda text, *_: said.append(str(text))):
            trainer._setup_train(*[1 for _ in signature(trainer._setup_train).parameters])  # older ones: world size
        engine.RANK = hooks.RANK = -1
        found[f"rank {rank}"] = bool(trainer.amp)
    return {**found, "lines": sum("AMP is off" in line for line in said)}


def step(sparsity: str = "0.01", beta: str = "0.02", epoch: str = "5", scale: str = "1000") -> Any:
    """How far one SGD step of upstream's `optimizer_step` (lr 1) moves a norm whose gradients are to be clipped.

    gamma is [2, -3], beta [0.5, 0]; every gradient is `scale`; epoch 5 of 10.
    """
    norm = torch.nn.BatchNorm2d(2)
    norm.weight.data, norm.bias.data = torch.tensor([2.0, -3.0]), torch.tensor([0.5, 0.0])
    trainer = _bare_trainer(norm, float(sparsity), float(beta), int(epoch))
    for p in norm.parameters():
        p.grad = torch.full_like(p, float(scale))
    before = [p.detach().clone() for p in norm.parameters()]
    trainer.optimizer_step()
    return [(b - p.detach()).tolist() for b, p in zip(before, norm.parameters(), strict=True)]


def method_and_mode(model: str) -> Any:
    """What `YOLO.prune` and `yolo prune` say to a word that nobody knows, and what `yolo help` prints."""
    heard, said = io.StringIO(), []

    def command(*words: str) -> Any:
        with patch.object(cfg, "ARGV", ["yolo", *words]), redirect_stderr(heard), redirect_stdout(io.StringIO()):
            try:
                return cfg.entrypoint() or 0
            except SystemExit as stop:
                return stop.code
            except Exception as error:  # noqa: BLE001 - upstream's own answer to a mode it does not have
                return type(error).__name__

    with patch.object(LOGGER, "info", lambda text, *_: said.append(str(text))):
        command("help")
    return {
        "method": attempt(lambda: YOLO(model).prune(target_mac=0.5)),
        "mode": command("prune", f"model={model}", "target_mac=0.5"),
        "help": command("prune", "help"),
        "said": heard.getvalue(),
        "upstream's help": "".join(said),
    }


def useless(kind: str) -> Any:
    """What the penalty says when it reaches nothing, or not everything: the error, else the warnings."""
    said: list[str] = []
    net = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 1), torch.nn.BatchNorm2d(4), torch.nn.BatchNorm2d(4))
    if kind == "no norms":
        net = net[:1]
    if kind == "frozen":
        net[1:].requires_grad_(False)
    trainer = _bare_trainer(net, 0.01, 0.01, 0, optimizer=torch.optim.AdamW if kind == "adamw" else torch.optim.SGD)
    idle = {"no gradient": "12", "part": "2"}.get(kind, "")
    for name, p in net.named_parameters():
        if p.requires_grad and name[0] not in idle:
            p.grad = torch.ones_like(p)
    with patch.object(LOGGER, "warning", lambda text, *_: said.append(str(text))):
        error = attempt(lambda: [trainer.optimizer_step() for _ in range(2)] and None)
    return {"error": error, "warnings": said}


def _bare_trainer(
    net: torch.nn.Module, sparsity: float, beta: float, epoch: int, optimizer: type = torch.optim.SGD
) -> Any:
    trainer = object.__new__(engine.BaseTrainer)
    trainer.model, trainer.ema, trainer.epoch, trainer.epochs = net, None, epoch, 10
    trainer.device = torch.device("cpu")
    trainer.args = SimpleNamespace(sparsity=sparsity, sparsity_beta=beta)
    trainer.optimizer = optimizer([p for p in net.parameters() if p.requires_grad] or [torch.zeros(1)], lr=1.0)
    trainer.scaler = torch.amp.GradScaler("cpu", enabled=False)
    return trainer


def arguments(model: str, data: str) -> Any:
    """The penalty's strengths where a training keeps its arguments: args.yaml, checkpoint, and back after resume."""
    args = {**SMALL, "data": data, "epochs": 1, "project": str(RUNS), "name": "keys", "optimizer": "SGD", "val": False}
    YOLO(model).train(**args, sparsity=0.25, sparsity_beta=0.5)
    text = (RUNS / "keys/args.yaml").read_text()
    held = torch.load(RUNS / "keys/weights/last.pt", weights_only=False)["train_args"]
    return {
        "file": [line for line in text.splitlines() if line.startswith("sparsity")],
        "checkpoint": [held["sparsity"], held["sparsity_beta"]],
        "next training": YOLO(RUNS / "keys/weights/last.pt").overrides.get("sparsity", 0.0),
    }


def rejected(value: str) -> Any:
    """How upstream's own check takes a bad strength."""
    return attempt(lambda: get_cfg(overrides={"sparsity": json.loads(value)}).sparsity)


def build(yaml: str) -> Any:
    """Parameters of the network that a YAML builds."""
    return count(YOLO(yaml).model)


def norms(yaml: str) -> Any:
    """eps and momentum of the norms that a YAML with `bn: {eps: 0.002, momentum: 0.07}` builds."""
    d = tasks.yaml_model_load(yaml)
    d["prunekit"]["bn"] = {"eps": 0.002, "momentum": 0.07}
    model = tasks.DetectionModel(d, verbose=False)
    return sorted({(m.eps, m.momentum) for m in model.modules() if isinstance(m, torch.nn.BatchNorm2d)})


def train(model: str, data: str, *settings: str) -> Any:
    """Train for an epoch; parameters of the network before, while training, and in the written checkpoint."""
    extra = {key: json.loads(value) for key, _, value in (s.partition("=") for s in settings)}
    net = YOLO(model)
    args = {**SMALL, "data": data, "epochs": 1, "project": str(RUNS), "name": "train", "optimizer": "SGD"}
    before = count(net.model)
    seen: list[int] = []
    net.add_callback("on_train_start", lambda trainer: seen.append(count(trainer.model)))
    net.train(**{**args, **extra})
    written = load_checkpoint(RUNS / "train/weights/last.pt")[0]
    return {"before": before, "training": seen[0], "after": count(written), "nc": written.yaml["nc"]}


def size(file: str) -> Any:
    """Parameters of a checkpoint's network."""
    return count(load_checkpoint(file)[0])


def interrupted(model: str, data: str) -> Any:
    """Break a training of three epochs after the first, resume it; parameters and epochs then."""
    return resume(interrupted_only(model, data))


def interrupted_only(model: str, data: str) -> Any:
    """Break a training of three epochs after the first; its last checkpoint."""

    def stop(trainer: Any) -> None:
        if trainer.epoch == 1:
            raise KeyboardInterrupt

    args = {**SMALL, "data": data, "epochs": 3, "project": str(RUNS), "name": "cut", "optimizer": "SGD"}
    net = YOLO(model)
    net.add_callback("on_train_epoch_start", stop)
    try:
        net.train(**args, sparsity=0.01)
    except KeyboardInterrupt:
        pass
    return str(RUNS / "cut/weights/last.pt")


def resume(last: str) -> Any:
    """Resume a broken training."""
    net, epochs = YOLO(last), []
    net.add_callback("on_train_epoch_end", lambda trainer: epochs.append(trainer.epoch))
    net.train(resume=True)
    return {"epochs": epochs, "after": count(net.model), "sparsity": net.trainer.args.sparsity}


def use(model: str, data: str) -> Any:
    """What any ultralytics can do with a file: load, validate, predict, export; then what it must not: train."""
    net = YOLO(model)
    answer: dict[str, Any] = {"parameters": count(net.model), "package": str(Path(tasks.__file__).parents[1])}
    answer["map50"] = YOLO(model).val(data=data, imgsz=64, device="cpu", workers=0, plots=False).box.map50
    answer["boxes"] = len(YOLO(model).predict(torch.zeros(1, 3, 64, 64), imgsz=64, device="cpu", conf=0.0)[0].boxes)
    with upstreams_decoding():
        answer["onnx"] = Path(YOLO(model).export(format="onnx", imgsz=64, device="cpu", simplify=False)).stat().st_size
    return answer


def foreign(file: str, outputs: str) -> Any:
    """Load a checkpoint of another script: the classes in it, and how far its output is from what it was."""
    model = load_checkpoint(file)[0]
    x = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        off = float((model.eval()(x)[0] - torch.load(outputs)).abs().max())
    kinds = {type(m).__module__ for m in model.modules()}
    left = [m for m in sys.modules["__main__"].__dict__ if m.startswith("C2f")]
    return {"modules": sorted({k.split(".")[0] for k in kinds}), "off": off, "left in __main__": left}


def tune(model: str, data: str) -> Any:
    """One trial of upstream's tuner; parameters of what it trained."""
    place = {"project": str(RUNS), "name": "tune"}
    YOLO(model).tune(iterations=1, data=data, epochs=1, **SMALL, **place, val=True, save=True)
    return [count(load_checkpoint(str(f))[0]) for f in sorted(RUNS.rglob("*.pt"))]


if __name__ == "__main__":
    answer(globals(), mark="")
