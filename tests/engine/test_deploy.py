# SPDX-License-Identifier: AGPL-3.0-or-later
"""deploy.py on a toy network: what is chosen, what each stage leaves, and kill -9 in each of them."""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import schemas
import torch
from engine_helpers import modules, toy
from test_said import MEASURED, Told
from torch import Tensor, nn

pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

ACCURATE = {"best_float": 0.8, "best_int8": 0.795, "pruned_float": 0.792, "pruned_int8": 0.791}
TIMES = {"dense": 1.0, "dense + INT8": 1.4, "pruned": 1.7, "pruned + INT8": 2.2, "dense, ONNX Runtime": 0.7}
NAMES = ["dense", "dense + INT8", "pruned", "pruned + INT8"]
SMALL = "--importance l2 --min-channels 2 --round-to 1 --calibration-images 2 --repair 2".split()


@pytest.fixture(scope="module")
def parts(engine: object) -> Iterator[SimpleNamespace]:
    """The modules, imported as the engine is on its own."""
    names = ("scripts.deploy", "scripts.prune", "run.ladder", "run.latency_target", "runtime.timing", "run.record")
    more = ("family.contract", "errors", "settings", "files", "runtime.int8_sizes", "run.loop", "run.int8")
    found = vars(modules(*names, *more))
    yield SimpleNamespace(**found, run=modules("run.deploy").deploy)
    sys.path[:] = [entry for entry in sys.path if "onnxruntime" not in entry]  # see test_quantify.py


class Family(Told):
    """A toy that is exported, and whose files' accuracies are told by name; `at` is called before each act."""

    def __init__(self, parts: SimpleNamespace, accurate: dict[str, float], at: Callable[[str], None]) -> None:
        super().__init__(parts, [])
        self.accurate, self.at = accurate, at

    def check(self, weights: Path) -> None:
        pass

    def load(self, weights: Path) -> nn.Module:
        model = toy(dtype=torch.float32)[0] if weights.name == "best.pt" else torch.load(weights, weights_only=False)
        return model.float()

    def example(self, model: nn.Module) -> Tensor:
        return torch.zeros(1, 3, 16, 16)

    def images(self, weights: Path) -> Iterator[Tensor]:
        self.at("images")
        yield from torch.rand(2, 1, 3, 16, 16, generator=torch.Generator().manual_seed(1))

    def export(self, weights: Path, target: Path) -> None:
        self.at(f"export {weights.stem}")
        more = {"input_names": ["images"], "opset_version": 17, "dynamo": False}
        torch.onnx.export(self.load(weights).eval(), (torch.zeros(1, 3, 16, 16),), str(target), **more)

    def reference(self, weights: Path, image: Tensor) -> Any:
        return self.load(weights).eval()(image)

    def finetune(self, weights: Path, folder: Path, **more: Any) -> Path:
        self.at("finetune")
        return weights

    def arguments(self) -> dict[str, Any]:
        return {"data": "toys.yaml", "imgsz": 16, "epochs": 0}

    def evaluate(self, weights: Path) -> Any:
        self.at(f"evaluate {weights.stem}")
        return self.parts.contract.Metrics(0.9, self.accurate.get(weights.stem, 0.79))

    def evaluate_onnx(self, path: Path) -> Any:
        self.at(f"validate {path.stem}")
        return self.parts.contract.Metrics(0.9, self.accurate[path.stem])


@pytest.fixture
def typed(parts: SimpleNamespace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """Type a command line; the ladder's times are those of TIMES, everything else is done."""
    (tmp_path / "best.pt").write_bytes(b"stands for a checkpoint")

    def timed(calls: dict[str, Callable[[], object]], _: Any) -> dict[str, Any]:
        for call in calls.values():
            call()
        speed = parts.timing.Speed
        return {n: speed(0.01 / TIMES[n], TIMES[n], TIMES[n] - 0.1, TIMES[n] + 0.1, 9) for n in calls}

    monkeypatch.setattr(parts.ladder, "timed_calls", timed)
    monkeypatch.setattr(parts.int8, "fastest", lambda *_, **__: ("all", [], {}))  # chosen by time, else
    monkeypatch.setattr(parts.loop, "look", lambda *_: None)  # the report's own times and pictures

    def run(*words: str, accurate: dict[str, float] | None = None, at: Callable[[str], None] = len) -> Any:
        family = Family(parts, {**ACCURATE, **(accurate or {})}, at)
        place = tmp_path / "runs" / "deploy"
        upstream = SimpleNamespace(
            help_text=lambda: "",
            open=lambda *_, **__: parts.contract.Opened(family, tmp_path / "best.pt", lambda: place),
            reopen=lambda *_, **__: family,
        )
        own = ["--weights", str(tmp_path / "best.pt"), *SMALL] if "--resume" not in words else []
        return parts.deploy.deploy_command("", [*own, *words], upstream)

    return run


def _figures(folder: Path) -> tuple[Any, ...]:
    """What must not depend on kills: accuracies, the plan, the choice, the names of all files."""
    record = json.loads((folder / "deploy.json").read_text())
    schemas.check("deploy", record)
    report = json.loads((folder / "prune" / "report.json").read_text())
    rows = [[row[key] for key in ("name", "file", "bytes", "map50_95", "within", "ratio")] for row in record["ladder"]]
    files = sorted(str(file.relative_to(folder)) for file in folder.rglob("*") if file.is_file())
    return rows, record["chosen"], record["status"], report["steps"][-1]["widths"], files


def test_the_fastest_file_within_the_loss(typed: Callable[..., Any], tmp_path: Path) -> None:
    state = typed("--target-macs", "0.6")
    folder = tmp_path / "runs/deploy"
    assert [row["name"] for row in state.ladder] == NAMES and state.status == "done"
    assert state.chosen == {"name": "pruned + INT8", "file": "deployed.onnx"}
    small = folder / "pruned/pruned_int8.onnx"
    assert (folder / "deployed.onnx").read_bytes() == small.read_bytes()
    assert [row["bytes"] for row in state.ladder][3] == small.stat().st_size < state.ladder[0]["bytes"]
    assert [round(row["drop"], 6) for row in state.ladder] == [0.0, 0.005, 0.008, 0.009]
    text = (folder / "deploy.md").read_text()
    assert text.count("\n|") == 6 and "Chosen: pruned + INT8" in text
    noted = json.loads((folder / "prune/report.json").read_text())["final"]["int8"]
    assert noted["file"] == str(small), "the pruning run's report knows its INT8 file"


def test_accuracies_are_those_of_the_runtimes_own_precision(
    typed: Callable[..., Any],
    parts: SimpleNamespace,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Where OpenVINO computes float less exactly, its float rungs have what they have there."""
    pytest.importorskip("openvino")
    pytest.importorskip("nncf")
    for module in (parts.int8, parts.run):
        monkeypatch.setattr(module, "own_precision", lambda _: "float layers in bf16")
    there = {"best_float": 0.78, "best_int8": 0.795, "pruned_float": 0.773, "pruned_int8": 0.776}
    state = typed("--runtime", "openvino", accurate={f"{name}_openvino_model": it for name, it in there.items()})
    found = {row["name"]: (row["map50_95"], round(row["drop"], 6)) for row in state.ladder}
    assert found == {
        "dense": (0.78, 0.0),
        "dense + INT8": (0.795, -0.015),
        "dense, ONNX Runtime": (0.8, -0.02),
        "pruned": (0.773, 0.007),
        "pruned + INT8": (0.776, 0.004),
    }
    record = json.loads((tmp_path / "runs/deploy/pruned/quantify.json").read_text())
    schemas.check("quantify", record)
    assert record["float"]["map50_95"] == 0.792 and record["float_as_run"]["map50_95"] == 0.773
    assert round(record["drop"], 6) == -0.003
    assert "Measured in openvino (float layers in bf16), 16 px" in capsys.readouterr().out


def test_without_a_target_half_the_macs_and_without_epochs_a_repair(typed: Callable[..., Any], tmp_path: Path) -> None:
    state = typed()
    report = json.loads((tmp_path / "runs/deploy/prune/report.json").read_text())
    assert state.settings.target_macs == 0.5 and report["steps"][0]["repair"]["images"] == 2
    assert report["steps"][0]["macs"] < 0.55 * report["dense"]["macs"]


def test_what_is_fast_enough_but_loses_too_much(
    typed: Callable[..., Any], parts: SimpleNamespace, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit code 5, and the fastest file within the loss is there all the same."""
    lost = {"pruned_float": 0.7, "pruned_int8": float("nan"), "best_int8": 0.6}
    with pytest.raises(parts.errors.LessAccurate, match=r"deployed\.onnx \(dense\) takes 1\.000 of the dense time"):
        typed(accurate=lost)
    record = json.loads((tmp_path / "runs/deploy/deploy.json").read_text())
    assert record["status"] == "less accurate" and record["chosen"]["name"] == "dense"
    said = capsys.readouterr().out
    assert said.count("(too much)") == 3 and "| pruned + INT8 |" in said
    with pytest.raises(parts.errors.LessAccurate):
        typed("--resume", str(tmp_path / "runs/deploy"), at=pytest.fail)


def test_a_target_that_nothing_reaches(
    typed: Callable[..., Any], parts: SimpleNamespace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    """Found by real measurements, before anything is pruned: the nearest is named, the ladder printed, exit code 2."""
    for name in ("PROBE", "FINAL"):
        monkeypatch.setattr(parts.latency_target, name, parts.timing.Plenty(rounds=6, limit=0.1))
    acts: list[str] = []
    with pytest.raises(parts.errors.Unreachable, match=r"no plan could be .* the smallest .* has 4\.\d% of the MACs"):
        typed("--target-latency", "0.001", at=acts.append)
    assert "| dense + INT8 |" in capsys.readouterr().out and "finetune" not in acts
    record = json.loads((tmp_path / "runs/deploy/deploy.json").read_text())
    schemas.check("deploy", record)
    assert (record["status"], record["way"], record["chosen"]["name"]) == ("unreachable", "beyond", "dense + INT8")


def test_int8_counts_towards_the_target(
    typed: Callable[..., Any], parts: SimpleNamespace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Candidates are timed as INT8, too, where the dense network's INT8 file helps; alone it may be enough."""
    made: list[Any] = []

    def resolved(family: Any, weights: Path, settings: Any, runtime: str, say: Any, **how: Any) -> Any:
        made.append((settings.target_latency, how))
        return parts.settings.Settings(**{**settings.as_dict(), "target_macs": 0.6}), {**MEASURED, "int8": True}

    monkeypatch.setattr(parts.run, "resolved", resolved)
    state = typed("--target-latency", "0.46", "--threads", "2")
    target, how = made[0]
    assert target == 0.46 and how["threads"] == 2 and state.status == "done"
    assert "measured in onnxruntime as INT8" in (tmp_path / "runs/deploy/prune/report.md").read_text()
    source = tmp_path / "runs/deploy/dense/best_float.onnx"
    copied = tmp_path / "candidate.onnx"
    copied.write_bytes(source.read_bytes())
    layers = parts.int8_sizes.sizes_of(how["finish"](copied)).layers
    few = parts.run._int8_of(state.request, [torch.rand(1, 3, 16, 16)], "widest half")
    assert layers == 8 and parts.int8_sizes.sizes_of(few(copied)).layers < 8, "placed as the dense network's are"
    (tmp_path / "runs").rename(tmp_path / "first")
    with pytest.raises(parts.errors.LessAccurate):
        typed("--target-latency", "0.46", accurate={"best_int8": 0.1, "pruned_int8": 0.1})
    assert made[1][1]["finish"] is None, "an INT8 form that loses too much does not count"
    (tmp_path / "runs").rename(tmp_path / "second")
    state = typed("--target-latency", "0.78", at=lambda act: act == "finetune" and pytest.fail("was pruned"))
    assert (state.way, state.chosen["name"], len(made)) == ("enough", "dense + INT8", 2)


def test_a_candidate_counts_as_the_faster_of_its_forms(
    parts: SimpleNamespace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`Bench.probe` with a `finish`: the INT8 form's share where that is the smaller one."""
    family, best = Family(parts, ACCURATE, len), tmp_path / "best.pt"
    best.write_bytes(b"stands for a checkpoint")
    settings = parts.settings.Settings(prune_ratio=None, target_latency=0.5, importance="l2", min_channels=2)
    ratios = {"dense": 1.0, "float": 1.5, "int8": 2.0}
    speed = parts.timing.Speed
    monkeypatch.setattr(
        parts.latency_target, "timed_calls", lambda calls, _: {n: speed(1, ratios[n], 1, 3, 9) for n in calls}
    )
    for finish, share in ((None, 1 / 1.5), (lambda path: path, 0.5)):
        bench = parts.latency_target.Bench(family, best, settings, "onnxruntime", 1, tmp_path, finish)
        found = bench.probe(0.6, 1, False)
        assert (found.share, found.int8) == (share, finish is not None)


def test_a_plan_is_timed_once_briefly_and_once_at_length(
    parts: SimpleNamespace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Fractions that come to one plan share its figure; the one measured at length stands for both."""
    family, best, lengths = Family(parts, ACCURATE, len), tmp_path / "best.pt", []
    best.write_bytes(b"stands for a checkpoint")
    settings = parts.settings.Settings(prune_ratio=None, target_latency=0.5, importance="l2", min_channels=2)

    def timed(calls: dict[str, Any], plenty: object) -> dict[str, Any]:
        lengths.append(plenty)
        return {name: parts.timing.Speed(1, 1.0 + len(lengths), 1, 3, 9) for name in calls}

    monkeypatch.setattr(parts.latency_target, "timed_calls", timed)
    bench = parts.latency_target.Bench(family, best, settings, "onnxruntime", 1, tmp_path)
    first, again, sure, after = (bench.probe(f, 1, long) for f, long in ((0.6, 0), (0.601, 0), (0.6, 1), (0.601, 0)))
    assert lengths == [parts.latency_target.PROBE, parts.latency_target.FINAL]
    assert (again.asked, again.macs, again.share) == (0.601, first.macs, first.share) and first.share == 0.5
    assert after.share == sure.share == 1 / 3 and after.confirmed


def test_candidates_share_one_ranking(parts: SimpleNamespace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The channels of the start are worth the same in each candidate; a ranking on images takes minutes."""
    family, best, asked = Family(parts, ACCURATE, len), tmp_path / "best.pt", []
    best.write_bytes(b"stands for a checkpoint")
    settings = parts.settings.Settings(
        prune_ratio=None, target_latency=0.5, importance="reconstruction", min_channels=2
    )
    monkeypatch.setattr(
        parts.latency_target, "timed_calls", lambda calls, _: {n: parts.timing.Speed(1, 2.0, 1, 3, 9) for n in calls}
    )
    family.images = lambda weights: asked.append(weights) or iter([family.example(None)] * 4)  # type: ignore[attr-defined]
    bench = parts.latency_target.Bench(family, best, settings, "onnxruntime", 1, tmp_path)
    macs = [bench.probe(fraction, 1, False).macs for fraction in (0.8, 0.6, 0.8)]
    assert asked == [best] and macs[0] == macs[2] > macs[1]


def test_no_step_within_the_loss(typed: Callable[..., Any], parts: SimpleNamespace, tmp_path: Path) -> None:
    """With steps, pruning stops within the loss; where even the first exceeds it, the dense files are the ladder."""
    lost = {"step1_pruned": 0.1}
    state = typed("--steps", "2", accurate=lost)
    assert [row["name"] for row in state.ladder] == NAMES[:2] and state.chosen["name"] == "dense + INT8"


def test_a_network_that_cannot_be_quantized(
    typed: Callable[..., Any], parts: SimpleNamespace, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    def quantize(*_: Any, **__: Any) -> None:
        raise parts.errors.PruneError("nothing in it could be quantized")

    monkeypatch.setattr(parts.int8, "write_int8", quantize)
    state = typed()
    assert [row["name"] for row in state.ladder] == ["dense", "pruned"] and state.chosen["name"] == "pruned"
    assert "No INT8 file of the dense network: nothing in it could be quantized" in capsys.readouterr().out


def test_a_network_that_cannot_be_quantized_has_the_runtimes_accuracy(
    typed: Callable[..., Any], parts: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its float file, too, is validated in what OpenVINO computes."""
    pytest.importorskip("openvino")
    pytest.importorskip("nncf")

    def quantize(*_: Any, **__: Any) -> None:
        raise parts.errors.PruneError("nothing in it could be quantized")

    monkeypatch.setattr(parts.int8, "write_int8", quantize)
    for module in (parts.int8, parts.run):
        monkeypatch.setattr(module, "own_precision", lambda _: "float layers in bf16")
    there = {"best_float_openvino_model": 0.78, "pruned_float_openvino_model": 0.773}
    found = {row["name"]: row["map50_95"] for row in typed("--runtime", "openvino", accurate=there).ladder}
    assert found == {"dense": 0.78, "dense, ONNX Runtime": 0.8, "pruned": 0.773}


ROWS = [  # ratio and loss of three files; target; what is chosen, and how it ended
    ([(1.0, 0.0), (1.5, 0.005), (2.0, 0.02)], None, 1, "done"),
    ([(1.0, 0.0), (1.5, 0.02), (2.0, 0.02)], None, 0, "less accurate"),
    ([(1.0, 0.0), (1.5, 0.005), (2.0, 0.01)], None, 2, "done"),
    ([(1.0, 0.0), (1.5, 0.0), (1.6, 0.0, 0.9)], None, 1, "done"),  # the fastest may be no faster than dense
    ([(1.0, 0.0), (0.9, 0.0), (0.8, 0.0)], None, 0, "done"),
    ([(1.0, 0.0), (1.5, 0.0), (2.0, 0.0)], 0.5, 2, "done"),
    ([(1.0, 0.0), (1.5, 0.0), (1.95, 0.0)], 0.5, 2, "done"),  # within the tolerance of the search
    ([(1.0, 0.0), (1.5, 0.0), (1.8, 0.0)], 0.5, 2, "unreachable"),
    ([(1.0, 0.0), (1.5, 0.0), (2.1, 0.5)], 0.5, 1, "less accurate"),
]


@pytest.mark.parametrize(("files", "target", "best", "status"), ROWS)
def test_what_is_chosen(
    parts: SimpleNamespace, files: list[tuple[float, ...]], target: float | None, best: int, status: str
) -> None:
    names = ["dense", "dense + INT8", "pruned"]
    rows = [
        {"name": name, "ratio": ratio, "low": [*low, ratio - 0.05][0], "high": ratio + 0.05, "within": lost <= 0.01}
        for name, (ratio, lost, *low) in zip(names, files, strict=True)
    ]
    other = {"name": "dense, ONNX Runtime", "ratio": 9, "low": 9, "high": 9, "within": True}
    row, ended = parts.ladder.chosen([*rows, other], target)
    assert (row["name"], ended) == (names[best], status)


BAD = [
    (["--remove-blocks", "1"], "--remove-blocks belongs to prune.py"),
    (["--weights", "best_int8.onnx"], "--weights best_int8.onnx: an exported network"),
    (["--weights", "best_int8_openvino_model/"], "an exported network"),
    (["--max-map-drop", "2"], "--max-map-drop 2.0: must lie between"),
    (["--calibration-images", "0"], "--calibration-images 0"),
    (["--target-macs", "0.001"], "The target of 955 MACs cannot be reached: the nearest"),
    (["--ignore", "nowhere", "--target-latency", "0.5"], "--ignore nowhere: no such layer"),
    (["--plan=plan.yaml"], "--plan=plan.yaml belongs to prune.py"),
    (["--runtime", "openvino"], "--runtime openvino needs openvino and nncf. Type: pip install"),
]


@pytest.mark.parametrize(("words", "said"), BAD, ids=[" ".join(words) for words, _ in BAD])
def test_refused_before_any_work(
    typed: Callable[..., Any],
    parts: SimpleNamespace,
    tmp_path: Path,
    words: list[str],
    said: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "nncf", None)
    with pytest.raises(parts.errors.PruneError) as error:
        typed(*words, at=lambda act: act == "images" or pytest.fail(act))
    assert said in str(error.value) and not (tmp_path / "runs").exists()


def test_help_shows_what_is_taken(typed: Callable[..., Any], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        typed("--help")
    said = capsys.readouterr().out
    assert "--calibration-images" in said and "--remove-blocks" not in said


def test_no_images_and_earlier_runs(typed: Callable[..., Any], parts: SimpleNamespace, tmp_path: Path) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Family, "images", lambda *_: iter(()))
        with pytest.raises(parts.errors.PruneError, match="no training images to calibrate with"):
            typed()
    assert not (tmp_path / "runs").exists()
    (tmp_path / "runs/deploy/prune").mkdir(parents=True)
    with pytest.raises(parts.errors.PruneError, match="holds prune of an earlier run"):
        typed()
    assert (tmp_path / "runs/deploy/prune").is_dir(), "somebody else's"
    with pytest.raises(parts.errors.PruneError, match=r"no deploy\.json in it"):
        typed("--resume", str(tmp_path / "none"))
    with pytest.raises(parts.errors.PruneError, match="--resume goes on with the run's own settings"):
        typed("--resume", str(tmp_path / "runs/deploy"), "--threads", "3")


def test_a_first_stage_that_fails_leaves_nothing(
    typed: Callable[..., Any], parts: SimpleNamespace, tmp_path: Path
) -> None:
    def at(act: str) -> None:
        if act == "export best":
            raise parts.errors.PruneError("upstream's export wrote no file")

    with pytest.raises(parts.errors.PruneError, match="wrote no file"):
        typed(at=at)
    assert [file.name for file in tmp_path.iterdir()] == ["best.pt"]


BROKEN = [
    {"way": "out"},
    {"ladder": []},
    {"chosen": {}},
    {"request": {"speed": 1}},
    {"settings": {"a": 1}},
    {"schema": 2},
]


def test_a_record_that_nobody_wrote(typed: Callable[..., Any], parts: SimpleNamespace, tmp_path: Path) -> None:
    typed()
    file = tmp_path / "runs/deploy/deploy.json"
    record = json.loads(file.read_text())
    for change in BROKEN:
        file.write_text(json.dumps({**record, **change}))
        with pytest.raises(parts.errors.PruneError, match=r"not a record of deploy\.py|this fork reads 1"):
            typed("--resume", str(file.parent))


KILLED = ["export best", "validate best_int8", "evaluate step1_pruned", "finetune", "export pruned", "copy"]


@pytest.fixture(scope="module")
def whole() -> list[Any]:
    """What an uninterrupted run leaves, once it has been made."""
    return []


@pytest.mark.parametrize("act", KILLED)
def test_killed_in_each_stage(
    typed: Callable[..., Any],
    parts: SimpleNamespace,
    tmp_path: Path,
    whole: list[Any],
    act: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """kill -9, then --resume: what an uninterrupted run leaves, and no whole stage is done again."""
    folder = tmp_path / "runs/deploy"
    if not whole:
        typed()
        whole.append(_figures(folder))
        folder.parent.rename(tmp_path / "whole")
    child = os.fork()
    if not child:
        really = parts.run.copy_exported
        monkeypatch.setattr(parts.run, "copy_exported", lambda *words: _kill() if act == "copy" else really(*words))
        try:
            typed(at=lambda now: _kill() if now == act else None)
        finally:
            os._exit(1)
    assert os.WTERMSIG(os.waitpid(child, 0)[1]) == signal.SIGKILL
    (folder / ".prunekit-1-deployed_openvino_model").mkdir()  # as a kill leaves it where a folder is being copied
    done: list[str] = []
    typed("--resume", str(folder), at=done.append)
    assert _figures(folder) == whole[0] and not list(folder.glob(".prunekit-*"))
    assert ("export best" in done) == (act in KILLED[:2]) and ("finetune" in done) == (act in KILLED[:4])


def _kill() -> None:
    os.kill(os.getpid(), signal.SIGKILL)
