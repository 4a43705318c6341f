# SPDX-License-Identifier: AGPL-3.0-or-later
"""From a trained checkpoint to the fastest file within a loss: INT8 of the dense network, prune, INT8 of the result.

Each stage has a folder of its own and a record that is written last, so `--resume` does none twice: `dense` and
`pruned` are what quantify.py writes, `prune` is a pruning run. The ladder is timed at the end, again if need be.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from torch import Tensor

from ..errors import LessAccurate, PruneError, Unreachable
from ..family.contract import Family
from ..files import fresh, write_json, write_text, write_whole
from ..runtime.exported import OPENVINO, copy_exported
from ..runtime.int8_graph import name_nodes, quantize
from ..runtime.onnx_check import check_onnx
from ..runtime.openvino_int8 import quantize_openvino
from ..runtime.placement import placements
from ..runtime.runtimes import own_precision
from . import ladder
from .deployment import RECORD, SCHEMA, Deployment
from .int8 import RECORD as QUANTIZED
from .int8 import accuracy_as_run, calibration_images, note_quantized, quantify
from .int8_request import Request
from .ladder import BEYOND, DENSE, INT8, LOSSY, PRUNED, REFERENCE, Row, Rung
from .latency_target import resolved

TEXT = "deploy.md"
FLOAT = "float.json"  # of a network that could not be quantized
RUN = "prune"  # the folder of the pruning run
STAGES = (DENSE, RUN, PRUNED)
FEW = 2  # calibration images of candidates, whose time alone counts
Say = Callable[[str], None]


def deploy(
    state: Deployment, family: Family, prune: Callable[[Deployment], Path | None], say: Say = print
) -> Deployment:
    """Carry a deployment to its end, from wherever its folder says it stands.

    Args:
        state: its record.
        family: the upstream's adapter.
        prune: begins or goes on with the pruning run in its folder; the pruned checkpoint, None if no step was kept.
        say: receives each line for the console.

    Raises:
        PruneError: a stage could not be done.
    """
    weights = Path(state.weights)
    dense = _stage(state, family, weights, DENSE, say)
    rungs = _rungs(state, DENSE, dense)
    shape = tuple(family.example(family.load(weights)).shape)
    state.image = shape[-1]
    if not state.way:
        placement = dense.get("int8", {}).get("placement") or ""
        _settle(state, family, rungs, shape, placement, say)
        state.save()
    if state.said:
        say(state.said)
    pruned = prune(state) if state.way == "prune" else None
    if pruned is not None:
        record = _stage(state, family, pruned, PRUNED, say)
        rungs += _rungs(state, PRUNED, record)
        if "int8" in record:
            note_quantized(pruned, state.folder / PRUNED, record)
    _finish(state, rungs, shape, say)
    return state


def require_met(state: Deployment) -> None:
    """LessAccurate or Unreachable if a finished deployment is not what was asked for; its files are there."""
    row = state.row()
    got = f"{state.folder / state.chosen['file']} ({row['name']}) takes {1 / row['ratio']:.3f} of the dense time"
    if state.status == LOSSY:
        raise LessAccurate(
            f"what is fast enough loses more than --max-map-drop {state.request.max_map_drop}: {got}, the fastest "
            "within it. Give --epochs, --steps, or a larger --max-map-drop."
        )
    if state.status == BEYOND:
        why = state.said or f"--target-latency {state.settings.target_latency} was not reached"
        raise Unreachable(f"{why} {got}, the fastest within --max-map-drop {state.request.max_map_drop}.")


def _stage(state: Deployment, family: Family, weights: Path, name: str, say: Say) -> dict[str, Any]:
    """Both files of a network, validated, in a folder of their own, unless they are there; its record."""
    folder = state.folder / name
    for done in (folder / QUANTIZED, folder / FLOAT):
        if done.is_file():
            return dict(json.loads(done.read_text(encoding="utf-8")))
    bits = ", weights of 7 bits: this CPU has no VNNI" if state.request.seven_bits else ""
    say(f"Exporting and quantizing the {name} network{bits}")
    try:
        return quantify(family, weights, fresh(folder), state.request, say)
    except PruneError as error:
        say(f"No INT8 file of the {name} network: {error}")
    return _float_alone(family, weights, folder, state.request)


def _float_alone(family: Family, weights: Path, folder: Path, request: Request) -> dict[str, Any]:
    """The float file alone, of a network that cannot be quantized."""
    target = folder / f"{weights.stem}_float.onnx"
    write_whole(target, lambda scratch: family.export(weights, scratch))
    check_onnx(target, family, weights, family.example(family.load(weights)).shape[-1])
    found = family.evaluate_onnx(target)
    side = {"bytes": target.stat().st_size, "map50": found.map50, "map50_95": found.map50_95}
    record = {
        "schema": SCHEMA,
        "measures": list(found.labels),
        "float": {"file": target.name, **side},
        **accuracy_as_run(family, target, request),
    }
    write_json(folder / FLOAT, record)
    return record


def _rungs(state: Deployment, name: str, record: dict[str, Any]) -> list[Rung]:
    """The files of a stage; of the dense network for another runtime, its float file in ONNX Runtime, too."""
    state.measures = list(record["measures"])
    forms = {name: "float", f"{name}{INT8}": "int8"}
    found = [_rung(state, label, record[form], name) for label, form in forms.items() if form in record]
    exact, as_run = found[0], record.get("float_as_run", {})
    found[0] = replace(exact, **as_run)
    if name == DENSE and state.request.runtime != "onnxruntime":
        found.append(replace(exact, name=REFERENCE, runtime="onnxruntime"))
    return found


def _rung(state: Deployment, label: str, side: dict[str, Any], name: str) -> Rung:
    file = state.folder / name / side["file"]
    return Rung(label, file, side["bytes"], side["map50"], side["map50_95"], state.request.runtime)


def _settle(
    state: Deployment, family: Family, rungs: list[Rung], shape: tuple[int, ...], placement: str, say: Say
) -> None:
    """Decide what is pruned: --target-latency is a share of the final file's time, INT8 or not.

    The INT8 form of candidates counts only where that of the dense network is accurate enough, and faster than float;
    their INT8 layers are placed as the dense network's are (`placement`).
    """
    state.way, target = "prune", state.settings.target_latency
    if target is None:
        return
    rows = {row["name"]: row for row in _timed(state, rungs, shape)}
    small = rows.get(f"{DENSE}{INT8}", {"within": False, "ratio": 0})
    helps = small["within"] and small["ratio"] > 1
    if helps and 1 / small["low"] <= target:  # for sure: nothing is pruned then
        state.way = "enough"
        state.said = f"Not pruned: INT8 alone takes {1 / small['ratio']:.3f} of the dense time, the target is {target}."
        return
    finish, asked = None, state.request
    if helps:
        finish = _int8_of(asked, calibration_images(family, Path(state.weights), FEW), placement)
    try:
        state.settings, state.latency = resolved(
            family, Path(state.weights), state.settings, asked.runtime, say, threads=asked.threads, finish=finish
        )
    except Unreachable as error:
        state.way, state.said = "beyond", str(error)


def _int8_of(request: Request, images: list[Tensor], placement: str) -> Callable[[Path], Path]:
    """How a candidate's ONNX file becomes INT8: on few images, for its accuracy does not count."""

    def finish(path: Path) -> Path:
        small = path.with_name(f"{path.stem}_int8.onnx")
        if request.runtime == "openvino":
            folder = fresh(path.with_name(f"{path.stem}_int8{OPENVINO}"))
            quantize_openvino(path, folder, images, seven_bits=request.seven_bits)
            return folder
        quantize(path, small, images, method=request.method, seven_bits=request.seven_bits, left=_left(path, placement))
        return small

    return finish


def _left(path: Path, placement: str) -> list[str]:
    """The nodes of an ONNX file that a placement leaves in float beside the decoding."""
    import onnx

    graph = onnx.load(str(path)).graph
    name_nodes(graph)
    return placements(graph).get(placement, [])


def _timed(state: Deployment, rungs: list[Rung], shape: tuple[int, ...]) -> list[Row]:
    return ladder.rows_of(rungs, shape, state.request.threads, state.request.max_map_drop, state.folder)


def _finish(state: Deployment, rungs: list[Rung], shape: tuple[int, ...], say: Say) -> None:
    """Time the ladder, copy the chosen file, write the record and its text."""
    state.ladder = _timed(state, rungs, shape)
    best, state.status = ladder.chosen(state.ladder, state.settings.target_latency)
    target = _copied(state.folder / best["file"], state.folder)
    state.chosen = {"name": best["name"], "file": target.name}
    text = ladder.table(state.ladder, state.measures)
    request, precision = state.request, own_precision(state.request.runtime)
    seen = (
        f"Measured in {request.runtime}{f' ({precision})' if precision else ''}, {state.image} px, {request.threads} "
        f"thread(s), all in turns on one image; accuracies are the files' own. Chosen: {best['name']}, the fastest "
        f"within --max-map-drop {request.max_map_drop}: {target.name}"
    )
    write_text(state.folder / TEXT, f"# Deployment of {Path(state.weights).name}\n\n{text}\n\n{seen}\n")
    state.save()
    say(f"{text}\n{seen}\nFiles: {target}, {state.folder / RECORD}, {state.folder / TEXT}")


def _copied(source: Path, folder: Path) -> Path:
    """The chosen file under a name of its own, whole; an earlier choice of the other kind goes."""
    names = (folder / "deployed.onnx", folder / f"deployed{OPENVINO}")
    target, other = reversed(names) if source.is_dir() else names
    copy_exported(source, target)
    fresh(other) if other.is_dir() else other.unlink(missing_ok=True)
    return target
