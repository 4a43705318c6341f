# SPDX-License-Identifier: AGPL-3.0-or-later
"""The scripts as a user types them: whole runs on tiny data, and what they leave behind."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import yaml
from runfiles import FILES
from workshop import Workshop

pytestmark = [pytest.mark.upstream, pytest.mark.slow]
QUICK = ("--imgsz", "64", "--batch", "8", "--epochs", "1", "--device", "cpu", "--workers", "0", "--plots", "False")

# Rebuilds a network from its YAML in the fork, loads the checkpoint strictly and compares outputs.
REBUILD = """
import sys, torch
from ultralytics import YOLO
yaml_file, weights = sys.argv[1:3]
built = YOLO(yaml_file).model.eval()
saved = YOLO(weights).model.float().eval()
built.load_state_dict(saved.state_dict(), strict=True)
x = torch.rand(1, 3, 64, 64)
def first(y):
    return first(y[0]) if isinstance(y, (tuple, list)) else y
print("difference", float((first(built(x)) - first(saved(x))).abs().max()))
"""

# Counts the nodes of an ONNX file's graph.
NODES = "import onnx, sys; print(*[len(onnx.load(f).graph.node) for f in sys.argv[1:]])"


def as_voc(workshop: Workshop, data: Path) -> None:
    """Put the tiny set into the fork under the name that the published lines use."""
    shutil.copy(data, workshop.root / "VOC.yaml")


@pytest.fixture
def ready(workshop: Workshop, tiny_set: Path) -> Workshop:
    """A fork with `best.pt` (an untrained yolov8n) and VOC.yaml."""
    as_voc(workshop, tiny_set)
    workshop.network("yolov8n.yaml", "best.pt")
    return workshop


def test_iterative_run_keeps_its_promises(ready: Workshop) -> None:
    words = ("prune.py", "--weights", "best.pt", "--data", "VOC.yaml", "--prune_ratio", "0.5", "--steps", "2")
    output = ready.python(*words, *QUICK, "--project", "VOC", "--name", "prune_yolo")
    assert "Before Pruning: MACs=" in output and "After pruning step 2: MACs=" in output
    report = ready.report("VOC/prune_yolo")
    assert report["status"] == "done" and report["schema"] == 1 and len(report["steps"]) == 2
    for row in (report["dense"], *report["steps"]):
        assert {"params", "macs", "map50", "map50_95", "seconds", "checkpoint"} <= row.keys()
    dense, first, second = (row["params"] for row in (report["dense"], *report["steps"]))
    assert dense > first > second
    run = ready.root / "VOC" / "prune_yolo"
    for name in FILES:
        assert (run / name).stat().st_size > 100, name
    assert report["final"]["onnx_max_error"] < 1e-3
    assert "difference 0.0" in ready.python("-c", REBUILD, "VOC/prune_yolo/pruned.yaml", "VOC/prune_yolo/pruned.pt")
    assert len((run / "results.csv").read_text().splitlines()) == 4
    assert not list(run.rglob(".prunekit-*")), "a scratch file was left"


def test_sparsity_first_and_no_more_onnx_nodes_than_dense(ready: Workshop) -> None:
    words = ("prune_one_shot.py", "--weights", "best.pt", "--data", "VOC.yaml", "--sparsity", "0.01")
    ready.python(*words, *QUICK, "--name", "once")
    run = ready.root / "runs/detect/once"
    folders = ("step0_sparse", "step1_finetune")
    sparse, tuned = (yaml.safe_load((run / name / "args.yaml").read_text()) for name in folders)
    assert sparse["sparsity"] == sparse["sparsity_beta"] == 0.01 and sparse["optimizer"] == "SGD"
    assert tuned["sparsity"] == tuned["sparsity_beta"] == 0.0, "the penalty must be off in fine-tuning"
    assert ready.report("runs/detect/once")["sparse"] == "step0_sparse/weights/last.pt"
    export = "from ultralytics import YOLO; YOLO('best.pt').export(format='onnx', imgsz=64, simplify=False)"
    ready.python("-c", export)
    dense, pruned = map(int, ready.python("-c", NODES, "best.onnx", "runs/detect/once/pruned.onnx").split())
    assert pruned <= dense


def test_published_v11_line(workshop: Workshop, tiny_set: Path) -> None:
    as_voc(workshop, tiny_set)
    workshop.network("yolo11s.yaml", "yolo11s.pt")
    config = {"data": "VOC.yaml", "epochs": 1, "imgsz": 64, "batch": 16, "device": "cpu", "workers": 0, "plots": False}
    (workshop.root / "custom_config.yaml").write_text(yaml.safe_dump(config))
    line = (
        "yolo11_pruning.py --model yolo11s.pt --cfg custom_config.yaml --iterative-steps 5 --target-prune-rate 0.3 "
        "--max-map-drop 0.15"
    )
    output = workshop.python(*line.split())
    assert "Before Pruning: MACs=" in output and "mAP=" in output
    for step in range(1, 6):
        assert f"After pruning iter {step}: MACs=" in output and "speed up=" in output
        for name in ("best", "last"):
            assert (workshop.root / f"runs/detect/step{step}_finetune/weights/{name}.pt").is_file()
    assert (workshop.root / "yolo11_pruning_perf_change.png").stat().st_size > 1000
    assert (workshop.root / "runs/detect/pruned.onnx").is_file()


def test_v11_defaults_are_the_published_ones(workshop: Workshop) -> None:
    """First step on yolo11n, 80 classes, 640 px: the published figures to the last digit."""
    workshop.network("yolo11n.yaml", "yolo11n.pt", classes=80)
    probe = """
import ultralytics.prunekit.main as main
seen = {}
main.command.carry = lambda opened, settings, **more: seen.update(settings=settings, family=opened.family)
main.Ultralytics.check_data = lambda self, weights: None
main.yolo11(["--imgsz", "640"])
from pathlib import Path
from ultralytics.pruning.run.loop import new_run
from ultralytics.pruning.run import step as prune_step
from ultralytics.pruning.planning.apply import apply_plan
from ultralytics.pruning.network.counts import count
family, settings = seen["family"], seen["settings"]
model, graph = prune_step.open_model(family, Path("yolo11n.pt"), settings)
dense = prune_step.dense_of(family, Path("yolo11n.pt"))
plan, scores = prune_step.plan_step(family, model, graph, settings, dense, 1)
apply_plan(graph, plan, scores)
cost = count(model, family.example(model))
said = settings.steps, settings.prune_ratio, settings.max_map_drop
print("figures", cost.params, int(cost.macs), dense.cost.macs / cost.macs, *said)
"""
    assert "figures 2374149 2944523600 1.1125151790259042 10 0.5 0.2" in workshop.python("-c", probe)


TASKS = [("segment", "-seg"), ("pose", "-pose"), ("obb", "-obb"), ("classify", "-cls")]


@pytest.mark.parametrize("task, suffix", TASKS)
def test_other_tasks(workshop: Workshop, tmp_path: Path, task: str, suffix: str) -> None:
    from prunekit.demo.digits import build

    data = build(tmp_path / "data", train=8, val=4, imgsz=64, seed=0, task=task)
    workshop.python("-c", MAKE_TASK, f"yolo11n{suffix}.yaml", "task.pt", str(data), task)
    said = workshop.python("prune_one_shot.py", "--model", "task.pt", f"data={data}", "--name", "t", *QUICK)
    report = workshop.report(f"runs/{task}/t")
    loose, strict = ("top-5", "top-1") if task == "classify" else ("mAP50", "mAP50-95")
    assert report["dense"]["measures"] == [loose, strict]
    assert f"{'mAP' if strict == 'mAP50-95' else strict}={report['dense']['map50_95']}" in said
    assert f"| {loose} | {strict} |" in (workshop.root / f"runs/{task}/t/report.md").read_text()
    assert report["steps"][0]["params"] < 0.8 * report["dense"]["params"]
    rebuilt = workshop.python("-c", REBUILD, f"runs/{task}/t/pruned.yaml", f"runs/{task}/t/pruned.pt")
    assert "difference 0.0" in rebuilt
    untrained = (f"data={data}", "--name", "u", *QUICK, "--epochs", "0", "--no-export")
    said = workshop.python("prune_one_shot.py", "--model", "task.pt", *untrained)
    report, first = workshop.report(f"runs/{task}/u"), report["steps"][0]
    assert report["settings"]["importance"] == "fpgm" and "Dense -> pruned: " in said
    assert report["steps"][0]["params"] == first["params"], "the criterion changes which channels go, not how many"
    assert report["steps"][0]["repair"]["after"] < report["steps"][0]["repair"]["before"]


# A network of a task, trained for one epoch so that its head fits the data (classes, key points).
MAKE_TASK = """
import sys
from ultralytics import YOLO
name, target, data, task = sys.argv[1:5]
import shutil
yolo = YOLO(name, task=task)
yolo.train(data=data, epochs=1, imgsz=64, batch=8, device="cpu", workers=0, plots=False, val=False)
shutil.copy(yolo.trainer.last, target)
"""


@pytest.mark.parametrize("yaml_name", ["yolo12n.yaml", "yolo26n.yaml"])
def test_other_generations(workshop: Workshop, tiny_set: Path, yaml_name: str) -> None:
    as_voc(workshop, tiny_set)
    workshop.network(yaml_name, "best.pt")
    workshop.python("prune_one_shot.py", "--weights", "best.pt", "--data", "VOC.yaml", "--name", "g", *QUICK)
    report = workshop.report("runs/detect/g")
    assert report["steps"][0]["params"] < 0.8 * report["dense"]["params"]
    assert "difference 0.0" in workshop.python("-c", REBUILD, "runs/detect/g/pruned.yaml", "runs/detect/g/pruned.pt")


@pytest.mark.parametrize("criterion", ["taylor", "hessian"])
def test_gradient_criteria_see_the_data(ready: Workshop, criterion: str) -> None:
    words = ("prune_one_shot.py", "--weights", "best.pt", "--data", "VOC.yaml", "--importance", criterion)
    ready.python(*words, *QUICK, "--name", "grad", "--no-export")
    assert ready.report("runs/detect/grad")["status"] == "done"


@pytest.mark.parametrize("target, key", [("--target-macs", "macs"), ("--target-params", "params")])
def test_targets_are_hit_within_one_percent(ready: Workshop, target: str, key: str) -> None:
    words = ("prune.py", "--weights", "best.pt", "--data", "VOC.yaml", target, "0.5", "--steps", "2")
    ready.python(*words, "--scope", "global", *QUICK, "--name", "hit", "--no-export")
    report = ready.report("runs/detect/hit")
    assert report["steps"][1][key] / report["dense"][key] == pytest.approx(0.5, rel=0.01)
    assert report["steps"][0][key] / report["dense"][key] == pytest.approx(0.5**0.5, rel=0.01)


def test_plan_can_be_edited_and_replayed(ready: Workshop) -> None:
    ready.python("prune_one_shot.py", "--weights", "best.pt", "--plan-only", "--name", "planned", "--imgsz", "64")
    file = ready.root / "runs/detect/planned/plan.yaml"
    plan = yaml.safe_load(file.read_text())
    entry = max(plan["groups"], key=lambda group: group["channels"])
    text = file.read_text().replace(f"name: {entry['name']}", f"name: {entry['name']}", 1)
    assert text == file.read_text() and not (ready.root / "runs/detect/planned/pruned.pt").exists()
    entry["keep"] = 24
    for other in plan["groups"]:
        if entry.get("tie") and other.get("tie") == entry["tie"]:
            other["keep"] = 24
    file.write_text(yaml.safe_dump(plan))
    words = ("prune_one_shot.py", "--weights", "best.pt", "--data", "VOC.yaml", "--plan", str(file))
    ready.python(*words, *QUICK, "--name", "replayed", "--no-export")
    widths = ready.report("runs/detect/replayed")["steps"][0]["widths"]
    assert widths[entry["name"]] == 24


def test_accuracy_limit_keeps_the_last_good_step(ready: Workshop) -> None:
    """An untrained network has no accuracy to lose, so the validator's figures are replaced by known ones."""
    code = """
import sys
from ultralytics.prunekit import adapter, main
from ultralytics.pruning.family.contract import Metrics
from ultralytics.pruning.settings import Settings
figures = iter(FIGURES)
adapter.Ultralytics.evaluate = lambda self, weights: Metrics(0.9, next(figures))
sys.exit(main.guarded(lambda: main.prune("", Settings(steps=3), sys.argv[1:])))
"""
    words = ("--weights", "best.pt", "--data", "VOC.yaml", "--max-map-drop", "0.1", "--no-export", *QUICK)
    kept = code.replace("FIGURES", "[0.8, 0.1, 0.75, 0.1, 0.69]")  # dense, then pruned and tuned of each step
    output = ready.python("-c", kept, *words, "--name", "kept")
    report = ready.report("runs/detect/kept")
    assert report["status"] == "stopped" and [step["kept"] for step in report["steps"]] == [True, False]
    assert "step 2 is not kept" in output
    sizes = [step["params"] for step in report["steps"]]
    count = "from ultralytics import YOLO; print(sum(p.numel() for p in YOLO('pruned.pt').parameters()))"
    shutil.copy(ready.root / "runs/detect/kept/pruned.pt", ready.root)
    assert int(ready.python("-c", count)) == sizes[0]
    none = code.replace("FIGURES", "[0.8, 0.1, 0.2]")
    assert "no step stayed within --max-map-drop 0.1" in ready.python("-c", none, *words, "--name", "none", code=2)
    assert not (ready.root / "runs/detect/none/pruned.pt").exists()


def test_export_that_fails_does_not_cost_the_run(ready: Workshop) -> None:
    code = """
import sys
from ultralytics.prunekit import adapter, main
from ultralytics.pruning.settings import Settings
def export(self, weights, target):
    target.write_text("half")
    raise RuntimeError("no exporter here")
adapter.Ultralytics.export = export
sys.exit(main.guarded(lambda: main.prune("", Settings(), sys.argv[1:])))
"""
    words = ("--weights", "best.pt", "--data", "VOC.yaml", *QUICK, "--name", "run")
    output = ready.python("-c", code, *words, code=2)
    assert "the network is pruned, but its ONNX file is not: RuntimeError: no exporter here" in output
    report = ready.report("runs/detect/run")
    assert report["status"] == "done" and "onnx" not in report["final"]
    assert (ready.root / "runs/detect/run/pruned.pt").is_file()
    assert not list((ready.root / "runs/detect/run").glob("*.onnx"))
    assert "no exporter here" in (ready.root / "runs/detect/run/report.md").read_text()


def test_more_steps_than_rounding_allows(ready: Workshop) -> None:
    """Some steps have nothing to remove at multiples of 8; the run still ends at the ratio asked for."""
    words = ("prune.py", "--weights", "best.pt", "--data", "VOC.yaml", "--prune-ratio", "0.05", "--steps", "8")
    words = (*words, "--round-to", "8")
    output = ready.python(*words, *QUICK, "--epochs", "0", "--name", "many", "--no-export")
    assert "is joined with the next" in output
    report = ready.report("runs/detect/many")
    assert report["status"] == "done" and report["skipped"] + len(report["steps"]) == 8 and report["skipped"] > 0
    ready.python("prune_one_shot.py", *words[1:7], *words[9:], *QUICK, "--epochs", "0", "--name", "one", "--no-export")
    assert report["steps"][-1]["params"] == ready.report("runs/detect/one")["steps"][0]["params"]


def test_scaled_schedule(ready: Workshop) -> None:
    """Each step trains at the rate and for the epochs that what it removed asks for; joined steps share theirs."""
    words = ("prune.py", "--weights", "best.pt", "--data", "VOC.yaml", "--prune-ratio", "0.08", "--steps", "4")
    more = ("--schedule", "scaled", "--optimizer", "SGD", "--lr0", "0.02", "--name", "scaled", "--no-export")
    output = ready.python(*words, *QUICK, *more)
    report = ready.report("runs/detect/scaled")
    assert report["skipped"] > 0, "a case with joined steps"
    macs, done = report["dense"]["macs"], 0
    for step in report["steps"]:
        folder = ready.root / f"runs/detect/scaled/step{step['step']}_finetune"
        args = yaml.safe_load((folder / "args.yaml").read_text())
        rate = min(1.0, 2 * (1 - step["macs"] / macs))
        assert args["lr0"] == pytest.approx(0.02 * rate) and args["lr0"] < 0.019, "a light cut"
        assert args["epochs"] == step["step"] - done and args["warmup_epochs"] == pytest.approx(0.1 * args["epochs"])
        assert f"Schedule of step {step['step']}: learning rate x {rate:.2f}" in output
        macs, done = step["macs"], step["step"]
    assert done == 4, "all four steps' epochs were trained"
