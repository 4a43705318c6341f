# SPDX-License-Identifier: AGPL-3.0-or-later
"""What a pruning run answers a program: the figures of its report, and where its files lie."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..planning.plan import Plan
from .record import State


@dataclass(frozen=True)
class Outcome:
    """A run that has ended, or a plan that was made.

    Attributes:
        status: "done", "stopped" (by max_map_drop, the steps before count) or "planned" (plan_only).
        folder: the run folder; report.md and report.json lie in it.
        path: the pruned checkpoint; None where nothing was pruned.
        plan: the plan file of the step that `path` comes from; the way to its group widths.
        macs_before, macs_after: multiply-accumulates of one image at the run's size; params_*: parameters.
        map_before, map_after: mAP50-95 on the validation set (top-1 accuracy of a classifier), 0 to 1; map50_*: mAP50
            (top-5). None where nothing was validated.
        yaml, onnx: the other deliverables, where they were made.
        steps: the steps of report.json.
    """

    status: str
    folder: Path
    path: Path | None
    plan: Path | None
    macs_before: float
    macs_after: float
    params_before: int
    params_after: int
    map_before: float | None = None
    map_after: float | None = None
    map50_before: float | None = None
    map50_after: float | None = None
    yaml: Path | None = None
    onnx: Path | None = None
    steps: tuple[Mapping[str, Any], ...] = ()


def outcome_of(state: State) -> Outcome:
    """The outcome of a run that has ended."""
    dense, last, final = state.dense, state.last_kept() or {}, state.final
    files = {key: state.path(final[key]).resolve() if final.get(key) else None for key in ("yaml", "onnx")}
    return Outcome(
        status=state.status,
        folder=state.folder.resolve(),
        path=state.path(final["checkpoint"]).resolve(),
        plan=state.path(last["plan"]).resolve() if last.get("plan") else None,
        macs_before=float(dense["macs"]),
        macs_after=float(last["macs"]),
        params_before=int(dense["params"]),
        params_after=int(last["params"]),
        map_before=dense["map50_95"],
        map_after=last["map50_95"],
        map50_before=dense["map50"],
        map50_after=last["map50"],
        yaml=files["yaml"],
        onnx=files["onnx"],
        steps=tuple(state.steps),
    )


def outcome_of_plan(plan: Plan, file: Path) -> Outcome:
    """The outcome of a run that only made a plan."""
    return Outcome(
        status="planned",
        folder=file.parent.resolve(),
        path=None,
        plan=file.resolve(),
        macs_before=float(plan.dense.macs),
        macs_after=float(plan.pruned.macs),
        params_before=int(plan.dense.params),
        params_after=int(plan.pruned.params),
    )
