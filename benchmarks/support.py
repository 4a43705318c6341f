# SPDX-License-Identifier: AGPL-3.0-or-later
"""Which networks can be pruned? Every model YAML that an upstream ships (its smallest scale), one row each.

    prunekit setup v8 forks/v8
    python benchmarks/support.py forks/v8 --json v8.json          # v5 and v7 likewise; --only PATTERN for some
    python benchmarks/support.py forks/v7 --json v7.json --rest "too large for this machine"    # rows that are lacking
    python benchmarks/support.py --write docs/support.md v8.json v5.json v7.json

Each network gets random weights, is proved (pruned equals masked, module by module, float64), and is then pruned four
times to half of its channels: local and global, multiples of 16 and of 1. Each time the pruned network is rebuilt from
its own `model.yaml`, loaded strictly, and must give the same outputs. `error` is the proof's largest difference, and
`rebuilt` the largest of the four. The last of them (global, 1) is saved, opened by an unpatched upstream (the fork's
first commit), and exported to ONNX; its multiply-adds, and the dense network's, are held against torch's own counter
(support_checks.py). No data, no training; small images.
"""

from __future__ import annotations

import argparse
import copy
import fnmatch
import json
import os
import re
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from support_checks import Stock, flops, further, products
from support_page import SETTINGS, table

SIZES = {"v8": r"yolov10[smblx]$", "v5": r"(yolov5[smlx]6?(-seg)?|anchors)$", "v7": r"$^"}


def seam(fork: Path) -> SimpleNamespace:
    """What this benchmark needs of a fork: its YAMLs, how to build one, how to prune it."""
    sys.path.insert(0, str(fork.resolve()))
    os.chdir(fork)
    if (fork / "ultralytics" / "prunekit").is_dir():
        return _ultralytics(fork)
    return _yolov5(fork) if (fork / "prunekit_v5").is_dir() else _yolov7(fork)


def _ultralytics(fork: Path) -> SimpleNamespace:
    from ultralytics.nn import tasks
    from ultralytics.prunekit import blocks, structure

    kinds = {"-seg": "SegmentationModel", "-pose": "PoseModel", "-obb": "OBBModel", "-cls": "ClassificationModel"}

    def build(file: Path) -> Any:
        text = file.read_text(encoding="utf-8")
        if "RTDETR" in text or "World" in text or "YOLOE" in text:
            head = re.search(r"RTDETRDecoder|WorldDetect|YOLOEDetect|YOLOESegment\w*", text)
            named = {"W": "WorldDetect", "Y": "YOLOEDetect", "R": "RTDETRDecoder"}[head[0][0] if head else "R"]
            blocks.refuse_unknown(type(named, (__import__("torch").nn.Module,), {})(), file.name)
        kind = next((kind for part, kind in kinds.items() if part in file.name), "DetectionModel")
        scaled = "scales:" in text and file.stem != "yolov10n"
        name = re.sub(r"^(yolov?\d+)", r"\1n", file.stem) if scaled else file.stem
        return getattr(tasks, kind)(f"{name}.yaml", verbose=False)

    def rebuilt(model: Any) -> Any:
        model.yaml = structure.close_structure(model)
        return structure.rebuild(model)

    files = sorted((fork / "ultralytics" / "cfg" / "models").rglob("*.yaml"))
    return SimpleNamespace(
        kind="v8",
        files=files,
        build=build,
        rules=blocks.RULES,
        ignored=blocks.ignored_layers,
        tracing=blocks.tracing,
        rebuilt=rebuilt,
        engine="ultralytics.pruning",
    )


def _yolov5(fork: Path) -> SimpleNamespace:
    from models import common, yolo
    from prunekit_v5 import structure
    from prunekit_v5.adapter import Yolov5, ignored_layers
    from torch import nn

    def build(file: Path) -> Any:
        common.Conv.default_act = nn.SiLU()
        kind = yolo.SegmentationModel if "-seg" in file.name else yolo.DetectionModel
        return kind(str(file), ch=3)

    def rebuilt(model: Any) -> Any:
        model.yaml = structure.close_structure(model)
        again = type(model)(copy.deepcopy(model.yaml))
        again.load_state_dict(model.float().state_dict())
        return again

    return SimpleNamespace(
        kind="v5",
        files=sorted((fork / "models").rglob("*.yaml")),
        build=build,
        rules=(),
        ignored=ignored_layers,
        tracing=Yolov5().tracing,
        rebuilt=rebuilt,
        engine="pruning",
    )


def _yolov7(fork: Path) -> SimpleNamespace:
    from models.yolo import Model
    from prunekit_v7 import network, structure
    from prunekit_v7.quiet import quiet

    def build(file: Path) -> Any:
        with quiet():
            model = Model(str(file), ch=3)
        network.refuse_unknown(model, file.name)
        return model

    def rebuilt(model: Any) -> Any:
        structure.sync_attributes(model)
        model.yaml = structure.close_structure(model)
        with quiet():
            again = Model(copy.deepcopy(model.yaml))
        again.load_state_dict(model.float().state_dict())
        return again

    return SimpleNamespace(
        kind="v7",
        files=sorted((fork / "cfg").rglob("*.yaml")),
        build=build,
        rules=(),
        ignored=network.ignored_layers,
        tracing=network.tracing,
        rebuilt=rebuilt,
        engine="pruning",
    )


def row(here: SimpleNamespace, file: Path, before: dict[str, Any] | None = None) -> dict[str, Any]:
    """One network's row; a refusal in words is a result, anything else that is raised is written down as it is.

    Args:
        before: a row without the last columns: they are added if the last pruning comes out as it did then.
    """
    from importlib import import_module

    errors = import_module(f"{here.engine}.errors")
    started, found = time.process_time(), {"upstream": here.kind, "yaml": file.name, "folder": file.parent.name}
    part = lambda name: import_module(f"{here.engine}.{name}")  # noqa: E731
    try:
        if before and "error" in before:
            again = _pruned(here, here.build(file), part, proved=False)
            same = (again["groups"], again["kept"]) == (before["groups"], before["kept"])
            if same and again["macs_left"].items() <= before["macs_left"].items():
                return {**again, **before, "seconds": before["seconds"]}
        found.update(_pruned(here, here.build(file), part))
    except errors.PruneError as error:
        found["refused"] = str(error).replace(str(file.parent) + os.sep, "")
    except OSError as error:
        found["failed"] = f"not built: upstream would download weights for it ({type(error).__name__})"
    except Exception as error:  # noqa: BLE001 - the matrix says what is missing
        traceback.print_exc()
        found["failed"] = f"{type(error).__name__}: {error}"[:200]
    return {**found, "seconds": round(time.process_time() - started, 1)}


def _pruned(here: SimpleNamespace, model: Any, part: Callable[[str], Any], proved: bool = True) -> dict[str, Any]:
    """The proof and the four prunings of a freshly built network; without the proof, the last pruning alone."""
    import torch

    surgery, proof = part("network.surgery"), part("planning.proof")
    draw = part("planning.draw")
    draw.randomise(model)
    surgery.split_blocks(model, here.rules)
    example = torch.zeros(1, 3, 64, 64)
    ignored = here.ignored(model)
    size = next(draw.images(copy.deepcopy(model).double(), example, here.tracing)).shape[-1]
    shown = proof.Proof(size=size)
    if proved:
        shown = proof.prove(model, example, tracing=here.tracing, ignored=ignored, rules=here.rules)
    small = torch.zeros(1, 3, size, size)
    figures: dict[str, Any] = {"error": shown.error, "compared": shown.tensors, "proof_s": round(shown.seconds, 2)}
    left, apart = {}, 0.0
    for scope, multiple in SETTINGS if proved else SETTINGS[-1:]:
        one = copy.deepcopy(model)
        with here.tracing(one):
            graph = part("network.graph").PruningGraph.build(
                one, small, ignored={**shown.kept, **ignored}, rules=here.rules, opaque=shown.opaque
            )
        scores = part("planning.scores").score_groups(graph, "lamp")
        plan = part("planning.plan").make_plan(graph, scores, scope=scope, ratio=0.5, round_to=multiple, floor=8)
        part("planning.apply").apply_plan(graph, plan, scores)
        surgery.merge_blocks(one, here.rules)
        if sum(p.numel() for p in one.parameters()) != plan.pruned.params:
            raise AssertionError(f"{scope} {multiple}: not the parameters that the plan says")
        left[f"{scope} {multiple}"] = round(plan.pruned.macs / plan.dense.macs, 4)
        apart = max(apart, _apart(here, one, small, part("planning.compare")))
    widths = {group.name: group.channels for group in graph.groups}
    counted = [products(graph, keep) - flops(each, small) for keep, each in ((widths, model), (plan.keep, one))]
    figures.update(counts=counted, **further(here, one, small, part, here.stock, here.scratch))
    frozen = {name: why for name, why in graph.frozen.items() if not why.startswith(("output", "DFL"))}
    return {
        **figures,
        "rebuilt": apart,
        "macs_left": left,
        "params": plan.dense.params,
        "groups": len(graph.groups),
        "kept": dict(Counter(re.sub(r"model\.[\w.]+", "a layer", why.partition(" (")[0]) for why in frozen.values())),
    }


def _apart(here: SimpleNamespace, model: Any, small: Any, compare: Any) -> float:
    """How far a network that was rebuilt from the pruned one's YAML, and loaded strictly, is from it."""
    import torch

    again = here.rebuilt(model).eval()
    image = torch.randn(small.shape, generator=torch.Generator().manual_seed(0))
    with here.tracing(model), here.tracing(again), torch.no_grad():
        outputs = [compare._floats(each.float()(image)) for each in (model, again)]
    return max(compare.difference(b, a) for a, b in zip(*outputs, strict=True))


def rest(fork: Path, done: list[dict[str, Any]], reason: str) -> list[dict[str, Any]]:
    """A row with words for each YAML of a fork that `done` lacks."""
    here, known = seam(fork), {(each["folder"], each["yaml"]) for each in done}
    lacking = [file for file in here.files if (file.parent.name, file.name) not in known]
    return [
        {"upstream": here.kind, "yaml": file.name, "folder": file.parent.name, "failed": f"not run: {reason}"}
        for file in lacking
        if not re.match(SIZES[here.kind], file.stem)
    ]


def rows(fork: Path, only: str, done: list[dict[str, Any]], scratch: Path) -> Iterator[dict[str, Any]]:
    """The rows of a fork that are not in `done`, as they come."""
    here = seam(fork)
    here.stock, here.scratch = Stock(here.kind, fork, scratch / "stock"), scratch
    known = {(each["folder"], each["yaml"]): each for each in done}
    for file in here.files:
        skip = re.match(SIZES[here.kind], file.stem) or not fnmatch.fnmatch(file.name, only)
        before = known.get((file.parent.name, file.name), {})
        if not skip and not {"onnx", "refused"} & before.keys():  # what --rest said of it is measured, too
            yield row(here, file, before)


def main() -> None:
    """Measure a fork, or write the page from what was measured."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("paths", nargs="+", type=Path, help="a fork; with --write, JSON files")
    parser.add_argument("--json", type=Path, help="write the rows here, after each; what is there is not done again")
    parser.add_argument("--only", default="*", help="YAML names like this")
    parser.add_argument("--rest", metavar="REASON", help="measure nothing: say this of each network without a row")
    parser.add_argument("--write", type=Path, metavar="PAGE", help="write the page, and PAGE with .json beside it")
    options = parser.parse_args()
    if options.write:
        found = [each for path in options.paths for each in json.loads(path.read_text(encoding="utf-8"))]
        options.write.write_text(table(found), encoding="utf-8")
        options.write.with_suffix(".json").write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
        return
    target = options.json.resolve() if options.json else None
    found = json.loads(target.read_text(encoding="utf-8")) if target and target.is_file() else []
    with tempfile.TemporaryDirectory() as scratch:
        os.environ.update(YOLO_CONFIG_DIR=scratch, YOLO_AUTOINSTALL="false", YOLO_OFFLINE="true", YOLO_VERBOSE="false")
        if options.rest and target:
            found += rest(options.paths[0].resolve(), found, options.rest)
            target.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
            return
        for each in rows(options.paths[0].resolve(), options.only, found, Path(scratch)):
            found = [row for row in found if (row["folder"], row["yaml"]) != (each["folder"], each["yaml"])] + [each]
            print(json.dumps(each), flush=True)
            if target:
                target.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
