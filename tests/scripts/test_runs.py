# SPDX-License-Identifier: AGPL-3.0-or-later
"""The scripts as a user types them: whole runs on tiny data, and what they leave behind."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import yaml
from generations import ELEVEN, TASKS, TWELVE, TWENTYSIX
from runfiles import FILES
from workshop import Workshop

pytestmark = [pytest.mark.upstream, pytest.mark.slow]
QUICK = ("--imgsz", "64", "--batch", "8", "--epochs", "1", "--device", "cpu", "--workers", "0", "--plots", "False")
BEST = ("--weights", "best.pt", "--data", "VOC.yaml", *QUICK)
Tasked = tuple[str, list[str]]
BLIND = ("--val", "False", "--no-export")  # for runs whose accuracy and ONNX file nobody looks at

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

# Exports the dense network as the run exports the pruned one, and counts the nodes of both graphs.
NODES = """
import onnx, sys
from ultralytics import YOLO
files = YOLO("best.pt").export(format="onnx", imgsz=64, simplify=False), sys.argv[1]
print("nodes", *[len(onnx.load(file).graph.node) for file in files])
"""


def test_iterative_run_keeps_its_promises(ready: Workshop) -> None:
    words = ("prune.py", *BEST, "--prune_ratio", "0.5", "--steps", "2")
    output = ready.python(*words, "--project", "VOC", "--name", "prune_yolo")
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
    [(code, said)] = ready.lines(["prune_one_shot.py", *BEST, "--sparsity", "0.01", "--name", "once"], bare=True)
    assert code == 0, said
    run = ready.root / "runs/detect/once"
    folders = ("step0_sparse", "step1_finetune")
    sparse, tuned = (yaml.safe_load((run / name / "args.yaml").read_text()) for name in folders)
    assert sparse["sparsity"] == sparse["sparsity_beta"] == 0.01 and sparse["optimizer"] == "SGD"
    assert tuned["sparsity"] == tuned["sparsity_beta"] == 0.0, "the penalty must be off in fine-tuning"
    assert ready.report("runs/detect/once")["sparse"] == "step0_sparse/weights/last.pt"
    counted = ready.python("-c", NODES, "runs/detect/once/pruned.onnx").rpartition("nodes ")[2]
    dense, pruned = map(int, counted.split())
    assert pruned <= dense


def test_published_v11_line(workshop: Workshop, tiny_set: Path) -> None:
    shutil.copy(tiny_set, workshop.root / "VOC.yaml")
    workshop.small("yolo11s.pt", rows=ELEVEN)
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


@pytest.fixture(scope="module", params=TASKS)
def tasked(request: pytest.FixtureRequest, ready: Workshop, tmp_path_factory: pytest.TempPathFactory) -> Tasked:
    """A task, and what was said by upstream's training of a small network of it, by a run named TASK, by a rebuild."""
    from prunekit.demo.digits import build

    task = request.param
    data = str(build(tmp_path_factory.mktemp(task) / "data", train=8, val=4, imgsz=64, seed=0, task=task))
    (ready.root / f"{task}.yaml").write_text(TASKS[task])
    (ready.root / "train_task.py").write_text(TRAIN_TASK)
    (ready.root / "rebuild.py").write_text(REBUILD)
    lines = (
        ("train_task.py", f"{task}.yaml", f"{task}.pt", data, task),
        ("prune_one_shot.py", "--model", f"{task}.pt", f"data={data}", *QUICK, "--repair", "8", "--name", task),
        ("rebuild.py", f"runs/{task}/{task}/pruned.yaml", f"runs/{task}/{task}/pruned.pt"),
    )
    said = ready.lines(*lines, bare=True, YOLO_VERBOSE="true")
    assert not [text for code, text in said if code], said
    return task, [text for _, text in said]


def test_upstream_trains_on_the_demos_set_of_every_task(tasked: Tasked) -> None:
    """Upstream leaves out labels that it cannot read, with a warning only. Detection: `demo/test_run.py`."""
    task, (said, *_) = tasked
    assert "8 images" in said and ("0 corrupt" in said or task == "classify"), "it tells what it leaves out"
    assert "corrupt" not in said.replace("0 corrupt", "") and "ignoring" not in said


def test_other_tasks(ready: Workshop, tasked: Tasked) -> None:
    task, (_, said, rebuilt) = tasked
    report = ready.report(f"runs/{task}/{task}")
    loose, strict = ("top-5", "top-1") if task == "classify" else ("mAP50", "mAP50-95")
    assert report["dense"]["measures"] == [loose, strict] and "Dense -> pruned: " in said
    assert f"{'mAP' if strict == 'mAP50-95' else strict}={report['dense']['map50_95']}" in said
    assert f"| {loose} | {strict} |" in (ready.root / f"runs/{task}/{task}/report.md").read_text()
    assert report["steps"][0]["params"] < 0.8 * report["dense"]["params"]
    assert report["steps"][0]["repair"]["after"] < report["steps"][0]["repair"]["before"]
    assert "difference 0.0" in rebuilt


# A network of a task, trained for one epoch by upstream.
TRAIN_TASK = """
import shutil, sys
from ultralytics import YOLO
name, target, data, task = sys.argv[1:5]
yolo = YOLO(name, task=task)
yolo.train(data=data, epochs=1, imgsz=64, batch=8, device="cpu", workers=0, optimizer="SGD", plots=False, val=False)
shutil.copy(yolo.trainer.last, target)
"""


@pytest.mark.parametrize("rows", [TWELVE, TWENTYSIX], ids=["twelve", "twentysix"])
def test_other_generations(workshop: Workshop, tiny_set: Path, rows: str) -> None:
    workshop.small(rows=rows)
    (workshop.root / "rebuild.py").write_text(REBUILD)
    run = ("prune_one_shot.py", "--weights", "best.pt", "--data", str(tiny_set), "--name", "g", *QUICK)
    rebuild = ("rebuild.py", "runs/detect/g/pruned.yaml", "runs/detect/g/pruned.pt")
    (code, said), (_, rebuilt) = workshop.lines(run, rebuild, bare=True)
    assert code == 0, said
    report = workshop.report("runs/detect/g")
    assert report["steps"][0]["params"] < 0.8 * report["dense"]["params"]
    assert "difference 0.0" in rebuilt


LINES = {
    "macs": "prune.py --target-macs 0.5 --steps 2 --scope global --importance taylor",
    "params": "prune.py --target-params 0.5 --steps 2 --scope global --importance hessian",
    "many": "prune.py --prune-ratio 0.25 --steps 8 --round-to 8 --epochs 0",
    "one": "prune_one_shot.py --prune-ratio 0.25 --round-to 8 --epochs 0",
    "scaled": "prune.py --prune-ratio 0.2 --round-to 8 --steps 4 --schedule scaled --optimizer SGD --lr0 0.02",
    "planned": "prune_one_shot.py --prune-ratio 0.25 --round-to 8 --plan-only",
}


@pytest.fixture(scope="module")
def runs(ready: Workshop) -> dict[str, str]:
    """What each of LINES said; its run has its name."""
    typed = [(script, *BEST, *words, *BLIND) for script, *words in map(str.split, LINES.values())]
    said = ready.lines(*((*line, "--name", name) for line, name in zip(typed, LINES, strict=True)), bare=True)
    assert not [text for code, text in said if code]
    return {name: text for name, (_, text) in zip(LINES, said, strict=True)}


@pytest.mark.usefixtures("runs")
@pytest.mark.parametrize("name, criterion", [("macs", "taylor"), ("params", "hessian")])
def test_gradient_criteria_see_the_data(ready: Workshop, name: str, criterion: str) -> None:
    report = ready.report(f"runs/detect/{name}")
    assert report["status"] == "done" and report["settings"]["importance"] == criterion


@pytest.mark.usefixtures("runs")
@pytest.mark.parametrize("key", ["macs", "params"])
def test_targets_are_hit_within_one_percent(ready: Workshop, key: str) -> None:
    report = ready.report(f"runs/detect/{key}")
    assert report["steps"][1][key] / report["dense"][key] == pytest.approx(0.5, rel=0.01)
    assert report["steps"][0][key] / report["dense"][key] == pytest.approx(0.5**0.5, rel=0.01)


@pytest.mark.usefixtures("runs")
def test_without_epochs_the_criterion_is_another_that_takes_as_many(ready: Workshop) -> None:
    """The criterion changes which channels go, not how many."""
    plan = yaml.safe_load((ready.root / "runs/detect/planned/plan.yaml").read_text())
    report = ready.report("runs/detect/one")
    assert (plan["criterion"], report["settings"]["importance"]) == ("lamp", "fpgm")
    assert report["steps"][0]["params"] == plan["pruned"]["params"] < plan["dense"]["params"]
    assert report["steps"][0]["repair"]["after"] < report["steps"][0]["repair"]["before"]


@pytest.mark.usefixtures("runs")
def test_plan_can_be_edited_and_replayed(ready: Workshop) -> None:
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
    words = ("prune_one_shot.py", *BEST, *BLIND, "--plan", str(file), "--name", "replayed")
    [(code, said)] = ready.lines(words, bare=True)
    assert code == 0, said
    widths = ready.report("runs/detect/replayed")["steps"][0]["widths"]
    assert widths[entry["name"]] == 24


def test_accuracy_limit_keeps_the_last_good_step(ready: Workshop) -> None:
    """An untrained network has no accuracy to lose, so the validator's figures are replaced by known ones."""
    code = """
import sys
from ultralytics import YOLO
from ultralytics.prunekit import adapter, main
from ultralytics.pruning.family.contract import Metrics
from ultralytics.pruning.settings import Settings
def run(name, figures):
    left = iter(figures)
    adapter.Ultralytics.evaluate = lambda self, weights: Metrics(0.9, next(left))
    print("code", name, main.guarded(lambda: main.prune("", Settings(steps=3), [*sys.argv[1:], "--name", name])))
run("kept", [0.8, 0.1, 0.75, 0.1, 0.69])  # dense, then pruned and tuned of each step
run("none", [0.8, 0.1, 0.2])
print("params", sum(p.numel() for p in YOLO("runs/detect/kept/pruned.pt").parameters()))
"""
    output = ready.python("-c", code, *BEST, "--max-map-drop", "0.1", "--no-export")
    report = ready.report("runs/detect/kept")
    assert report["status"] == "stopped" and [step["kept"] for step in report["steps"]] == [True, False]
    kept, _, none = output.partition("code kept 0")
    assert "step 2 is not kept" in kept
    assert f"params {report['steps'][0]['params']}" in output.splitlines()
    assert "no step stayed within --max-map-drop 0.1" in none and "code none 2" in none
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
    output = ready.python("-c", code, *BEST, "--val", "False", "--name", "run", code=2)
    assert "the network is pruned, but its ONNX file is not: RuntimeError: no exporter here" in output
    report = ready.report("runs/detect/run")
    assert report["status"] == "done" and "onnx" not in report["final"]
    assert (ready.root / "runs/detect/run/pruned.pt").is_file()
    assert not list((ready.root / "runs/detect/run").glob("*.onnx"))
    assert "no exporter here" in (ready.root / "runs/detect/run/report.md").read_text()


def test_more_steps_than_rounding_allows(ready: Workshop, runs: dict[str, str]) -> None:
    """Some steps have nothing to remove at multiples of 8; the run still ends at the ratio asked for."""
    assert "is joined with the next" in runs["many"]
    report = ready.report("runs/detect/many")
    assert report["status"] == "done" and report["skipped"] + len(report["steps"]) == 8 and report["skipped"] > 0
    assert report["steps"][-1]["params"] == ready.report("runs/detect/one")["steps"][0]["params"]


def test_scaled_schedule(ready: Workshop, runs: dict[str, str]) -> None:
    """Each step trains at the rate and for the epochs that what it removed asks for; joined steps share theirs."""
    report = ready.report("runs/detect/scaled")
    assert report["skipped"] > 0, "a case with joined steps"
    macs, done = report["dense"]["macs"], 0
    for step in report["steps"]:
        folder = ready.root / f"runs/detect/scaled/step{step['step']}_finetune"
        args = yaml.safe_load((folder / "args.yaml").read_text())
        rate = min(1.0, 2 * (1 - step["macs"] / macs))
        assert args["lr0"] == pytest.approx(0.02 * rate) and args["lr0"] < 0.019, "a light cut"
        assert args["epochs"] == step["step"] - done and args["warmup_epochs"] == pytest.approx(0.1 * args["epochs"])
        assert f"Schedule of step {step['step']}: learning rate x {rate:.2f}" in runs["scaled"]
        macs, done = step["macs"], step["step"]
    assert done == 4, "all four steps' epochs were trained"
