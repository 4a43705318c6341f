# SPDX-License-Identifier: AGPL-3.0-or-later
"""The comparison benchmark: its arithmetic, its order, that it resumes; one quick run of the real thing."""

from __future__ import annotations

import importlib
import json
import os
import re
import statistics
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture(scope="module")
def comparing() -> Iterator[SimpleNamespace]:
    """The benchmark's parts, imported as its script imports them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(BENCHMARKS))
        names = ("cells", "tables", "targets", "variants")
        yield SimpleNamespace(**{name: importlib.import_module(f"comparing.{name}") for name in names})


def figures(map50: float) -> dict[str, Any]:
    return {"map50": map50, "map50_95": map50 / 2, "macs": 2e7, "params": 10**6}


def test_intervals_are_students(comparing: SimpleNamespace) -> None:
    """Three values 0.98, 0.99, 1.00: standard error 0.01 / sqrt(3), quantile 4.302653 at two degrees of freedom."""
    mean, half = comparing.tables.interval([0.98, 0.99, 1.00])
    assert mean == pytest.approx(0.99) and half == pytest.approx(4.302653 * 0.01 / 3**0.5)
    assert comparing.tables.interval([0.5]) == (0.5, None)
    many = [0.1 * i for i in range(12)]  # 2.201 for 11 degrees of freedom, not 1.96
    assert comparing.tables.interval(many)[1] == pytest.approx(2.201 * statistics.stdev(many) / 12**0.5, rel=1e-3)


def test_differences_go_by_seed_and_what_lacks_is_said(comparing: SimpleNamespace) -> None:
    """Seeds differ by 0.1; the variants differ by 0.02 in each, which unpaired intervals could not tell."""
    cells = {
        "dense-more": {0: figures(0.8), 1: figures(0.9), 2: figures(0.85)},
        "default": {0: figures(0.795), 1: figures(0.894), 2: figures(0.846)},
        "random-local": {0: figures(0.776), 1: figures(0.874), 2: figures(0.825)},
        "stock-tp": {0: figures(0.9)},
    }
    rows = comparing.tables.summary(cells, [0, 1, 2], comparing.variants.variants())
    assert rows["default"]["minus_dense"] == pytest.approx(-0.005) and rows["default"]["minus_dense_ci"] < 0.003
    assert rows["stock-tp"]["missing"] == [1, 2]
    assert rows["default"]["against"] == "dense-more" and rows["default"]["less"] == pytest.approx(-0.005)
    said = comparing.tables.verdicts(cells)
    assert said[0].startswith("yes: within 0.01 of dense") and said[1].startswith("yes: above random")
    assert said[2] == "NO: above Torch-Pruning's stock pruner: default - stock-tp = -0.1050 (one seed)"
    assert said[3].startswith("not measured: above the same architecture from scratch")
    one = {name: {0: by_seed[0]} for name, by_seed in cells.items()}
    assert comparing.tables.verdicts(one)[1].startswith("open: above random")  # one seed has no interval


def test_cells_of_an_earlier_comparison_are_shown_too(comparing: SimpleNamespace, tmp_path: Path) -> None:
    """Its other seeds and variants; a cell made here stands before an earlier one; other settings are refused."""
    sizes = comparing.targets.TARGETS["v8"].tiers["quick"]
    bench = comparing.cells.Bench(tmp_path, tmp_path, "v8", sizes, tmp_path / "data.yaml", "compare.py")
    own = bench.cell(0, "dense")
    own.mkdir(parents=True)
    (own / "cell.json").write_text(json.dumps(figures(0.9)))
    cells = {"dense": {"0": figures(0.5), "1": figures(0.6)}, "gone": {"0": figures(0.1)}}
    earlier = tmp_path / "report.json"
    earlier.write_text(json.dumps({"target": "v8", "sizes": asdict(sizes), "cells": cells}))
    found = comparing.tables.gathered(bench, comparing.variants.variants(), [earlier])
    assert {seed: cell["map50"] for seed, cell in found["dense"].items()} == {0: 0.9, 1: 0.6} and len(found) == 1
    earlier.write_text(json.dumps({"target": "v8", "sizes": {**asdict(sizes), "epochs": 77}, "cells": cells}))
    with pytest.raises(SystemExit, match="another comparison"):
        comparing.tables.gathered(bench, comparing.variants.variants(), [earlier])


def test_the_front_holds_what_nothing_cheaper_reaches(comparing: SimpleNamespace) -> None:
    points = {"a": (1.0, 0.9), "dear and worse": (2.0, 0.8), "b": (3.0, 0.95), "as dear, worse": (3.0, 0.91)}
    assert comparing.tables.front_of(points) == [(1.0, 0.9), (3.0, 0.95)]


def test_every_variant_comes_after_its_start(comparing: SimpleNamespace) -> None:
    every = comparing.variants.variants()
    names = comparing.variants.ordered(list(every), every)
    assert sorted(names) == sorted(every) and len(every) > 25
    for name in names:
        assert not every[name].start or names.index(every[name].start) < names.index(name)
    assert comparing.variants.ordered(["large-pruned"], every) == ["dense", "large-dense", "large-pruned"]
    assert comparing.variants.ordered(["random-time"], every) == ["dense", "default", "random-time"]
    at_half = comparing.variants.HALF
    half = [variant for variant in every.values() if variant.fraction == at_half and not variant.time_of]
    plain = [v for v in half if v.kind == "prune" and not (v.hyp or v.large or v.steps > 1)]
    alone = [v.options for v in plain if "--importance" in v.options]
    pairs = [(o[1], *o[3:]) for o in alone if len(o) == 2 or (len(o) == 4 and o[2] == "--scope")]
    wanted = {(name, *scope) for name in comparing.variants.CRITERIA for scope in ((), ("global",))}
    found = {(name, *(it for it in scope if it != "local")) for name, *scope in pairs}
    assert found == wanted and len(pairs) == len(wanted), "each criterion and scope once"
    assert every["default"].options == every["large-pruned"].options == (), "what a user gets who types a target alone"


def test_a_finished_cell_is_not_made_again(
    comparing: SimpleNamespace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench = comparing.cells.Bench(
        tmp_path, tmp_path, "v8", comparing.targets.TARGETS["v8"].tiers["quick"], tmp_path / "data.yaml", "compare.py"
    )
    made: list[list[str]] = []

    def run(workshop: object, name: str, words: list[str], tick: object, again: str) -> None:
        made.append(words)
        if len(made) == 2:
            raise KeyboardInterrupt
        if "train" in words:
            place = tmp_path / "running" / "s0-dense" / "train" / "weights"
            place.mkdir(parents=True)
            (place / "best.pt").write_text("network")
        else:
            Path(words[2]).write_text(json.dumps(figures(0.5)))

    monkeypatch.setattr(comparing.cells.runner, "run", run)
    dense = comparing.variants.variants()["dense"]
    with pytest.raises(KeyboardInterrupt):
        comparing.cells.make_cell(bench, 0, dense)
    assert bench.figures(0, "dense") is None, "a half-made cell does not count"
    assert comparing.cells.make_cell(bench, 0, dense)["map50"] == 0.5 and len(made) == 4
    assert comparing.cells.make_cell(bench, 0, dense)["map50"] == 0.5 and len(made) == 4
    assert "epochs=1" in made[0] and "seed=0" in made[0] and "model=yolov8n.yaml" in made[0]
    kept = sorted(path.name for path in bench.cell(0, "dense").iterdir())
    assert kept == ["best.pt", "cell.json"]


def test_families_speak_their_upstreams_language(comparing: SimpleNamespace, tmp_path: Path) -> None:
    (tmp_path / "data/hyps").mkdir(parents=True)
    (tmp_path / "data/hyps/hyp.scratch-low.yaml").write_text("lr0: 0.01\nmosaic: 1.0\nobj: 1.0\n")
    target = comparing.targets.TARGETS["v5"]
    job = comparing.targets.Job(target, target.tiers["full"], 2, Path("d.yaml"), tmp_path, tmp_path)
    words = job.train("best.pt", 3, Path("/a/b"))
    assert words[:5] == ["train.py", "--cfg", "", "--weights", "best.pt"] and "--seed" in words
    plain, slow = (job.hyperparameters(hyp).read_text() for hyp in ({}, {"lr0": 0.5}))
    assert plain == "cls: 4.0\nlr0: 0.02\nmosaic: 0.0\nobj: 50.0\nwarmup_bias_lr: 0.02\n", "upstream's, HYP's, V5_HYP's"
    assert slow == plain.replace("\nlr0: 0.02", "\nlr0: 0.5")


def test_every_target_names_its_forks_upstream(comparing: SimpleNamespace) -> None:
    """Of each, a module among the drop-ins, and a name that is defined there: nothing else of a target needs a fork."""
    dropins = BENCHMARKS.parent / "kit" / "prunekit" / "dropins"
    for target in comparing.targets.TARGETS.values():
        module, _, name = target.upstream.partition(":")
        (file,) = dropins.glob(f"*/{module.replace('.', '/')}.py")
        defined = re.findall(r"^(?:class )?(\w+)(?:\(| = |:)", file.read_text(encoding="utf-8"), re.MULTILINE)
        assert name in defined, f"{target.upstream}: {file} defines {defined}"


def test_own_data_takes_upstreams_settings(comparing: SimpleNamespace, tmp_path: Path) -> None:
    (tmp_path / "data/hyps").mkdir(parents=True)
    (tmp_path / "data/hyps/hyp.scratch-low.yaml").write_text("lr0: 0.01\nmosaic: 1.0\n")
    compare = importlib.import_module("compare")
    words = ["v5", str(tmp_path), "--data", "own.yaml", "--imgsz", "640", "--extra", "30", "--device", "0"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["compare.py", *words])
        sizes = compare.sizes_of(compare.parse())
    assert (sizes.imgsz, sizes.batch, sizes.extra, sizes.digits) == (640, 16, 30, False)
    job = comparing.targets.Job(
        comparing.targets.TARGETS["v5"], sizes, 0, Path("own.yaml"), tmp_path, tmp_path, device="0"
    )
    assert job.hyperparameters({}).read_text() == "lr0: 0.01\nmosaic: 1.0\n"
    line = " ".join(job.words(3, Path("/a/b")))
    assert "--device 0" in line and "--noval" not in line and "--imgsz 640" in line
    line = " ".join(
        comparing.targets.Job(comparing.targets.TARGETS["v8"], sizes, 0, Path("own.yaml"), tmp_path, tmp_path).words(
            3, Path("/a/b")
        )
    )
    assert "mosaic" not in line and "nbs" not in line and "optimizer=SGD" in line


def test_yolov7_is_seeded_from_outside(comparing: SimpleNamespace, tmp_path: Path) -> None:
    """Its train.py has one seed, no option for it: the same seeds would be one seed three times. Nor does it clip."""
    program = comparing.targets.INFORK
    (tmp_path / "utils").mkdir()
    (tmp_path / "utils/general.py").write_text("def init_seeds(seed=0):\n    print('seed', seed)\n")
    script = tmp_path / "train.py"
    script.write_text(
        "import sys\nimport torch\nfrom utils.general import init_seeds\ninit_seeds(2)\nprint(sys.argv[1:])\n"
        "weights = [torch.nn.Parameter(torch.zeros(2)) for _ in range(2)]\n"
        "sum(30 * weight.sum() for weight in weights).backward()\ntorch.optim.SGD(weights, lr=1.0).step()\n"
        "print(round(float(torch.cat(weights).detach().norm()), 3))\n"
    )
    env = {**os.environ, "PYTHONPATH": str(tmp_path)}
    for norm, step in (("10", "10.0"), ("0", "60.0")):
        words = [sys.executable, str(program), "seeded", "3", norm, str(script), "--epochs", "1"]
        said = subprocess.run(words, env=env, capture_output=True, text=True, check=True).stdout
        assert said.splitlines() == ["seed 3002", "['--epochs', '1']", step]
    (tmp_path / "data").mkdir()
    (tmp_path / "data/hyp.scratch.tiny.yaml").write_text("lr0: 0.01\n")
    target = comparing.targets.TARGETS["v7"]
    job = comparing.targets.Job(target, target.tiers["full"], 3, Path("d.yaml"), tmp_path, tmp_path)
    for made in (job.train("best.pt", 3, tmp_path), job.prune("prune.py", Path("best.pt"), [], [])):
        assert made[:4] == [str(program), "seeded", "3", "10.0"] and made[4].endswith(".py")
    own = replace(job, sizes=replace(job.sizes, digits=False))
    assert own.train("best.pt", 3, tmp_path)[3] == "0", "upstream's settings on data of one's own"


def test_networks_that_came_later_take_turns_with_the_first(
    comparing: SimpleNamespace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was timed is kept, but for another size, or another machine."""
    runs, cells, place = [], importlib.import_module("comparing.cells"), "here"

    def fake(_bench: Any, _seed: int, names: dict[str, Path], imgsz: int) -> dict[str, Any]:
        runs.append([*names])
        speeds = {name: {"ratio": len(runs)} for name in names}
        return {
            "machine": place,
            "image": imgsz,
            "networks": {name: {} for name in names},
            "speeds": {"onnxruntime": speeds},
        }

    def ratios(names: str, imgsz: int = 320) -> dict[str, int]:
        bench = SimpleNamespace(folder=tmp_path, cell=lambda seed, name: tmp_path / f"s{seed}" / name)
        made = cells.timed(bench, 0, names.split(), imgsz)
        return {name: speed["ratio"] for name, speed in made["speeds"]["onnxruntime"].items()}

    monkeypatch.setattr(cells, "_timed", fake)
    assert ratios("dense a") == ratios("dense a") == {"dense": 1, "a": 1}
    assert ratios("dense b a") == {"dense": 1, "b": 2, "a": 1}
    assert ratios("dense a b", 640) == {"dense": 3, "a": 3, "b": 3}
    place = "elsewhere"
    assert ratios("dense a b c", 640) == {"dense": 5, "a": 5, "b": 5, "c": 5}
    assert runs == [["dense", "a"], ["dense", "b"], ["dense", "a", "b"], ["dense", "c"], ["dense", "a", "b", "c"]]


def test_a_network_is_pruned_to_anothers_measured_time(
    comparing: SimpleNamespace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The larger one takes 2.5 times the small one's time: 0.4 of its own is asked for; then both are timed again."""
    sizes = comparing.targets.TARGETS["v8"].tiers["quick"]
    bench = comparing.cells.Bench(tmp_path, tmp_path, "v8", sizes, tmp_path / "data.yaml", "compare.py")
    timed, asked = [], []

    def run(workshop: object, name: str, words: list[str], tick: object, again: str) -> None:
        if "latency" in words:
            pairs = [pair.partition("=")[2] for pair in words[5].split(",")]
            timed.append([Path(path).parent.name for path in pairs])
            speeds = {"other": {"ratio": 2.5 if len(timed) == 1 else 1.01}}
            Path(words[2]).write_text(json.dumps({"speeds": {"onnxruntime": speeds}}))
            return
        asked.extend(words)
        place = tmp_path / "running" / "s0-large-pruned-time" / "run"
        place.mkdir()
        step = {**figures(0.5), "pruned_map50": 0.4, "pruned_map50_95": 0.2}
        (place / "report.json").write_text(json.dumps({"steps": [step], "settings": {"sensitivity": None}}))
        for made in ("pruned.pt", "pruned.yaml"):
            (place / made).write_text("network")

    monkeypatch.setattr(comparing.cells.runner, "run", run)
    cell = comparing.cells.make_cell(bench, 0, comparing.variants.variants()["large-pruned-time"])
    assert asked[asked.index("--target-latency") + 1] == "0.4" and "--target-macs" not in asked
    assert timed == [["large-dense", "dense"], ["dense", "s0-large-pruned-time"]]
    assert cell["beside"] == {"ratio": 1.01}


@pytest.mark.slow
@pytest.mark.upstream
def test_quick_tier(fork: Path, offline_env: dict[str, str], tmp_path: Path) -> None:
    """The command of the docs at the quick tier: cells, report, picture; the second time nothing is made again."""
    words = [
        str(BENCHMARKS / "compare.py"),
        "v8",
        str(fork),
        "--tier",
        "quick",
        "--seeds",
        "0",
        "--out",
        "out",
        "--latency-imgsz",
        "0",
        "--only",
        "default",
    ]
    env = {**os.environ, **offline_env, "PYTHONPATH": str(BENCHMARKS.parent / "kit")}
    quiet: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
    for _ in range(2):
        done = subprocess.run([sys.executable, *words], cwd=tmp_path, env=env, text=True, check=False, **quiet)
        assert done.returncode == 0, done.stdout[-3000:]
    report = json.loads((tmp_path / "out/report.json").read_text())
    assert report["variants"]["default"]["macs"] / report["variants"]["dense"]["macs"] == pytest.approx(0.5, abs=0.01)
    assert "Not made: " in (tmp_path / "out/report.md").read_text()
    assert (tmp_path / "out/pareto.png").stat().st_size > 5000
    assert len(list((tmp_path / "out/logs").glob("*.log"))) == 3, "two trainings, one measurement"


def test_waves_hold_what_does_not_need_each_other(comparing: SimpleNamespace) -> None:
    sweep, every = importlib.import_module("comparing.sweep"), comparing.variants.variants()
    chosen = [every[name] for name in comparing.variants.ordered(["scratch", "large-pruned"], every)]
    found = [[(seed, variant.name) for seed, variant in wave] for wave in sweep.waves([0, 1], chosen)]
    assert found[0] == [(seed, name) for seed in (0, 1) for name in ("dense", "large-dense")]
    assert found[1] == [(seed, name) for seed in (0, 1) for name in ("lamp-local", "large-pruned")]
    assert found[2] == [(0, "scratch"), (1, "scratch")]
