# SPDX-License-Identifier: AGPL-3.0-or-later
"""Make one cell of the comparison (a target, a seed, a variant): run its programs in the fork, keep what they found.

A cell works in a scratch folder and counts once its `cell.json` lies in place, so a killed comparison loses one cell.
"""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from prunekit.demo import runner

from .targets import INFORK, TARGETS, Job, Sizes, Target
from .variants import Variant

FIGURES = ("params", "macs", "map50", "map50_95")


@dataclass(frozen=True)
class Bench:
    """A whole comparison: its folder, the fork, the target's name, sizes, data and device, the command that goes on."""

    folder: Path
    fork: Path
    name: str
    sizes: Sizes
    data: Path
    again: str
    device: str = "cpu"
    target: Target | None = None  # where its networks start from checkpoints; else that of the name
    settings: Mapping[str, Any] = field(default_factory=dict)  # upstream's, for data of one's own
    test: Path | None = None  # the data with its test split as `val`

    def job(self, seed: int) -> Job:
        """The command lines of one seed."""
        target = self.target or TARGETS[self.name]
        scratch = self.folder / "settings"
        scratch.mkdir(parents=True, exist_ok=True)
        return Job(target, self.sizes, seed, self.data, self.fork, scratch, self.device, self.settings)

    def cell(self, seed: int, variant: str) -> Path:
        """Where a cell's result lies."""
        return self.folder / "cells" / f"s{seed}" / variant

    def figures(self, seed: int, variant: str) -> dict[str, Any] | None:
        """What a finished cell found, or None."""
        path = self.cell(seed, variant) / "cell.json"
        return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None

    @property
    def workshop(self) -> runner.Workshop:
        """Where programs run."""
        return runner.Workshop(self.fork, self.folder / "logs", self.folder / "settings")


def make_cell(bench: Bench, seed: int, variant: Variant) -> dict[str, Any]:
    """Make a cell, or read it where it is finished.

    Raises:
        PrunekitError: one of its programs failed; names the log.
    """
    done = bench.figures(seed, variant.name)
    if done is not None:
        return done
    work = bench.folder / "running" / f"s{seed}-{variant.name}"
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    started = time.monotonic()
    cell = _Cell(bench, seed, variant, work)
    made = {**_MAKERS[variant.kind](cell), **cell.tested()}
    figures = {"variant": asdict(variant), "seed": seed, **made, "seconds": round(time.monotonic() - started, 1)}
    (work / "cell.json").write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
    _tidy(work)
    place = bench.cell(seed, variant.name)
    place.parent.mkdir(parents=True, exist_ok=True)
    shutil.rmtree(place, ignore_errors=True)
    work.rename(place)
    return figures


@dataclass(frozen=True)
class _Cell:
    """A cell in the making."""

    bench: Bench
    seed: int
    variant: Variant
    work: Path

    @property
    def job(self) -> Job:
        return self.bench.job(self.seed)

    @property
    def start(self) -> Path:
        """The folder of the cell that this one begins with."""
        return self.bench.cell(self.seed, self.variant.start)

    def run(self, words: list[str], what: str = "") -> None:
        name = f"{self.variant.name}-s{self.seed}{what}"
        runner.run(self.bench.workshop, name, words, _idle, self.bench.again)

    def train(self, start: Path | str, epochs: int) -> dict[str, Any]:
        """Upstream's trainer, then the yardstick, on what it left."""
        place = self.work / "train"
        self.run(self.job.train(start, epochs, place))
        return self.measured(place / "weights")

    def measured(self, weights: Path) -> dict[str, Any]:
        """Keep the best checkpoint and measure it."""
        best = weights / "best.pt"
        shutil.copyfile(best if best.is_file() else weights / "last.pt", self.work / "best.pt")
        return self.measure(self.work / "best.pt")

    def measure(self, weights: Path) -> dict[str, Any]:
        """MACs, parameters and accuracy of a checkpoint."""
        out = self.work / "measured.json"
        self.run(self.infork("measure", out, weights), "-measure")
        return json.loads(out.read_text(encoding="utf-8"))

    def tested(self) -> dict[str, Any]:
        """Accuracy of the cell's network on the test split, if there is one."""
        if self.bench.test is None:
            return {}
        out = self.work / "tested.json"
        job = replace(self.job, data=self.bench.test)
        self.run(self.infork("measure", out, self.work / "best.pt", job=job), "-test")
        found = json.loads(out.read_text(encoding="utf-8"))
        return {f"test_{key}": found[key] for key in ("map50", "map50_95")}

    def infork(self, action: str, out: Path, weights: Path, *more: str, job: Job | None = None) -> list[str]:
        words = (job or self.job).words(1, self.work / "scratch")
        return [str(INFORK), action, str(out), self.job.target.upstream, str(weights), *more, *words]

    def fraction(self) -> str:
        """The MACs to prune to: the variant's share, or, for the larger network, those of the small one."""
        if not self.variant.large:
            return str(self.variant.fraction)
        large, small = (self.bench.figures(self.seed, name) for name in ("large-dense", "dense"))
        assert large and small, "made before this cell"
        return str(round(small["macs"] / large["macs"], 6))

    def share_of_time(self) -> str:
        """The time to prune to: that of the variant's `time_of`, as a share of the time of what is pruned."""
        return str(round(1 / self.beside(self.start / "best.pt", self.timed_by)["ratio"], 4))

    @property
    def timed_by(self) -> Path:
        """The network whose time is the target."""
        return self.bench.cell(self.seed, self.variant.time_of) / "best.pt"

    def beside(self, first: Path, other: Path) -> dict[str, Any]:
        """How fast the other network is beside the first, at the images' size in training."""
        networks = {"first": first, "other": other}
        return _timed(self.bench, self.seed, networks, self.bench.sizes.imgsz)["speeds"]["onnxruntime"]["other"]


def timed(bench: Bench, seed: int, names: list[str], imgsz: int) -> dict[str, Any]:
    """Time the networks of a seed's cells in turns (`pruning.scripts.latency.measure`); what was timed stays.

    Networks that came later take turns with the first anew, so that every ratio is of one run; on another machine, or
    at another size, all are timed anew.

    Raises:
        PrunekitError: the program failed.
    """
    out = bench.folder / f"latency-s{seed}.json"
    kept = json.loads(out.read_text(encoding="utf-8")) if out.is_file() else {"image": imgsz, "networks": {}}
    known = kept["networks"] if kept["image"] == imgsz else {}
    lacking = [name for name in names[1:] if name not in known]
    if known and not lacking:
        return kept
    paths = {name: bench.cell(seed, name) / "best.pt" for name in names}
    found = _timed(bench, seed, {name: paths[name] for name in (names[0], *lacking)}, imgsz)
    if known and kept["machine"] != found["machine"]:
        found = _timed(bench, seed, paths, imgsz)
    elif known:
        for key, new, old in (("networks", found, kept), ("onnxruntime", found["speeds"], kept["speeds"])):
            new[key] = {**new[key], **old[key]}
    out.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    return found


def _timed(bench: Bench, seed: int, networks: Mapping[str, Path], imgsz: int) -> dict[str, Any]:
    """Time these networks in turns; the first is the reference."""
    job, out = bench.job(seed), bench.folder / "running" / "latency.json"
    out.parent.mkdir(parents=True, exist_ok=True)
    wider = replace(job, sizes=replace(job.sizes, imgsz=imgsz))
    first, pairs = next(iter(networks.values())), ",".join(f"{name}={path}" for name, path in networks.items())
    words = [str(INFORK), "latency", str(out), job.target.upstream, str(first), pairs]
    runner.run(bench.workshop, "latency", [*words, *wider.words(1, bench.folder / "running" / "x")], _idle, bench.again)
    return json.loads(out.read_text(encoding="utf-8"))


def _idle() -> None:
    """Nothing to show while a program runs."""


def _dense(cell: _Cell) -> dict[str, Any]:
    job = cell.job
    whole = job.sizes.epochs + (job.sizes.extra if cell.variant.name == "small-native" else 0)
    return cell.train(job.target.large if cell.variant.large else job.target.small, whole)


def _more(cell: _Cell) -> dict[str, Any]:
    return cell.train(cell.start / "best.pt", cell.job.sizes.extra)


def _prune(cell: _Cell) -> dict[str, Any]:
    """A script of the fork, as a user types it; the figures are its own report's."""
    place, timed_by = cell.work / "run", cell.variant.time_of
    target = ("--target-latency", cell.share_of_time()) if timed_by else ("--target-macs", cell.fraction())
    options = [*target, *cell.variant.options]
    epochs = max(1, cell.job.sizes.extra // cell.variant.steps)
    words = cell.job.words(epochs, place, dict(cell.variant.hyp))
    cell.run(cell.job.prune(cell.variant.script, cell.start / "best.pt", options, words))
    report = json.loads((place / "report.json").read_text(encoding="utf-8"))
    last = report["steps"][-1]
    shutil.copyfile(place / "pruned.pt", cell.work / "best.pt")
    shutil.copyfile(place / "pruned.yaml", cell.work / "pruned.yaml")
    kept, settings = {key: last[key] for key in FIGURES}, report["settings"]
    if settings["sensitivity"]:  # the table goes with the scratch folder
        settings["sensitivity"] = Path(settings["sensitivity"]).name
    first = report["steps"][0]
    untrained = {"zero_map50": first["pruned_map50"], "zero_map50_95": first["pruned_map50_95"]}
    beside = {"beside": cell.beside(cell.timed_by, cell.work / "best.pt")} if timed_by else {}
    return {**kept, **untrained, **beside, "settings": settings}


def _sensitive(cell: _Cell) -> dict[str, Any]:
    """The fork's sensitivity.py, then its pruning script with that table."""
    table, weights = cell.work / "sensitivity.json", cell.start / "best.pt"
    asked = ["--weights", str(weights), "--out", str(table), "--ratios", "0.5", "--recalibrate"]
    cell.run(["sensitivity.py", *asked, *cell.job.words(1, cell.work / "scratch")], "-table")
    options = (*cell.variant.options, "--sensitivity", str(table))
    return _prune(replace(cell, variant=replace(cell.variant, options=options)))


def _stock(cell: _Cell) -> dict[str, Any]:
    pruned = cell.work / "stock.pt"
    cell.run(cell.infork("stock", pruned, cell.start / "best.pt", cell.fraction()), "-stock")
    before = cell.measure(pruned)
    return {
        **cell.train(pruned, cell.job.sizes.extra),
        "zero_map50": before["map50"],
        "zero_map50_95": before["map50_95"],
    }


def _scratch(cell: _Cell) -> dict[str, Any]:
    sizes = cell.job.sizes
    return cell.train(cell.start / "pruned.yaml", sizes.epochs + sizes.extra)


_MAKERS: dict[str, Callable[[_Cell], dict[str, Any]]] = {
    "dense": _dense,
    "more": _more,
    "prune": _prune,
    "sensitive": _sensitive,
    "stock": _stock,
    "scratch": _scratch,
}


def _tidy(work: Path) -> None:
    """Keep figures, network and YAML; trainings leave tens of megabytes."""
    for path in work.iterdir():
        if path.name not in ("cell.json", "best.pt", "pruned.yaml"):
            shutil.rmtree(path) if path.is_dir() else path.unlink()
