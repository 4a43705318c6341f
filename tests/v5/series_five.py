# SPDX-License-Identifier: AGPL-3.0-or-later
"""What a fork of YOLOv5 does, a function per behaviour: `python series_five.py [[NAME, WORD, ...], ...]` prints JSON.

Runs in a folder of the test's own, under the full fork or one with a patch taken out.
"""

from __future__ import annotations

import io
import logging
import os
import subprocess
import sys
from argparse import Namespace
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stderr
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

import torch
from torch import nn

sys.path.append(str(Path(__file__).parents[1]))
from answering import answer, count

SMALL = ["--img", "64", "--batch-size", "8", "--workers", "0", "--device", "cpu", "--noplots", "--exist-ok"]


def amp() -> Any:
    """What check_amp answers for a network on a GPU whose half-precision outputs are right."""
    from models import common
    from utils import general

    gpu = SimpleNamespace(parameters=lambda: iter([SimpleNamespace(device=torch.device("cuda"))]))
    same = lambda model, verbose: lambda im: SimpleNamespace(xywhn=[torch.zeros(1)])  # noqa: E731

    class Same:
        __call__ = staticmethod(same(None, False))

    with patch.object(common, "AutoShape", lambda model, verbose: Same()), patch.object(general, "deepcopy", id):
        return general.check_amp(gpu)


def last_validation(weights: str, data: str) -> Any:
    """Precision of the validation that ends a training: [half=, dtype of the network it is given]."""
    import train

    seen, run = [], train.validate.run

    def spy(*args: Any, model: nn.Module, half: bool = True, **rest: Any) -> Any:
        seen.append([half, str(next(model.parameters()).dtype)])
        return run(*args, model=model, half=half, **rest)

    with patch.object(train.validate, "run", spy):
        _train(weights, data, "amp")
    return seen[-1]


def classifier(weights: str, images: str, rows: str) -> Any:
    """What runs in half precision in classify/ on a device that says it is a GPU: the loss scaler, each forward.

    `rows`: how many of the detector's the classifier keeps.
    """
    from classify import train

    asked: list[bool] = []
    forward = nn.Linear.forward

    class Gpu(str):
        type = "cuda"

    @contextmanager
    def autocast(*device: str, enabled: bool = True) -> Iterator[None]:  # torch's is off where there is no GPU
        was = torch.is_autocast_enabled("cuda")
        torch.set_autocast_enabled("cuda", bool(enabled))
        yield
        torch.set_autocast_enabled("cuda", was)

    def seen(self: nn.Linear, x: torch.Tensor) -> torch.Tensor:
        asked.append(torch.is_autocast_enabled("cuda"))
        return forward(self, x)

    scaler = lambda enabled: asked.append(bool(enabled)) or torch.amp.GradScaler("cpu", enabled=False)  # noqa: E731
    words = ["--model", weights, "--data", images, "--cutoff", rows, "--epochs", "1", "--imgsz", "64"]
    words += ["--batch-size", "4", "--workers", "0", "--nosave"]
    with patch.object(sys, "argv", ["train.py", *words]):
        opt = train.parse_opt()
    opt.save_dir = Path("cls")
    quiet = patch.object(train, "imshow_cls", lambda *a, **k: Path("none.jpg"))
    with patch.object(torch.amp, "autocast", autocast), patch.object(torch.cuda.amp, "autocast", autocast), quiet:
        with patch.object(nn.Linear, "forward", seen), patch.object(train.amp, "GradScaler", scaler):
            train.train(opt, Gpu("cpu"))
    return [len(asked), sorted(set(asked))]


def penalty(weights: str, data: str, *words: str) -> Any:
    """Train with BN-L1: per optimizer step the gradient norm that the penalty meets; mean |gamma|; what was said."""
    import train
    from ultralytics.utils import LOGGER

    norms: list[float] = []
    said: list[str] = []
    steps = [0]
    step = torch.optim.SGD.step

    def count(self: Any, *args: Any, **kwargs: Any) -> Any:
        steps[0] += 1
        return step(self, *args, **kwargs)

    def note(model: nn.Module, *strengths: float) -> Any:
        norms.append(float(nn.utils.get_total_norm([p.grad for p in model.parameters() if p.grad is not None])))
        return add(model, *strengths)

    warnings = patch.object(LOGGER, "log", lambda level, text: said.append(text) if level >= logging.WARNING else None)
    with patch.object(torch.optim.SGD, "step", count), warnings:
        hooks = sys.modules.get("prunekit_v5.hooks")
        if hooks is None or not hasattr(train, "hooks"):  # the fork without the patch does not know the flag
            return _train(weights, data, "bn", *words)
        from pruning.training import bn_sparsity as bn

        add = bn.add_l1
        with patch.object(bn, "add_l1", note):
            _train(weights, data, "bn", *words)
    model = torch.load("bn/weights/last.pt", weights_only=False)
    gamma = [m.weight.float().abs().mean() for m in model["model"].modules() if isinstance(m, nn.BatchNorm2d)]
    kept = {key: model["opt"].get(key) for key in ("sparsity", "sparsity_beta")}
    mean = float(torch.stack(gamma).mean())
    return {"steps": steps[0], "norms": norms, "gamma": mean, "said": [t for t in said if "BN-L1" in t], **kept}


def train(weights: str, data: str, *words: str) -> Any:
    """Parameters of what is trained, and of what is written, by train.py or (for -seg) segment/train.py."""
    _train(weights, data, "run", *words)
    return count(torch.load("run/weights/last.pt", weights_only=False)["model"])


def size(weights: str) -> Any:
    """Parameters of a checkpoint's network."""
    ckpt = torch.load(weights, weights_only=False)
    return count(ckpt.get("ema") or ckpt["model"])


def interrupted(weights: str, data: str, *words: str) -> Any:
    """Break a training of three epochs in its second; where its checkpoint is."""
    import train
    from utils.callbacks import Callbacks

    callbacks, epochs = Callbacks(), []

    def stop() -> None:
        epochs.append(1)
        if len(epochs) == 2:
            raise KeyboardInterrupt

    callbacks.register_action("on_train_epoch_start", callback=stop)
    opt = _options(train, "--weights", weights, "--data", data, "--epochs", "3", "--name", "cut", *words)
    try:
        train.main(opt, callbacks)
    except KeyboardInterrupt:
        return str(Path("cut/weights/last.pt").resolve())
    return "not interrupted"


def resume(last: str) -> Any:
    """Resume it by train_sparse.py: [parameters, sparsity, epoch] of what comes out."""
    from prunekit_v5 import sparse

    sparse.train("", ["--resume", last])
    ckpt = torch.load(last, weights_only=False)
    return [count(ckpt["model"]), ckpt["opt"].get("sparsity"), ckpt["epoch"]]


def build(yaml: str) -> Any:
    """Parameters of what a YAML builds, and (eps, momentum) of its norms where the block asks for others."""
    import yaml as library
    from models.yolo import Model

    d = library.safe_load(Path(yaml).read_text())
    if "prunekit" in d:
        d["prunekit"]["bn"] = {"eps": 0.002, "momentum": 0.07}
    model = Model(d)
    return [count(model), sorted({(m.eps, m.momentum) for m in model.modules() if isinstance(m, nn.BatchNorm2d)})]


def hub(weights: str) -> Any:
    """Parameters of what the hub's entry point gives, fused as it gives it."""
    import hubconf

    return count(hubconf._create(str(Path(weights).resolve()), device="cpu", verbose=False).model)


def replaced(weights: str, data: str, cfg: str) -> Any:
    """Where --cfg builds another network than the pruned one in --weights: [exit code, what is said, folder left]."""
    heard, code = io.StringIO(), 0
    with redirect_stderr(heard):
        try:
            _train(weights, data, "dense", "--cfg", cfg)
        except SystemExit as stop:
            code = stop.code
    said = [line for line in heard.getvalue().splitlines() if line.startswith("error: ")]
    return [code, said, any(path.name == "dense" for path in Path.cwd().rglob("runs/train/*"))]


def startup(repository: str) -> Any:
    """What a start does to the machine: git commands, downloads, installations."""
    from utils import general

    done: list[str] = []

    def note(what: str) -> Callable[..., Any]:
        return lambda *args, **kwargs: done.append(f"{what} {args[0] if args else ''}") or b""

    general.ROOT = Path(repository)
    font = general.CONFIG_DIR / "Arial.ttf"
    font.unlink(missing_ok=True)
    os.environ.pop("YOLO_AUTOINSTALL", None)
    from ultralytics.utils import checks

    online = patch.object(general, "check_online", lambda: True)
    outputs = patch.object(general, "check_output", lambda command, **_: done.append(command) or b"")  # git; once, pip
    fonts = patch.object(general.torch.hub, "download_url_to_file", note("download"))
    pip = patch.object(subprocess, "check_output", note("pip"))
    auto, net = patch.object(checks, "AUTOINSTALL", True), patch.object(checks, "ONLINE", True)
    with online, outputs, fonts, pip, auto, net, patch.object(checks, "check_uv", lambda: False):
        general.check_git_status()
        general.check_font("Arial.ttf")
        general.check_requirements("a-package-that-is-not-there")
    return {"did": sorted({line.split()[0] for line in done}), "font": font.is_file()}


def remoteless() -> Any:
    """What the origin of a checkpoint is, by an upstream that asks for a remote which is not there."""
    from prunekit_v5 import hooks
    from utils import general

    def info(path: str) -> Any:
        return {"remote": [].origin}  # type: ignore[attr-defined]

    return [hooks.without_remote(info)("."), general.check_git_info()["remote"]]


def _options(module: Any, *words: str) -> Namespace:
    with patch.object(sys, "argv", ["train.py", *SMALL, "--project", ".", *words]):
        return module.parse_opt()


def _train(weights: str, data: str, name: str, *words: str) -> None:
    import importlib

    module = importlib.import_module("segment.train" if "-seg" in weights else "train")
    module.main(_options(module, "--weights", weights, "--data", data, "--epochs", "1", "--name", name, *words))


if __name__ == "__main__":
    torch.set_num_threads(1)
    answer(globals())
