# SPDX-License-Identifier: AGPL-3.0-or-later
"""What a fork of YOLOv7 does, a function per behaviour: `python series_seven.py [[NAME, WORD, ...], ...]` prints JSON.

Runs in a folder of the test's own, under the full fork or one that ends before a patch.
"""

from __future__ import annotations

import os
import runpy
import sys
import types
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
from torch import nn

sys.path.append(str(Path(__file__).parents[1]))
from answering import answer, attempt, count
from chartless import leave_charts_empty

ROOT = Path(os.environ["PYTHONPATH"].split(os.pathsep)[1])
SMALL = "--img 64 64 --batch-size 8 --workers 0 --device cpu --noautoanchor --exist-ok --project .".split()


def train(weights: str, data: str, *words: str) -> Any:
    """Parameters of what train.py writes."""
    _train(weights, data, "run", *words)
    return size("run/weights/last.pt")


def train_aux(weights: str, data: str, *words: str) -> Any:
    """Parameters of what train_aux.py writes."""
    _train(weights, data, "aux", *words, script="train_aux.py")
    return size("aux/weights/last.pt")


def size(weights: str) -> Any:
    """Parameters of a checkpoint's network."""
    ckpt = torch.load(weights, map_location="cpu", weights_only=False)
    return count(ckpt.get("ema") or ckpt["model"])


def loads(weights: str) -> Any:
    """Parameters of what attempt_load gives, and whether it can be deep-copied without gradients."""
    from models.experimental import attempt_load

    model = attempt_load(weights, map_location="cpu")
    return [count(model), any(p.grad_fn is not None for p in model.parameters())]


def precision(weights: str, data: str) -> Any:
    """On a device that says it is a GPU: what the loss scaler, autocast and the evaluations are asked for."""
    import test
    from utils import torch_utils

    asked: dict[str, list[bool]] = {"scaler": [], "autocast": [], "half": []}
    run = test.test

    class Gpu(str):
        type = "cuda"

    def scaler(enabled: bool) -> Any:
        asked["scaler"].append(bool(enabled))
        return torch.amp.GradScaler("cpu", enabled=False)

    def autocast(enabled: bool) -> Any:
        asked["autocast"].append(bool(enabled))
        return torch.autocast("cpu", enabled=False)

    def spy(*args: Any, half_precision: bool = True, **rest: Any) -> Any:
        asked["half"].append(half_precision)
        return run(*args, half_precision=half_precision, **rest)

    amp = types.SimpleNamespace(GradScaler=scaler, autocast=autocast)
    gpu = patch.object(torch_utils, "select_device", lambda *args, **more: Gpu("cpu"))
    with gpu, patch.object(torch.cuda, "amp", amp), patch.object(test, "test", spy):
        _train(weights, data, "amp")
    return {key: sorted(set(values)) for key, values in asked.items()}


def penalty(weights: str, data: str, *words: str) -> Any:
    """Train with BN-L1: optimizer steps, penalties, mean |gamma|, what opt.yaml remembers."""
    import yaml

    steps, calls, step = [0], [0], torch.optim.SGD.step
    from pruning.training import bn_sparsity as bn

    add = bn.add_l1

    def count(self: Any, *args: Any, **kwargs: Any) -> Any:
        steps[0] += 1
        return step(self, *args, **kwargs)

    def note(*args: Any) -> Any:
        calls[0] += 1
        return add(*args)

    with patch.object(torch.optim.SGD, "step", count), patch.object(bn, "add_l1", note):
        _train(weights, data, "bn", *words)
    model = torch.load("bn/weights/last.pt", weights_only=False)["model"]
    gamma = [m.weight.float().abs().mean() for m in model.modules() if isinstance(m, nn.BatchNorm2d)]
    kept = yaml.safe_load(Path("bn/opt.yaml").read_text())
    mean = float(torch.stack(gamma).mean())
    return {"steps": steps[0], "calls": calls[0], "gamma": mean, "sparsity": kept.get("sparsity")}


def interrupted(weights: str, data: str, *words: str) -> Any:
    """Break a training of three epochs in its second; where its checkpoint is."""
    import test

    run, epochs = test.test, []

    def stop(*args: Any, **more: Any) -> Any:
        epochs.append(1)
        if len(epochs) == 2:
            raise KeyboardInterrupt
        return run(*args, **more)

    try:
        with patch.object(test, "test", stop):
            _train(weights, data, "cut", "--epochs", "3", *words)
    except KeyboardInterrupt:
        return str(Path("cut/weights/last.pt").resolve())
    return "not interrupted"


def resume(last: str) -> Any:
    """Resume it: parameters and epoch of what comes out."""
    _script("train.py", "--resume", last)
    return [size(last), torch.load(last, weights_only=False)["epoch"]]


def build(yaml: str) -> Any:
    """Parameters of what a YAML builds."""
    from models.yolo import Model

    return count(Model(yaml))


def exact(cfg: str) -> Any:
    """A pruned network written in exact rows, each with its own widths, then built and loaded strictly: difference.

    One more RepConv has no identity branch, although as many channels go in as come out.
    """
    import yaml as library
    from engine_helpers import image, tensors
    from models.common import RepConv
    from models.yolo import Model
    from networks_seven import network, prune
    from prunekit_v7.rows import widths_of_block
    from prunekit_v7.structure import PREFIX
    from pruning.family.yaml_structure import real_anchors

    model, x = network(cfg, classes=10), image(64, torch.float32)
    prune(model, x, "lamp", ratio=0.4, scope="global", floor=5)
    rows = [*model.yaml["backbone"], *model.yaml["head"]]
    written = []
    for layer, (f, n, kind, args) in zip(model.model, rows, strict=True):
        given = list(args)
        if hasattr(layer, "rbr_dense") or any(hasattr(layer, name) for name in ("conv", "cv1")):
            last = {"SPPCSPC": "cv7"}.get(kind, "conv")
            wide = (
                sum(getattr(layer, c).conv.out_channels for c in ("cv2", "cv3"))
                if kind == "DownC"
                else (
                    layer.rbr_dense[0].out_channels
                    if kind == "RepConv"
                    else (layer.conv if last == "conv" else getattr(layer, last).conv).out_channels
                )
            )
            given = [wide, *args[1:], *([widths] if (widths := widths_of_block(layer)) else [])]
        written.append([f, n, PREFIX + kind, given])
    cut = len(model.yaml["backbone"])
    d = {**model.yaml, "anchors": real_anchors(model), "backbone": written[:cut], "head": written[cut:]}
    Path("exact.yaml").write_text(library.safe_dump(d))
    again = Model("exact.yaml").eval()
    again.load_state_dict(model.state_dict(), strict=True)
    with torch.no_grad():
        apart = max(float((a - b).abs().max()) for a, b in zip(tensors(again(x)), tensors(model(x)), strict=True))
    return [apart, count(again), sum(isinstance(m, RepConv) for m in again.modules())]


def hub(weights: str) -> Any:
    """Parameters of what the hub's entry point gives."""
    import hubconf

    return count(hubconf.custom(weights, autoshape=False))


def startup(weights: str) -> Any:
    """What a start does to the machine, for a path with capital letters, a missing file, and an installed wandb."""
    import subprocess

    import requests

    asked: list[str] = []

    def refuse(name: str) -> Any:
        def call(*args: Any, **more: Any) -> Any:
            asked.append(name)
            raise OSError("no network")

        return call

    Path("Best.pt").write_bytes(Path(weights).read_bytes())
    wandb = types.ModuleType("wandb")
    wandb.init = wandb.finish = refuse("wandb")  # type: ignore[attr-defined]
    wandb.run = None  # type: ignore[attr-defined]
    sys.modules["wandb"] = wandb
    silent = patch.object(subprocess, "check_output", refuse("pip or git"))
    with patch.object(requests, "get", refuse("requests")), silent:
        from utils import general, google_utils
        from utils.wandb_logging import wandb_utils

        said = [attempt(partial(google_utils.attempt_download, name)) for name in ("Best.pt", "nowhere.pt")]
        attempt(lambda: general.check_requirements(("a-package-that-is-not-there",)))
        return {"asked": asked, "said": said, "wandb": wandb_utils.wandb is not None}


def warmup(weights: str, data: str, hyp: str) -> Any:
    """Learning rate of the weights at the last step of a short training, and how many steps it had."""
    seen: list[float] = []
    step = torch.optim.SGD.step

    def note(self: Any, *args: Any, **more: Any) -> Any:
        seen.append(self.param_groups[1]["lr"])
        return step(self, *args, **more)

    with patch.object(torch.optim.SGD, "step", note):
        _train(weights, data, "warm", "--epochs", "3", "--hyp", hyp)
    return [seen[-1], len(seen)]


def onward(cfg: str, data: str) -> Any:
    """Epochs trained, in all, after `--epochs 1` on a checkpoint that has optimizer and EMA of one epoch."""
    last = Path("unstripped.pt")
    from utils import general

    def keep(file: Any, *args: Any) -> None:
        if not last.exists():
            last.write_bytes(Path(file).read_bytes())

    with patch.object(general, "strip_optimizer", keep):
        _train("", data, "one", "--cfg", cfg)
    _train(str(last), data, "two")
    return len(Path("two/results.txt").read_text().splitlines())


def first(weights: str, data: str, *words: str) -> Any:
    """train.py --prune_ratio: what it prints, what it trains, what a resumed run holds."""
    import contextlib
    import io

    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        last = interrupted(weights, data, *words)
    lines = [line for line in said.getvalue().splitlines() if "Pruning: " in line]
    return [lines, size(last), resume(last)]


def classes_seen(data: str) -> Any:
    """Labels of the training set as upstream's loader gives them, before and after one label file has grown."""
    import yaml
    from utils.datasets import LoadImagesAndLabels

    place = yaml.safe_load(Path(data).read_text())["train"]
    before = sum(len(labels) for labels in LoadImagesAndLabels(place, 64).labels)
    file = sorted(Path(place.replace("images", "labels")).glob("*.txt"))[0]
    file.write_text(file.read_text() + "9 0.5 0.5 0.1 0.1\n")
    return sum(len(labels) for labels in LoadImagesAndLabels(place, 64).labels) - before


def other_cache(data: str) -> Any:
    """How many labels the loader gives where YOLOv5 has left its label cache, written by numpy, under this name."""
    import numpy as np
    import yaml
    from utils.datasets import LoadImagesAndLabels

    place = yaml.safe_load(Path(data).read_text())["train"]
    with open(Path(place.replace("images", "labels")).with_suffix(".cache"), "wb") as file:
        np.save(file, np.array({"version": 0.6, "hash": "another"}, dtype=object), allow_pickle=True)
    return sum(len(labels) for labels in LoadImagesAndLabels(place, 64).labels)


def _train(weights: str, data: str, name: str, *words: str, script: str = "train.py") -> None:
    usual = ["--hyp", str(ROOT / "data/hyp.scratch.tiny.yaml"), "--epochs", "1", "--name", name]
    _script(script, *SMALL, "--weights", weights, "--data", data, *usual, *words)


def _script(name: str, *words: str) -> None:
    """Run one of upstream's scripts; where tensorboard is not installed, a stock one cannot start without it."""
    board: Any = types.SimpleNamespace(SummaryWriter=lambda folder: None)
    sys.modules.setdefault("torch.utils.tensorboard", board)
    with patch.object(sys, "argv", [name, *words]):
        runpy.run_path(str(ROOT / name), run_name="__main__")


if __name__ == "__main__":
    torch.set_num_threads(1)
    leave_charts_empty()
    answer(globals())
