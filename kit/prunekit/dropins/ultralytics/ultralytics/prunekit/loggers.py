# SPDX-License-Identifier: AGPL-3.0-or-later
"""Steps, MACs and plans in TensorBoard, MLflow and Weights & Biases, where upstream has them on.

On means: installed, and true in `yolo settings`; then the module of upstream's callbacks has some. The trainings within
a run are logged by those callbacks, each as a run of its own, as any training is.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

FIGURES = ("macs", "params", "map50", "map50_95", "pruned_map50", "pruned_map50_95")


def active() -> list[Callable[[str, Any], None]]:
    """A logger for each of upstream's that is on."""
    kinds: dict[str, Callable[[Any], Callable[[str, Any], None]]] = {
        "tensorboard": TensorBoard,
        "mlflow": MLflow,
        "wb": WeightsAndBiases,
    }
    modules = {name: import_module(f"ultralytics.utils.callbacks.{name}") for name in kinds}
    made = {name: kinds[name](module) for name, module in modules.items() if getattr(module, "callbacks", None)}
    return list(made.values())


def figures(row: dict[str, Any]) -> dict[str, float]:
    """The numbers of a step, or of the dense network (step 0), under the names that all loggers show."""
    return {f"prune/{key}": float(row[key]) for key in FIGURES if key in row}


def news(event: str, pruner: Any) -> tuple[int, dict[str, float], str]:
    """What an event brings: the step's number, its figures, the text of its plan; step 0 is the dense network."""
    if event == "on_prune_start":
        return 0, figures(pruner.dense), ""
    if event == "on_prune_step_end":
        return int(pruner.step["step"]), figures(pruner.step), Path(pruner.plan).read_text(encoding="utf-8")
    return -1, {}, ""


class TensorBoard:
    """Scalars and plans in the run folder: `tensorboard --logdir runs`."""

    def __init__(self, module: Any) -> None:
        self._module = module

    def __call__(self, event: str, pruner: Any) -> None:
        """Write what the event brings."""
        step, rows, plan = news(event, pruner)
        if not rows:
            return
        writer = self._module.SummaryWriter(str(pruner.save_dir))
        for name, value in rows.items():
            writer.add_scalar(name, value, step)
        if plan:
            writer.add_text("prune/plan", f"```\n{plan}\n```", step)
        writer.close()


class MLflow:
    """A run of its own beside those of the trainings, where upstream's callback would put them."""

    def __init__(self, module: Any) -> None:
        self._module, self._run = module.mlflow, ""
        self._folder: Path | None = getattr(module, "RUNS_DIR", None)  # older upstreams: where their runs lie
        self._client: Any = None

    def __call__(self, event: str, pruner: Any) -> None:
        """Log what the event brings."""
        self._run = self._run or self._begun(pruner)
        step, rows, plan = news(event, pruner)
        for name, value in rows.items():
            self._client.log_metric(self._run, name, value, step=step)
        if plan:
            self._client.log_text(self._run, plan, f"step{step}_plan.yaml")
        if event == "on_prune_end":
            self._client.set_terminated(self._run)

    def _begun(self, pruner: Any) -> str:
        uri = os.environ.get("MLFLOW_TRACKING_URI") or (
            str(self._folder / "mlflow") if self._folder else self._module.get_tracking_uri()
        )
        self._client = self._module.tracking.MlflowClient(tracking_uri=uri)  # an active run would be a training's
        name = os.environ.get("MLFLOW_EXPERIMENT_NAME") or pruner.args.get("project") or "/Shared/Ultralytics"
        found = self._client.get_experiment_by_name(name)
        experiment = found.experiment_id if found else self._client.create_experiment(name)
        run: str = self._client.create_run(experiment, run_name=pruner.save_dir.name).info.run_id
        for key, value in pruner.settings.items():
            self._client.log_param(run, key, value)
        return run


class WeightsAndBiases:
    """A run of its own, open only while it is written: the trainings between open and finish one each."""

    def __init__(self, module: Any) -> None:
        self._wandb, self._id = module.wb, ""

    def __call__(self, event: str, pruner: Any) -> None:
        """Log what the event brings, into the program's own run where one is open."""
        step, rows, plan = news(event, pruner)
        if not rows:
            return
        mine = None if self._wandb.run else self._opened(pruner)
        files = {"prune/plan": self._wandb.Html(f"<pre>{plan}</pre>")} if plan else {}
        self._wandb.log({"prune/step": step, **rows, **files})
        if mine is not None:
            mine.finish()

    def _opened(self, pruner: Any) -> Any:
        project = str(pruner.args.get("project") or "Ultralytics").replace("/", "-")
        again = {"id": self._id, "resume": "allow"} if self._id else {}
        run = self._wandb.init(project=project, name=pruner.save_dir.name, config=pruner.settings, **again)
        self._id = run.id
        return run
