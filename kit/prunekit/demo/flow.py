# SPDX-License-Identifier: AGPL-3.0-or-later
"""The demo's steps: fork, data, dense, pruned, extra, compare.

Each step works in DIR/running and is moved into place when it is whole, so an interrupted demo goes on after its last
finished step. What lies in place is never made again.
"""

from __future__ import annotations

import json
import shlex
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from prunekit.console import Console, Step
from prunekit.demo import digits, report, runner
from prunekit.demo.folder import claim, held, write_json
from prunekit.demo.recipe import NETWORKS, Recipe

RUNNING, COMPARISON = "running", "comparison.json"
MEASURE = Path(__file__).parent / "infork" / "measure.py"


@dataclass(frozen=True)
class Demo:
    """One demo: its target, sizes, folder and fork (both absolute), and the command that goes on with it."""

    target: str
    recipe: Recipe
    folder: Path
    fork: Path
    again: str
    console: Console

    @property
    def workshop(self) -> runner.Workshop:
        """Where its programs run."""
        return runner.Workshop(self.fork, self.folder / "logs", self.folder / "settings")

    @property
    def page(self) -> Path:
        """The page that the pruning run leaves, as every run does."""
        return self.folder / "pruned" / "report.html"

    @property
    def data(self) -> Path:
        """The data set's folder."""
        return self.folder / "data"

    def weights(self, name: str) -> Path:
        """The checkpoint of step dense, pruned or extra."""
        return self.folder / name / ("pruned.pt" if name == "pruned" else "weights/best.pt")


def run_demo(demo: Demo) -> dict[str, Any]:
    """Do what is left of a demo, once its fork is set up; returns the comparison.

    Raises:
        UserError: the folder belongs to another demo or to nobody's.
        PrunekitError: a program failed; says where its log is and how to go on.
    """
    claim(demo.folder, demo.target, demo.recipe)
    with held(demo.folder):
        return _carry(demo)


def _carry(demo: Demo) -> dict[str, Any]:
    """The steps, each of them skipped where its outcome lies in place."""
    with _step(demo, "data", "compose digits into scenes") as step:
        data = _build_data(demo, step)
    train = [*runner.YOLO, "detect", "train"]
    epochs, extra = demo.recipe.epochs, demo.recipe.extra
    _make(
        demo,
        "dense",
        f"train {NETWORKS[demo.target]} from scratch",
        epochs,
        [*train, f"model={NETWORKS[demo.target]}", *demo.recipe.words(data, epochs)],
    )
    _make(
        demo,
        "pruned",
        f"prune to {demo.recipe.target_macs:.0%} of the MACs and fine-tune",
        extra,
        [
            "prune_one_shot.py",
            "--weights",
            str(demo.weights("dense")),
            "--target-macs",
            str(demo.recipe.target_macs),
            *demo.recipe.words(data, extra),
        ],
    )
    _make(
        demo,
        "extra",
        "train the dense network on, unpruned, for as long",
        extra,
        [*train, f"model={demo.weights('dense')}", *demo.recipe.words(data, extra)],
    )
    with _step(demo, "compare", "validate and time all of them") as step:
        comparison = _compare(demo, data, step)
        step.result = (
            step.result or f"{len(comparison['networks'])} networks, {report.seconds(comparison):.0f} s in all"
        )
    return comparison


def next_commands(demo: Demo) -> list[str]:
    """What to type after the demo: prune by other means, and use the pruned network."""
    words = demo.recipe.words(demo.data / "data.yaml", demo.recipe.extra)
    prune = [
        "python",
        "prune.py",
        "--weights",
        str(demo.weights("dense")),
        "--target-macs",
        "0.3",
        "--steps",
        "3",
    ]
    image = demo.data / "images" / "val" / "00000.png"
    return [
        f"cd {shlex.quote(str(demo.fork))}",
        "pip install --no-deps -e .  # so that `yolo` runs this fork",
        shlex.join([*prune, *words]),
        shlex.join(
            [
                "yolo",
                "predict",
                f"model={demo.weights('pruned')}",
                f"source={image}",
                f"imgsz={demo.recipe.imgsz}",
            ]
        ),
    ]


def _step(demo: Demo, name: str, what: str) -> Any:
    """A named step; where no spinner can turn, a line says that it has begun."""
    if not demo.console.people.is_terminal:
        demo.console.say(f"        {name}: {what} ...")
    return demo.console.step(name)


def _build_data(demo: Demo, step: Step) -> Path:
    """The data set, made or found."""
    size = demo.recipe
    step.report(f"{size.train} + {size.val} images")
    for left_by_a_kill in demo.folder.glob(f".{demo.data.name}-*"):
        shutil.rmtree(left_by_a_kill, ignore_errors=True)
    path = digits.build(demo.data, train=size.train, val=size.val, imgsz=size.imgsz, seed=size.seed)
    step.result = f"{size.train} training and {size.val} validation images, {size.imgsz} px"
    return path


def _make(demo: Demo, name: str, what: str, epochs: int, words: list[str]) -> None:
    """Have a program make DIR/NAME, unless it is there."""
    with _step(demo, name, what) as step:
        target, running = demo.folder / name, demo.folder / RUNNING
        if target.is_dir():
            step.result = "kept from an earlier run"
            return
        shutil.rmtree(running, ignore_errors=True)
        start = time.monotonic()
        placed = [*words, f"project={running}", f"name={name}", "exist_ok=True"]
        runner.run(
            demo.workshop,
            name,
            placed,
            _progress(step, what, running, epochs, start),
            demo.again,
        )
        seconds = round(time.monotonic() - start, 1)
        write_json(running / name / "step.json", {"seconds": seconds, "command": _shown(words)})
        (running / name).rename(target)
        step.result = f"{what}, {epochs} epochs"


def _progress(step: Step, what: str, running: Path, epochs: int, start: float) -> Callable[[], None]:
    """Show what runs, its epoch by the rows that upstream has written, and the time so far."""

    def tick() -> None:
        tables = list(running.rglob("results.csv"))
        rows = max(
            (len(table.read_text(encoding="utf-8").splitlines()) for table in tables),
            default=1,
        )
        step.report(f"{what}: {max(rows - 1, 0)} of {epochs} epochs, {time.monotonic() - start:.0f} s")

    return tick


def _shown(words: list[str]) -> str:
    """A command as a person types it in the fork."""
    typed = ["yolo", *words[2:]] if tuple(words[:2]) == runner.YOLO else ["python", *words]
    return shlex.join(typed)


def _compare(demo: Demo, data: Path, step: Step) -> dict[str, Any]:
    """Measure the three networks side by side; {networks, steps, pictures, machine, ...}."""
    path = demo.folder / COMPARISON
    if path.is_file():
        step.result = "kept from an earlier run"
        return json.loads(path.read_text(encoding="utf-8"))
    measured = demo.folder / RUNNING / "measured.json"
    measured.parent.mkdir(exist_ok=True)
    start = time.monotonic()
    named = [f"{name}={demo.weights(name)}" for name in ("dense", "extra", "pruned")]
    words = [str(MEASURE), str(data), str(demo.recipe.imgsz), str(measured), *named]
    runner.run(
        demo.workshop,
        "compare",
        words,
        lambda: step.report(f"{time.monotonic() - start:.0f} s"),
        demo.again,
    )
    comparison = report.compare(
        demo.folder,
        json.loads(measured.read_text(encoding="utf-8")),
        demo.target,
        demo.recipe,
    )
    comparison["steps"]["compare"] = {
        "seconds": round(time.monotonic() - start, 1),
        "command": "",
    }
    write_json(path, comparison)
    shutil.rmtree(demo.folder / RUNNING)
    return comparison
