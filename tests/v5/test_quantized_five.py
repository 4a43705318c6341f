# SPDX-License-Identifier: AGPL-3.0-or-later
"""quantify.py and deploy.py in the YOLOv5 fork: line, files, record. Accuracy of a trained one: docs/quantify.md."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import schemas
from home_five import Home

pytestmark = [pytest.mark.upstream, pytest.mark.slow]


@pytest.fixture(scope="module")
def ready(fork5: Path, copy5: Callable[[Path], Home], nets5: Path, tiny5: dict[str, Path]) -> Home:
    """A fork with an untrained network of ten classes as best.pt and the tiny set as VOC.yaml, for all lines."""
    home = copy5(fork5)
    shutil.copy(tiny5["detect"], home.root / "VOC.yaml")
    shutil.copy(nets5 / "dense.pt", home.root / "best.pt")
    return home


def test_quantify_line5(ready: Home) -> None:
    """Opset 17 (12, upstream's default inside Python, has no INT8 per channel), a third of the size, outputs finite."""
    onnx = pytest.importorskip("onnx")
    words = "quantify.py --weight best.pt --method static --data VOC.yaml --img 64 --workers 0 --calibration_images 4"
    words += " --placement all"
    said = ready.python(*words.split())
    folder = ready.root / "runs/quantify/exp"
    record = json.loads((folder / "quantify.json").read_text())
    schemas.check("quantify", record)
    assert record["family"] == "yolov5" and record["images"] == 4 and record["image"] == 64
    assert record["size_ratio"] < 0.35 and record["int8"]["float_layers"] == 0 and record["onnx_max_error"] < 1e-3
    assert sorted(path.name for path in folder.iterdir()) == ["best_float.onnx", "best_int8.onnx", "quantify.json"]
    assert f"INT8 beside float: {record['size_ratio']:.3f} of the size" in said
    made = onnx.load(str(folder / "best_int8.onnx"))
    assert next(entry.version for entry in made.opset_import if entry.domain == "") == 17
    assert {"names", "stride"} <= {entry.key for entry in made.metadata_props}, "what upstream's validator reads"


def test_quantify_for_openvino5(ready: Home) -> None:
    """Upstream's own validation takes the folder that NNCF's network is written to: it finds names and stride."""
    pytest.importorskip("openvino")
    pytest.importorskip("nncf")
    words = (
        "quantify.py --weight best.pt --runtime openvino --data VOC.yaml --img 64 --workers 0 --calibration_images 4"
    )
    ready.python(*words.split(), "--name", "ov", "--max-map-drop", "1")  # it has learned next to nothing
    folder = ready.root / "runs/quantify/ov"
    record = json.loads((folder / "quantify.json").read_text())
    assert record["runtime"] == "openvino" and record["int8"]["file"] == "best_int8_openvino_model"
    assert record["int8"]["layers"] == 19 and record["int8"]["float_layers"] == 0
    files = {path.name for path in (folder / "best_int8_openvino_model").iterdir()}
    assert files == {"best_int8.xml", "best_int8.bin", "best_int8.yaml", "metadata.yaml"}


def test_deploy_line5(ready: Home) -> None:
    """Four files on one ladder; the chosen one is a copy of its file."""
    words = "--target-macs 0.7 --max_map_drop 1 --repair 4 --calibration-images 4 --img 64 --workers 0"
    ready.python(*"deploy.py --weights best.pt --data VOC.yaml".split(), *words.split())
    folder = ready.root / "runs/deploy/exp"
    record = json.loads((folder / "deploy.json").read_text())
    rows = {row["name"]: row for row in record["ladder"]}
    assert list(rows) == ["dense", "dense + INT8", "pruned", "pruned + INT8"] and record["status"] == "done"
    assert rows["pruned + INT8"]["bytes"] < 0.4 * rows["pruned"]["bytes"] < 0.4 * rows["dense"]["bytes"]
    chosen = folder / rows[record["chosen"]["name"]]["file"]
    assert (folder / "deployed.onnx").read_bytes() == chosen.read_bytes()
