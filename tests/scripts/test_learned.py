# SPDX-License-Identifier: AGPL-3.0-or-later
"""quantify.py, deploy.py and slimming in the fork of ultralytics, on a network that has learned digits as one class."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from runfiles import THRESHOLD
from workshop import Workshop

pytestmark = [pytest.mark.upstream, pytest.mark.slow]
LEARN = (
    "single_cls=True optimizer=SGD lr0=0.03 momentum=0.9 warmup_epochs=0 mosaic=0 scale=0.3 fliplr=0 erasing=0 hsv_h=0 "
    "hsv_s=0 hsv_v=0 workers=0 plots=False nbs=8 batch=8 imgsz=64 device=cpu data=digits/data.yaml "
    "exist_ok=True"
).split()
TRAIN = "import sys; from ultralytics.cfg import entrypoint; entrypoint()"
VAL = ["--single-cls", "--workers", "0", "--device", "cpu"]

BAD = {
    "--weights gone.pt": "gone.pt: no such file",
    "--method static": "no network given",
    "--weights runs/half/pruned_int8.onnx": "an exported network (it may be INT8 already)",
    "--weights runs/half/pruned.pt --runtime openvino --method dynamic": "--method dynamic",
    "--weights runs/half/pruned.pt --max-map-drop 2": "--max-map-drop 2.0",
    "--weights runs/half/pruned.pt --calibration-images 0": "--calibration-images 0",
    "--weights runs/half/pruned.pt --data nowhere.yaml": "nowhere.yaml",
    "--weights runs/half/pruned.pt --data digits/data.yaml single_cls=False": "has 1 class, ",
}
DRIVER = """
import contextlib, io, json, os, runpy, sys
said = []
for line in json.loads(sys.argv[1]):
    heard, sys.argv = io.StringIO(), ["quantify.py", *line.split()]
    with contextlib.redirect_stderr(heard):
        try:
            runpy.run_path(os.path.abspath("quantify.py"), run_name="__main__")
        except SystemExit as end:
            said.append([end.code, heard.getvalue()])
print("ANSWERS" + json.dumps(said))
"""

KEEPS = (0.8, 0.5, 0.2)
LOSS = 0.005  # of mAP50, that issue 15 allows
PRUNE = "prune_one_shot.py --importance bn_scale --scope global --round-to 1 --no-export --repair 0 epochs=0"
STAYS = re.compile(r"(\d+) \((?:coupled|floor|in layers)")

# Validates a network as it is, then with all scales under each threshold at zero: one mAP50 each.
ZEROED = """
import json, sys, torch
from ultralytics import YOLO
weights, data, *thresholds = sys.argv[1:]
found = []
for threshold in [-1.0, *map(float, thresholds)]:
    yolo = YOLO(weights)
    norms = [m for m in yolo.model.modules() if isinstance(m, torch.nn.BatchNorm2d)]
    with torch.no_grad():
        gone = sum(int(norm.weight.abs().lt(threshold).sum()) for norm in norms)
        for norm in norms:
            norm.weight[norm.weight.abs() < threshold] = 0
    options = {"imgsz": 64, "single_cls": True, "workers": 0, "device": "cpu", "plots": False}
    found.append([gone, float(yolo.val(data=data, **options).box.map50)])
print("ANSWERS" + json.dumps(found))
"""


@pytest.fixture(scope="module")
def learned(fork: Path, copy8: Callable[[Path], Workshop]) -> Workshop:
    """A fork with a trained yolov8n (runs/dense) and the same at half its channels (runs/half, a pruning run)."""
    from prunekit.demo.digits import build

    made = copy8(fork)
    root = made.root
    build(root / "digits", train=96, val=48, imgsz=64, seed=0)
    words = [*LEARN, f"project={root / 'runs'}"]  # upstream puts a relative one elsewhere
    made.python("-c", TRAIN, "detect", "train", "model=yolov8n.yaml", "epochs=14", "name=dense", *words)
    made.python(
        "prune_one_shot.py",
        "--weights",
        "runs/dense/weights/best.pt",
        "--no-export",
        "--prune-ratio",
        "0.5",
        "epochs=6",
        "name=half",
        *words,
    )
    return made


@pytest.mark.parametrize(
    ("weights", "placement"), [("runs/dense/weights/best.pt", "measured"), ("runs/half/pruned.pt", "all")]
)
def test_static_loses_next_to_nothing(learned: Workshop, weights: str, placement: str) -> None:
    """mAP50 within 0.01 of float, under 0.35 of its size (half, should the clock want the narrow layers in float); the
    published line, data and size from the checkpoint."""
    line = f"quantify.py --weight {weights} --method static --name static --exist-ok"
    line += " --placement all" if placement == "all" else ""
    said = learned.python(*line.split(), *VAL)
    folder = learned.root / "runs/detect/static"
    record = json.loads((folder / "quantify.json").read_text())
    full, small = record["float"], record["int8"]
    assert full["map50"] > 0.6, "the network has learned"
    assert full["map50"] - small["map50"] < 0.01 and record["status"] == "done"
    assert record["size_ratio"] < (0.35 if small["placement"] == "all" else 0.5)
    assert (
        bool(record["placements"]) == (placement == "measured")
        and small["bytes"] == (folder / small["file"]).stat().st_size
    )
    assert record["image"] == 64 and record["images"] == 96 and record["onnx_max_error"] < 1e-3
    speed = record["speed"]
    assert speed["low"] <= speed["ratio"] <= speed["high"] and speed["rounds"] >= 6 and small["seconds"] > 0
    assert f"INT8 beside float: {record['size_ratio']:.3f} of the size" in said
    noted = (learned.root / "runs/half/report.md").read_text()
    assert ("INT8 (static): `" in noted) == weights.startswith("runs/half")


def test_openvino_loses_next_to_nothing(learned: Workshop) -> None:
    """The folder itself is validated by upstream and timed; the report of the pruning run names it."""
    pytest.importorskip("openvino")
    pytest.importorskip("nncf")
    line = "quantify.py --weights runs/half/pruned.pt --runtime openvino --calibration-images 16 --name ov"
    learned.python(*line.split(), *VAL)
    folder = learned.root / "runs/detect/ov"
    record = json.loads((folder / "quantify.json").read_text())
    small = folder / record["int8"]["file"]
    assert small.name == "pruned_int8_openvino_model" and (small / "metadata.yaml").is_file()
    assert record["float"]["map50"] > 0.6 and record["float"]["map50"] - record["int8"]["map50"] < 0.02
    assert list(record["speeds"]) == ["onnxruntime float", "openvino float", "openvino int8"]
    assert record["speeds"]["openvino int8"]["ratio"] == record["speed"]["ratio"]
    assert record["pays"] == (record["fastest"] == "openvino int8") and record["int8"]["float_layers"] == 0
    assert "INT8 (static): `" in (learned.root / "runs/half/report.md").read_text()


def test_a_drop_beyond_the_limit_is_its_own_exit_code(learned: Workshop) -> None:
    """7 bits, dynamic, one scale a layer and no drop allowed: everything is written, the code is 5."""
    words = ["--weights", "runs/half/pruned.pt", "--method", "dynamic", "--max_map_drop", "0", "--name", "strict"]
    process = learned.start("quantify.py", *words, "--seven-bits", *VAL)
    said, _ = process.communicate(timeout=900)
    record = json.loads((learned.root / "runs/detect/strict/quantify.json").read_text())
    fell = record["float"]["map50_95"] - record["int8"]["map50_95"]
    assert record["drop"] == pytest.approx(fell) and record["method"] == "dynamic"
    assert process.returncode == (5 if fell > 0 else 0), said[-2000:]
    assert record["status"] == ("less accurate" if fell > 0 else "done")
    assert (learned.root / "runs/detect/strict/pruned_int8.onnx").is_file()
    assert ("is there, but less accurate than allowed" in said) == (fell > 0)


def test_deploy_is_one_command(learned: Workshop) -> None:
    """Four files on one ladder, the chosen one is what was measured; --resume of what is finished says so."""
    words = "--target-macs 0.3 --repair 16 --calibration-images 16 --max-map-drop 1 --project runs --name deployed"
    line = ["deploy.py", "--weights", "runs/dense/weights/best.pt", *words.split(), *VAL]
    said = learned.python(*line)
    folder = learned.root / "runs/deployed"
    record = json.loads((folder / "deploy.json").read_text())
    rows = {row["name"]: row for row in record["ladder"]}
    assert list(rows) == ["dense", "dense + INT8", "pruned", "pruned + INT8"] and record["status"] == "done"
    assert rows["dense"]["map50"] > 0.6 and abs(rows["dense + INT8"]["drop"]) < 0.02, "of the files themselves"
    assert rows["pruned"]["drop"] > 0 and rows["pruned"]["bytes"] < 0.9 * rows["dense"]["bytes"]
    report = json.loads((folder / "prune/report.json").read_text())
    assert report["steps"][0]["repair"]["images"] == 16 and report["steps"][0]["checkpoint"] == "step1_pruned.pt"
    chosen = folder / rows[record["chosen"]["name"]]["file"]
    assert (folder / "deployed.onnx").read_bytes() == chosen.read_bytes()
    assert "fpgm and reconstruction error are both tried" in said, "nothing is trained"
    assert (folder / "deploy.md").read_text().count("\n| ") == 5 and "| pruned + INT8 |" in said
    assert "this deployment is finished (done)" in learned.python("deploy.py", "--resume", "runs/deployed")


def test_bad_input_is_one_line(learned: Workshop) -> None:
    """One process goes through all of it: most of a script's time is importing torch."""
    before = sorted(str(path) for path in learned.root.rglob("*") if "__pycache__" not in str(path))
    said = json.loads(learned.python("-c", DRIVER, json.dumps(list(BAD))).rpartition("ANSWERS")[2].splitlines()[0])
    for (words, reason), (code, text) in zip(BAD.items(), said, strict=True):
        errors = [line for line in text.splitlines() if line.startswith("error: ")]
        assert code == 2 and len(errors) == 1 and reason in errors[0], (words, text)
    assert sorted(str(path) for path in learned.root.rglob("*") if "__pycache__" not in str(path)) == before


@pytest.fixture(scope="module")
def sparse(learned: Workshop) -> str:
    """The network after sparsity training (runs/sparse): last.pt, in which most scales are next to zero."""
    words = ("epochs=20", "name=sparse", *LEARN, f"project={learned.root / 'runs'}")
    learned.python("train_sparse.py", "--weights", "runs/dense/weights/best.pt", "--sparsity", "0.07", *words)
    return "runs/sparse/weights/last.pt"


def _pruned(shop: Workshop, weights: str, *keeps: float) -> list[tuple[tuple[str, ...], str, dict[str, float]]]:
    """Of each share: what pruning says of its threshold; its whole account; accuracy before and after, and parameters
    left."""
    words = (*LEARN, f"project={shop.root / 'runs'}")
    lines = [(*PRUNE.split(), "--weights", weights, "--keep", str(keep), f"name=slim{keep}", *words) for keep in keeps]
    found = []
    for keep, (code, said) in zip(keeps, shop.lines(*lines, bare=True), strict=True):
        assert code == 0, said[-3000:]
        report = shop.report(f"runs/slim{keep}")
        (step,) = report["steps"]
        assert step["map50"] == step["pruned_map50"], "nothing was trained"
        figures = {"before": report["dense"]["map50"], "after": step["map50"]}
        line = next(line for line in said.splitlines() if THRESHOLD.search(line))
        groups = THRESHOLD.search(line).groups()
        found.append((groups, line, {**figures, "left": step["params"] / report["dense"]["params"]}))
    return found


def test_what_inspection_promises_is_pruned_without_a_loss(learned: Workshop, sparse: str) -> None:
    """At 0.8, 0.5 and 0.2: the threshold of inspect_bn.py, all that is under it gone or accounted for, mAP50 kept."""
    thresholds, left, unpruned = [], [], set()
    inspect = [
        ("inspect_bn.py", "--weights", sparse, "--keep", str(keep), "--round-to", "1", "--json") for keep in KEEPS
    ]
    inspected = [said for _, said in learned.lines(*inspect)]
    for keep, said, (found, line, figures) in zip(KEEPS, inspected, _pruned(learned, sparse, *KEEPS), strict=True):
        report = json.JSONDecoder().raw_decode(said[said.index("{\n") :])[0]
        promised = THRESHOLD.search(" ".join(report["pruning"]["notes"])).groups()
        assert found == promised
        below, channels, gone = (int(number) for number in found[1:])
        assert gone + sum(int(number) for number in STAYS.findall(line)) == below, line
        assert below <= channels * (1 - keep) + 1 and gone > 0.8 * below, line
        assert abs(figures["after"] - figures["before"]) <= LOSS, (keep, figures)
        thresholds.append(report["threshold"])
        left.append(figures["left"])
        unpruned.add(figures["before"])
    (before,) = unpruned
    assert before > 0.9, "the sparse network has learned"
    assert left[0] < 0.75 and left[1] < 0.4 and left[2] < 0.12
    said = learned.python("-c", ZEROED, sparse, "digits/data.yaml", *map(str, thresholds))
    (none, whole), *zeroed = json.loads(said.rpartition("ANSWERS")[2].splitlines()[0])
    assert none == 0 and whole == pytest.approx(before, abs=1e-6)
    for keep, (gone, accuracy) in zip(KEEPS, zeroed, strict=True):
        assert gone > 0.85 * (1 - keep) * channels and abs(accuracy - whole) <= LOSS, (keep, gone, accuracy)


def test_without_sparsity_training_the_same_line_costs_what_was_learned(learned: Workshop) -> None:
    """The scales of a network that was trained as usual lie close together, and none can go: the figures can fall."""
    [(_, line, figures)] = _pruned(learned, "runs/dense/weights/best.pt", KEEPS[0])
    assert figures["before"] > 0.9 and figures["after"] < figures["before"] - 0.3, (line, figures)
