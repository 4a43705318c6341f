# SPDX-License-Identifier: AGPL-3.0-or-later
"""A run by each of three ways in: prune.py, `yolo prune`, `YOLO(...).prune(...)`; `python calls_eight.py WEIGHTS DATA`.

In one process, for most of a short run's time is importing torch; so none may depend on what was drawn, set or left by
the one before. The line on which ANSWERS stands holds what came of it.
"""

from __future__ import annotations

import json
import runpy
import sys
import types
from pathlib import Path
from typing import Any, ClassVar
from unittest.mock import patch

import torch
from ultralytics import YOLO, cfg
from ultralytics.prunekit import loggers
from ultralytics.pruning.errors import PruneError

SMALL = {"epochs": 1, "imgsz": 64, "batch": 8, "workers": 0, "device": "cpu", "plots": False}
EVENTS = "on_prune_start on_prune_step_end on_prune_end on_train_epoch_end on_val_end".split()


class Writer:
    """Stands in for TensorBoard's, which the tests do not install: what upstream's module has where it is on."""

    wrote: ClassVar[list[list[Any]]] = []

    def __init__(self, folder: str) -> None:
        self.folder = Path(folder).name

    def add_scalar(self, name: str, value: float, step: int) -> None:
        """Kept."""
        self.wrote.append([self.folder, name, value, step])

    def add_text(self, name: str, text: str, step: int) -> None:
        """Kept, as far as its first word."""
        self.wrote.append([self.folder, name, "keep:" in text, step])

    def close(self) -> None:
        """Nothing is open."""


class Broken:
    """A logger whose server is down."""

    def __call__(self, event: str, pruner: Any) -> None:
        """Raises."""
        raise ConnectionError("no server")


def script(*words: str) -> int:
    """Run prune.py as its line would; its exit code."""
    with patch.object(sys, "argv", ["prune.py", *words]):
        try:
            runpy.run_path("prune.py", run_name="__main__")
        except SystemExit as stop:
            return int(stop.code or 0)
    return 0


def yolo(*words: str) -> int:
    """Run `yolo` with these words, as the installed command does; its exit code."""
    with patch.object(cfg, "ARGV", ["yolo", *words]):
        try:
            cfg.entrypoint()
        except SystemExit as stop:
            return int(stop.code or 0)
    return 0


def others(weights: str, data: str) -> dict[str, Any]:
    """The same run by the script and by the command, in their own spellings; exit codes, also of a wrong task."""
    values = {"target_macs": 0.6, "steps": 1, **SMALL}
    flags = [f"--{key.replace('_', '-')}={value}" for key, value in values.items()]
    pairs = [f"{key}={value}" for key, value in values.items()]
    end = (f"model={weights}", f"data={data}", "no_export", "project=yolo", "name=run")
    return {
        "script": script(
            "--weights", weights, "--data", data, *flags, "--no-export", "--project", "script", "--name", "run"
        ),
        "yolo": yolo("detect", "prune", *pairs, *end),
        "wrong task": yolo("segment", "prune", *pairs, *end),
    }


def refusal(yolo: YOLO, /, **keywords: Any) -> str:
    """What a call is refused with; the exceptions of a user's own callback by their type."""
    try:
        yolo.prune(**keywords)
    except PruneError as error:
        return str(error)
    except LookupError as error:
        return f"LookupError: {error}"
    return "it ran"


def state_of(path: Path) -> dict[str, torch.Tensor]:
    """The tensors of a checkpoint."""
    return YOLO(path).model.state_dict()


def unequal(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> list[str]:
    """The tensors in which two networks differ."""
    assert one.keys() == other.keys()
    return [name for name in one if not torch.equal(one[name], other[name])]


def refusals(weights: str, data: str) -> list[str]:
    """Everything that is refused before any work."""
    model = YOLO(weights)
    changed = YOLO(weights)
    next(changed.model.parameters()).data.add_(1)
    exported = Path("old.onnx")
    exported.touch()
    words = ({"target_mac": 0.5}, {"model": weights}, {"data": {}}, {"device": "cuda:7"}, {"steps": 1, "mode": "val"})
    return [
        *(refusal(model, **{"data": data, **word}) for word in words),
        refusal(YOLO("yolov8n.yaml"), data=data),
        refusal(YOLO("yolov8n.yaml").load(weights), data=data),
        refusal(changed, data=data),
        refusal(YOLO(exported, task="detect"), data=data),
    ]


def trained(data: str, weights: str) -> dict[str, Any]:
    """A network that was trained and validated in this session is pruned by what training wrote; not by its start."""
    model = YOLO(weights)
    model.train(data=data, **SMALL, project=str(Path.cwd() / "here"), name="train")
    model.val(data=data, **{key: SMALL[key] for key in SMALL if key != "epochs"}, project=str(Path.cwd() / "here"))
    model.add_callback("on_prune_start", lambda pruner: {}["stop here"])
    said = refusal(model, data=data, **SMALL, project="here", name="pruned")
    report = json.loads(Path("here/pruned/report.json").read_text())
    return {"said": said, "weights": report["weights"]}


def called(weights: str, data: str) -> dict[str, Any]:
    """The run of the other ways in, with callbacks and loggers."""
    loggers.active = lambda: [Broken(), loggers.TensorBoard(types.SimpleNamespace(SummaryWriter=Writer))]
    heard: list[tuple[str, str, int]] = []
    model = YOLO(weights)
    for event in EVENTS:
        model.add_callback(event, lambda it, event=event: heard.append((event, type(it).__name__)))
    torch.rand(7)  # a program has used the generator; the run has a seed of its own
    pruned, outcome = model.prune(
        data=Path(data), target_macs=0.6, iterative_steps=1, no_export=True, **SMALL, project="called", name="run"
    )
    planned, plan = pruned.prune(data=data, keep=0.8, plan_only=True, imgsz=64, project="called", name="plan")
    tensors = state_of(outcome.path)
    return {
        "differ": [unequal(tensors, state_of(Path(run) / "pruned.pt")) for run in ("script/run", "yolo/run")],
        "returned": unequal(tensors, pruned.model.state_dict()),
        "left": unequal(state_of(Path(weights)), model.model.state_dict()),
        "outcome": {key: value for key, value in vars(outcome).items() if key != "steps"},
        "heard": heard,
        "wrote": Writer.wrote,
        "plan": [plan.status, plan.macs_after / plan.macs_before, planned is pruned],
        "kept": [function.__name__ for function in pruned.callbacks["on_prune_end"]],
    }


if __name__ == "__main__":
    network, data_yaml = sys.argv[1:]
    sys.argv = ["ipykernel_launcher.py", "-f", "kernel-1.json"]
    torch.set_num_threads(1)
    codes = others(network, data_yaml)
    answers = {
        "codes": codes,
        **called(network, data_yaml),
        "said": refusals(network, data_yaml),
        "trained": trained(data_yaml, network),
    }
    print("\nANSWERS" + json.dumps(answers, default=str))
