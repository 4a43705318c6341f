# SPDX-License-Identifier: AGPL-3.0-or-later
"""report.html: one file that loads nothing, says what was reached and what was not pruned, and is read in a browser."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
from html import unescape
from pathlib import Path
from threading import Timer
from types import SimpleNamespace
from typing import Any

import pytest
from engine_helpers import modules

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
WIDTHS = {f"model.{n}.conv": 64 for n in range(40)}
# What the page looks like from inside: how far it is too wide, and the smallest letters of its charts, in pixels.
LOOK = """<script>addEventListener("load", () => {
  const root = document.documentElement;
  const high = [...document.querySelectorAll("svg text")].map(it => it.getBoundingClientRect().height);
  console.log("LOOK" + JSON.stringify([root.scrollWidth - innerWidth, Math.min(...high), high.length]));
});</script>"""


def speed(ratio: float) -> dict[str, Any]:
    """A time as a record holds it."""
    return {"seconds": 0.01 / ratio, "ratio": ratio, "low": ratio - 0.1, "high": ratio + 0.1, "rounds": 25}


@pytest.fixture(scope="module")
def made(engine: SimpleNamespace) -> SimpleNamespace:
    """The engine with what makes a page."""
    parts = ("family.contract", "network.counts", "planning.plan", "planning.plan_file", "run.examples", "run.page")
    return SimpleNamespace(**vars(modules(*parts, "run.record", "settings")))


@pytest.fixture
def finished(made: SimpleNamespace, tmp_path: Path) -> Any:
    """A run of two steps of which the first was kept, with a hostile name, a plan, times and a picture."""
    costs = {"params": 1000, "macs": 4e6, "map50": 0.9, "map50_95": 0.8}
    settings, weights = made.settings.Settings(target_macs=0.5, steps=2), "/x/<script>alert(1).pt"
    state = made.record.State(tmp_path, settings, "toy", weights, {}, image=64)
    state.dense = {**costs, "widths": WIDTHS, "checkpoint": "/x.pt", "seconds": 1.0}
    pruned = {"pruned_map50": 0.4, "pruned_map50_95": 0.3, "plan": "step1_plan.yaml", "checkpoint": "a.pt"}
    half = dict.fromkeys(WIDTHS, 32)
    first = {"step": 1, "params": 460, "macs": 2e6, "map50": 0.88, "map50_95": 0.7, "kept": True, "widths": half}
    state.steps = [first | pruned, first | pruned | {"step": 2, "macs": 1e6, "map50_95": 0.2, "kept": False}]
    state.timing = {"runtime": "torch", "image": 64, "threads": 1}
    state.timing["steps"] = {"0": speed(1.0), "1": speed(1.61), "2": speed(2.5)}
    frozen = {"model.22.out": "output: classes & <b>bins</b> fix the width"}
    entry = made.plan.PlanEntry("model.0.conv", 64, 32, ("model.0.conv",))
    notes = ("4 groups not above the least width, kept dense (floor 8): model.2.conv",)
    cost = made.counts.Cost
    plan = made.plan.Plan("lamp", "local", (entry,), cost(4e6, 1000), cost(2e6, 460), (1, 3, 64, 64), frozen, notes)
    made.plan_file.write_plan(plan, tmp_path / "step1_plan.yaml")
    return state


def test_it_says_what_was_reached_and_what_was_not_pruned(made: SimpleNamespace, finished: Any) -> None:
    text = unescape(re.sub(r"<style.*?</style>", "", made.page.write_page(finished).read_text(), flags=re.DOTALL))
    assert "50% of the MACs and 46% of the parameters, 1.61 times as fast" in text
    assert "mAP50-95 0.800 before, 0.700 after." in text
    cells = [re.findall(r"<td>(.*?)</td>", row) for row in re.findall(r"<tr>(.*?)</tr>", text)]
    assert ["parameters", "1,000", "460", "-54.0%"] in cells
    assert ["mAP50-95, not fine-tuned", "", "0.3000", "-0.5000"] in cells
    assert ["time per image", "10 ms", "6.21 ms", "-37.9%"] in cells
    assert "<code>model.22.out</code></td><td>output: classes & <b>bins</b> fix the width" in text
    assert "4 groups not above the least width" in text
    for word in (*WIDTHS, "output channels", "fine-tuned mAP50-95", "step 2", "95% intervals"):
        assert word in text, word


def test_it_loads_nothing_and_runs_nothing(made: SimpleNamespace, finished: Any) -> None:
    """No file or address of others, no script, and names from a checkpoint's path or plan are text."""
    (finished.folder / "plots").mkdir()
    (finished.folder / made.page.EXAMPLES).write_bytes(b"\x89PNG")
    text = made.page.write_page(finished).read_text()
    assert "<script" not in text and "<b>bins" not in text and "&lt;script&gt;" in text
    loaded = re.findall(r"""(?:src|href|url)\s*[=(]\s*["']?([^"')\s>]+)""", text)
    assert all(it.startswith(("data:", "#")) for it in loaded), loaded
    assert any(it.startswith("data:image/png;base64,iVBORw") or it.startswith("data:image/png") for it in loaded)


def test_a_run_without_a_result_or_a_plan(made: SimpleNamespace, finished: Any) -> None:
    """No step was kept: said, without widths. A plan that was edited to nonsense: the page does without."""
    (finished.folder / "step1_plan.yaml").write_text("nonsense: [")
    assert "every layer could be pruned" in made.page.write_page(finished).read_text()
    finished.steps, finished.timing = [finished.steps[1]], {}
    text = made.page.write_page(finished).read_text()
    assert "there is no pruned network" in text and "output channels" not in text and "time per image" not in text


def test_outlines_are_drawn_where_the_objects_are(made: SimpleNamespace) -> None:
    """A box in yellow, closed; the class of a whole image under it."""
    import torch
    from matplotlib.figure import Figure

    axis = Figure().subplots()
    found = made.contract.Found
    objects = [found("seven 0.90", [(1, 2), (5, 2), (5, 6), (1, 6)]), found("cat 0.80")]
    made.examples._draw(axis, torch.zeros(1, 3, 8, 8), objects)
    (line,) = axis.lines
    assert line.get_xydata().tolist() == [[1, 2], [5, 2], [5, 6], [1, 6], [1, 2]]
    assert axis.get_xlabel() == "cat 0.80" and [text.get_text() for text in axis.texts] == ["seven 0.90"]


def console(browser: str, page: Path, wide: int) -> str:
    """What LOOK says in the browser's console, where nothing may stand before it. The browser is stopped then.

    It is not asked to print the page: a single process, as in a container, never ends after that.
    """
    words = ["--headless", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr", f"--window-size={wide},900"]
    profile = page.with_name("profile")
    command = [browser, *words, f"--user-data-dir={profile}", "--remote-debugging-port=0", page.as_uri()]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, start_new_session=True) as process:
        stop = Timer(120, os.killpg, (process.pid, signal.SIGKILL))
        stop.start()
        try:
            assert process.stderr
            said = next((line for line in process.stderr if "CONSOLE" in line), "the browser ended, or took too long")
        finally:
            stop.cancel()
            os.killpg(process.pid, signal.SIGKILL)
    found = re.search(r'"LOOK(.*?)", source', said)
    assert found, said
    return found[1]


@pytest.mark.parametrize("wide", [1280, 400])
def test_it_reads_well_in_a_browser(made: SimpleNamespace, finished: Any, tmp_path: Path, wide: int) -> None:
    """Nothing in the console, nothing cut off at the side, and letters of charts that can be read."""
    browser = next(filter(None, map(shutil.which, BROWSERS)), None)
    if browser is None:
        pytest.skip(f"none of {', '.join(BROWSERS)} is installed")
    path = made.page.write_page(finished)
    path.write_text(path.read_text().replace("</head>", f"{LOOK}</head>"))
    over, least, count = json.loads(console(browser, path, wide))
    assert over <= 0 and count > 60
    assert least > 7, "letters of a chart are too small to read"


def test_a_page_that_cannot_be_made_costs_no_run(
    engine: SimpleNamespace, finished: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A library's failure is a warning beside a whole report; a full disk is none."""
    report = modules("run.report").report

    def failing(error: Exception) -> Any:
        def page(state: Any) -> None:
            raise error

        return page

    monkeypatch.setattr(report, "write_page", failing(ValueError("no glyph")))
    report.write_report(finished, "plots/steps.png")
    assert "warning: report.html is missing (no glyph)" in capsys.readouterr().out
    assert (finished.folder / "report.md").is_file()
    monkeypatch.setattr(report, "write_page", failing(OSError(28, "No space left on device")))
    with pytest.raises(OSError, match="No space left"):
        report.write_report(finished, "plots/steps.png")


def test_detections_of_an_earlier_run_do_not_stay(
    engine: SimpleNamespace, made: SimpleNamespace, finished: Any
) -> None:
    """Where they cannot be drawn anew, the page shows none."""
    beside, said = modules("run.beside").beside, list[str]()
    place = finished.path(made.page.EXAMPLES)
    place.parent.mkdir()
    place.write_bytes(b"of another run")
    beside.look(finished, SimpleNamespace(), said.append)
    assert not place.exists() and said[0].startswith("warning: the report's measured times or example images")
