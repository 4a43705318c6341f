# SPDX-License-Identifier: AGPL-3.0-or-later
"""A pruning run: dense figures, then prune, fine-tune, validate per step, then the deliverables.

Every step begins from files and ends in a saved record, so an interrupted run goes on from its last whole step and,
with upstream's seeded trainer, ends where an uninterrupted one ends.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from ..errors import PruneError, Unreachable
from ..family.contract import Family, Metrics, low_accuracy
from ..files import digest_of, fresh, write_whole
from ..network.counts import Cost, count
from ..network.deployed import deployed_cost, deployed_line
from ..network.surgery import merge_blocks
from ..planning.apply import require_scores
from ..planning.depth import BlockEntry
from ..planning.plan import Plan, plan_summary
from ..planning.plan_file import write_plan
from ..planning.scores import DATA_CRITERIA
from ..runtime.onnx_check import check_onnx
from ..settings import CRITERIA, Settings
from ..training.recalibrate import recalibrate
from .beside import look
from .carry_out import Pruned, carry_out
from .depth import Shallow, remove_blocks
from .finetune import finetune_step, require_one_process, same_shape, schedule_of
from .rebuild import require_rebuild, require_structure
from .record import State
from .report import write_report
from .step import dense_of, open_model, plan_step, scores_of, widths_of

Say = Callable[[str], None]
Watch = Callable[[str, State], None]  # told of an event, with the record as it is then
EVENTS = ("on_prune_start", "on_prune_step_end", "on_prune_end")


@dataclass(frozen=True)
class Style:
    """How a script names and announces things; the published v11 script has its own words."""

    iteration: str = "After pruning step {step}: {figures}"
    chart: str = "plots/steps.png"
    ratio: str = "MACs ratio"  # what dense / pruned MACs are called: it is arithmetic, not a measured time


def new_run(
    folder: Path, family: Family, weights: Path, settings: Settings, blocks: Sequence[BlockEntry] = ()
) -> State:
    """Begin the record of a run in a fresh folder; `blocks` lose bottlenecks first."""
    folder.mkdir(parents=True, exist_ok=True)
    return State(
        folder,
        settings,
        family.name,
        str(weights.resolve()),
        dict(family.arguments()),
        digest=digest_of(weights),
        blocks=[entry.as_dict() for entry in blocks],
    )


def unwatched(event: str, state: State) -> None:
    """Nobody is told."""


def run(
    state: State,
    family: Family,
    *,
    plan: Plan | None = None,
    tried: Pruned | None = None,
    say: Say = print,
    style: Style | None = None,
    watch: Watch = unwatched,
) -> State:
    """Carry a run to its end, from wherever its record says it stands.

    Args:
        state: a new record, or one that `State.load` read back.
        family: the upstream's adapter.
        plan: an edited plan to replay instead of making one; one step only.
        tried: the dense network as one step would prune it, where a trial has done so in memory already.
        say: receives each line for the console.
        style: the script's wording.
        watch: called with each of `EVENTS`: when the dense figures are known, after each step, at the end.

    Returns:
        The finished record; `status` is "stopped" if the accuracy limit ended it early.

    Raises:
        PruneError: the first step already exceeded the limit, or a step could not be done.
    """
    style = style or Style()
    require_one_process(family, state.settings)
    if not state.dense:
        _measure_dense(state, family, say)
    say(f"Before Pruning: {_figures(state, state.dense)}")
    watch("on_prune_start", state)
    if state.blocks and state.shallow is None:
        _make_shallow(state, family, say)
    if state.settings.sparsity and state.sparse is None:
        _train_sparse(state, family, say)
    if state.settings.steps > 1 or state.sparse or state.shallow:
        tried = None  # another network is pruned, or to another size
    while state.status == "running" and len(state.steps) + state.skipped < state.settings.steps:
        if _step(state, family, plan, say, style, tried):
            watch("on_prune_step_end", state)
    if not state.final:
        _finish(state, family, say, style)
    watch("on_prune_end", state)
    _require_export(state)
    return state


def preflight(
    family: Family, weights: Path, settings: Settings, plan: Plan | None = None, shallow: Shallow | None = None
) -> Plan | None:
    """Fail before anything is kept, trained or measured: can this network be pruned as asked, and rebuilt then?

    Args:
        shallow: the network without the bottlenecks that go first, where some do.

    Returns:
        The given plan, with its costs counted on this network.

    Raises:
        PruneError: nothing to prune, a target out of reach, a criterion that cannot rank, a plan of another network or
            with narrowed groups that its criterion says nothing about, a network that could not be rebuilt once pruned.
    """
    start = shallow.weights if shallow else weights
    require_structure(family, start)
    model, graph = open_model(family, start, settings)
    if plan is not None:
        if plan.criterion not in CRITERIA:
            raise PruneError(f"the plan's criterion '{plan.criterion}' is not one of {', '.join(CRITERIA)}.")
        plan = plan.fitted(graph)
        if shallow:
            plan = replace(plan, dense=dense_of(family, weights).cost)
        if plan.criterion not in DATA_CRITERIA and not settings.sparsity:  # sparsity training makes other scores
            require_scores(plan, scores_of(family, model, graph, plan.criterion, plan.seed, start))
        require_rebuild(family, start, settings, model, graph, plan, replayed=True)
        return plan
    free = settings.importance not in DATA_CRITERIA  # a pass over data: any ranking serves
    asked = replace(settings, steps=1, compound=False, importance=settings.importance if free else "l2")
    made, _ = plan_step(family, model, graph, asked, dense_of(family, weights, shallow), 1)
    require_rebuild(family, start, settings, model, graph, made, replayed=False)
    return None


def _measure_dense(state: State, family: Family, say: Say) -> None:
    started, weights = time.perf_counter(), Path(state.weights)
    model = family.load(weights)
    example = family.example(model)
    state.image = example.shape[-1]
    metrics = family.evaluate(weights)
    state.dense = {
        **_cost(count(model, example)),
        **_fractions(metrics),
        "measures": list(metrics.labels),
        "seconds": round(time.perf_counter() - started, 2),
        "checkpoint": str(weights),
        "widths": widths_of(model),
    }
    state.save()
    if warning := low_accuracy(metrics):
        say(warning)


def _make_shallow(state: State, family: Family, say: Say) -> None:
    """Take whole bottlenecks out of the dense network, once, before anything else is done to it."""
    made = state.folder / "step0_shallow.pt"
    shallow, repair = remove_blocks(family, Path(state.weights), state.entries(), made, state.settings, say)
    state.shallow, state.shallow_repair = state.relative(shallow.weights), repair
    state.save()


def _train_sparse(state: State, family: Family, say: Say) -> None:
    """Sparsity training of the dense network, once, before the first step (Network Slimming, arXiv 1708.06519)."""
    say(f"Sparsity training with BN-L1 strength {state.settings.sparsity}")
    folder = fresh(state.folder / "step0_sparse")
    best = family.finetune(_source(state), folder, sparsity=state.settings.sparsity)
    state.sparse = state.relative(best)
    state.save()


def _step(state: State, family: Family, plan: Plan | None, say: Say, style: Style, tried: Pruned | None) -> bool:
    """One whole step; nothing of it counts until the record is saved at its end. False if it was left to the next.

    A step that has nothing to remove, or cannot come near its share of a target, is left to the next; the last one is
    left out, for the steps before it are hours of training.
    """
    number, started = len(state.steps) + state.skipped + 1, time.perf_counter()
    pruned = state.folder / f"step{number}_pruned.pt"
    try:
        made, cost, widths, repair = _prune(state, family, plan, number, pruned, say, tried)
    except Unreachable as error:
        last = number == state.settings.steps
        if plan is not None or (last and not state.steps):
            raise
        what = f"left out, the result is step {state.steps[-1]['step']}" if last else "joined with the next"
        say(f"Step {number} is {what}: {error} (fewer --steps, or a smaller --round-to, would avoid it)")
        state.skipped += 1
        state.save()
        return False
    before = _accuracy(family, pruned)
    best = finetune_step(state, family, pruned, number, schedule_of(state, cost, number, say))
    same_shape(family, best, widths)
    after = _accuracy(family, best)
    drop = state.dense["map50_95"] - after["map50_95"]
    limit = state.settings.max_map_drop
    record = {
        "step": number,
        **_cost(cost),
        **after,
        **{f"pruned_{key}": value for key, value in before.items()},
        "seconds": round(time.perf_counter() - started, 2),
        "checkpoint": state.relative(best),
        "plan": state.relative(made),
        "kept": limit is None or drop <= limit,
        "gains": dict(family.gains(best)),
        "widths": widths,
        **({"repair": repair} if repair else {}),
    }
    state.steps.append(record)
    if not record["kept"]:
        state.status = "stopped"
    state.save()
    ratio = f"{style.ratio}={state.dense['macs'] / record['macs']}"
    say(style.iteration.format(step=number, figures=f"{_figures(state, record)}, {ratio}"))
    if not record["kept"]:
        result = f"the result is step {state.steps[-2]['step']}" if len(state.steps) > 1 else "no step is"
        say(
            f"Stopped: {state.measures()[1]} fell by {drop:.4f}, more than --max-map-drop {limit}: step {number} is "
            f"not kept, {result}"
        )
    return True


def _prune(
    state: State, family: Family, plan: Plan | None, number: int, target: Path, say: Say, done: Pruned | None
) -> tuple[Path, Cost, dict[str, int], Mapping[str, Any]]:
    """Prune the step's starting network and save it; the plan's file, the new cost and widths, what repair did."""
    source, made = _source(state), state.folder / f"step{number}_plan.yaml"
    if done is None:
        model, graph = open_model(family, source, state.settings)
        if plan is None:
            shallow = Shallow(state.path(state.shallow), state.entries()) if state.shallow and not state.steps else None
            dense = dense_of(family, Path(state.weights), shallow)
            plan, scores = plan_step(family, model, graph, state.settings, dense, number)
        else:
            plan, scores = plan.fitted(graph), scores_of(family, model, graph, plan.criterion, plan.seed, source)
        _announce(plan, made, graph.proof, say)
        done = carry_out(family, source, model, graph, plan, scores, state.settings)
    else:
        model = done.model
        _announce(done.plan, made, done.proof, say)
    state.proof = done.proof.as_dict()
    say("\n".join((f"Step {number}: removed {done.removed} channels", *done.said)))
    merge_blocks(model, family.rules)
    if state.settings.recalibrate:
        batches = recalibrate(model, lambda: family.losses(model))
        say(f"BatchNorm statistics recalibrated on {batches} training batches")
    if dropped := family.dropped(model):
        say(
            deployed_line(
                _deployed_dense(family, state),
                deployed_cost(model, family.example(model), dropped),
                state.settings,
                state.settings.steps - number,
            )
        )
    write_whole(target, lambda scratch: family.save(model, source, scratch))
    return made, count(model, family.example(model)), widths_of(model), done.repair


def _announce(plan: Plan, target: Path, proof: Any, say: Say) -> None:
    """Write a step's plan, before the minutes that carrying it out may take."""
    write_whole(target, partial(write_plan, plan))
    say(f"{plan_summary(plan)}\neach layer  {target}\nProof: {proof}")


def _deployed_dense(family: Family, state: State) -> Cost:
    model = family.load(Path(state.weights))
    return deployed_cost(model, family.example(model), family.dropped(model))


def _finish(state: State, family: Family, say: Say, style: Style) -> None:
    """Write the deliverables from the last step that was kept."""
    last = state.last_kept()
    if last is None:
        write_report(state, style.chart)
        raise PruneError(
            f"no step stayed within --max-map-drop {state.settings.max_map_drop}: there is no pruned network. Raise "
            f"the limit, lower the ratio, or give more --epochs. Figures: {state.folder / 'report.md'}"
        )
    best, target = state.path(last["checkpoint"]), state.folder / "pruned.pt"
    write_whole(target, lambda scratch: shutil.copyfile(best, scratch))
    write_whole(target.with_suffix(".yaml"), lambda scratch: family.write_yaml(target, scratch))
    state.final = {"checkpoint": target.name, "yaml": "pruned.yaml"}
    if state.settings.export:
        state.final.update(_export(state, family, target))
    state.status = "done" if state.status == "running" else state.status
    look(state, family, say)
    write_report(state, style.chart)
    state.save()
    say(_ending(state, last))
    say(f"Pruned network: {target}\nReport: {state.folder / 'report.html'}, and as text: report.md")


def _ending(state: State, last: Mapping[str, Any]) -> str:
    """The run in one line, and a warning where the network is of no use as it is."""
    dense = state.dense
    parts = [
        f"{name} {dense[key]:.3f} -> {last[key]:.3f}"
        for name, key in zip(state.measures(), ("map50", "map50_95"), strict=True)
    ]
    parts += [f"{what} {last[key] / dense[key]:.1%}" for what, key in (("MACs", "macs"), ("parameters", "params"))]
    line = f"Dense -> pruned: {', '.join(parts)} of the dense network's"
    if last["map50"] < dense["map50"] / 2:
        more = "train longer (--epochs)" if state.arguments.get("epochs") != 0 else "fine-tune it (--epochs)"
        if not state.settings.repair:
            more += ", begin with repaired weights (--repair 128)"
        line += f"\nWARNING: more than half of the accuracy is gone: {more}, or prune less."
    return line


def _require_export(state: State) -> None:
    """PruneError if the ONNX file was to be written and could not be."""
    if "onnx_failed" in state.final:
        raise PruneError(f"the network is pruned, but its ONNX file is not: {state.final['onnx_failed']}")


def _export(state: State, family: Family, weights: Path) -> dict[str, Any]:
    """ONNX of the final network, checked against torch; a failure is recorded, for the network itself is done."""
    target = weights.with_suffix(".onnx")
    try:
        write_whole(target, lambda scratch: family.export(weights, scratch))
        return {"onnx": target.name, "onnx_max_error": check_onnx(target, family, weights, state.image)}
    except Exception as error:  # noqa: BLE001 - an exporter fails in many ways, none worth hours of training
        target.unlink(missing_ok=True)
        return {"onnx_failed": f"{type(error).__name__}: {str(error).strip().splitlines()[0] if str(error) else ''}"}


def _source(state: State) -> Path:
    """The checkpoint that the next step prunes."""
    if state.steps:
        return state.path(state.steps[-1]["checkpoint"])
    begun = state.sparse or state.shallow
    return state.path(begun) if begun else Path(state.weights)


def _accuracy(family: Family, weights: Path) -> dict[str, float]:
    return _fractions(family.evaluate(weights))


def _fractions(metrics: Metrics) -> dict[str, float]:
    return {"map50": metrics.map50, "map50_95": metrics.map50_95}


def _cost(cost: Cost) -> dict[str, float]:
    return {"params": int(cost.params), "macs": float(cost.macs)}


def _figures(state: State, record: Mapping[str, Any]) -> str:
    """The published console form: G of MACs, M of parameters, and mAP50-95, which it calls mAP."""
    strict = state.measures()[1]
    accuracy = f"{'mAP' if strict == Metrics.labels[1] else strict}={record['map50_95']}"
    return f"MACs={record['macs'] / 1e9} G, #Params={record['params'] / 1e6} M, {accuracy}"
