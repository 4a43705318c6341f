# SPDX-License-Identifier: AGPL-3.0-or-later
"""The demo's report as one HTML file that needs no other file and no network."""

from __future__ import annotations

import os
from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import Any

from prunekit.demo import charts, report
from prunekit.demo.digits import NAMES

NAME = "report.html"
# What a person may want to have in hand afterwards; the pruning run has a report of its own.
RUN = "pruned/report.html"
FILES = ("dense/weights/best.pt", "pruned/pruned.pt", "pruned/pruned.onnx", "pruned/pruned.yaml", RUN)
STYLE = """
:root { color-scheme: light dark; --dense: #888; --extra: #2a78c8; --pruned: #e07b00; --faint: #8884; }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 50rem; margin: 2rem auto; padding: 0 1rem; }
table { border-collapse: collapse; width: 100%; } th, td { padding: .3em .6em; border-bottom: 1px solid var(--faint); }
td { text-align: right; font-variant-numeric: tabular-nums; } td:first-child, th:first-child { text-align: left; }
pre { background: var(--faint); padding: .8em; overflow-x: auto; white-space: pre-wrap; overflow-wrap: anywhere; }
svg { width: 100%; height: auto; } svg text { font-size: 12px; fill: currentColor; } .grid { stroke: var(--faint); }
polyline { fill: none; stroke-width: 2.5; } .dense { stroke: var(--dense); } .extra { stroke: var(--extra); }
.pruned { stroke: var(--pruned); } .before { fill: var(--faint); } .after { fill: var(--pruned); }
.key b { display: inline-block; width: 1.6em; height: .3em; margin: 0 .4em .2em 1em; }
.scenes { display: grid; grid-template-columns: repeat(3, 1fr); gap: .5rem; } .scenes p { margin: 0; font-weight: 600; }
.scene image { image-rendering: pixelated; } .scene rect { fill: none; stroke: #ff0; stroke-width: .7; }
.scene text { font-size: 6.5px; fill: #ff0; }
"""


def write(folder: Path, comparison: dict[str, Any], commands: Sequence[str]) -> Path:
    """Write report.html, whole; `commands` are those to type next."""
    parts = [
        f"<h1>prunekit demo {escape(comparison['target'])}: half the MACs</h1>",
        f"<p><strong>{escape(report.verdict(comparison))}</strong></p>",
        _table(comparison),
        f"<p>{escape(_circumstances(comparison))}</p>",
        f'<p>The page that every pruning run leaves: <a href="{RUN}">{RUN}</a>.</p>',
        "<h2>Training</h2>",
        _curves(comparison),
        "<h2>Width of each layer, before and after</h2>",
        charts.bars(comparison["widths"]),
        "<h2>Scenes that no network was trained on</h2>",
        _scenes(folder, comparison["pictures"]),
        f"<p>Files in {escape(str(folder))}: {', '.join(f'<code>{name}</code>' for name in FILES)}.</p>",
        "<h2>What was typed, in the fork</h2>",
        *(f"<pre>{escape(step['command'])}</pre>" for step in comparison["steps"].values() if step["command"]),
        "<h2>What to type next</h2>",
        f"<pre>{escape(chr(10).join(commands))}</pre>",
    ]
    path, scratch = folder / NAME, folder / f"{NAME}.part"
    scratch.write_text(_page("".join(parts)), encoding="utf-8")
    os.replace(scratch, path)
    return path


def _page(body: str) -> str:
    """The document around the report's parts."""
    return (
        '<!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">'
        f"<title>prunekit demo</title><style>{STYLE}</style><body>{body}</body></html>\n"
    )


def _table(comparison: dict[str, Any]) -> str:
    """The figures."""
    head = "".join(f"<th>{escape(column)}</th>" for column in report.COLUMNS)
    body = "".join(
        "<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in report.rows(comparison)
    )
    return f"<table><tr>{head}</tr>{body}</table>"


def _circumstances(comparison: dict[str, Any]) -> str:
    """How the figures came about."""
    machine, size = comparison["machine"], comparison["recipe"]
    where = f"{machine['cpus']} CPU cores, {machine['gpu'] or 'no GPU'}, "
    where += f"Python {machine['python']}, torch {machine['torch']}"
    return (
        f"{size['train']} training and {size['val']} validation scenes of {size['imgsz']} px, seed {size['seed']}. "
        f"Seen on {where}; training and measuring took {report.seconds(comparison):.0f} s. "
        "MACs are arithmetic for one image; ms/image was measured on one CPU thread. "
        "Each network is the best epoch's by validation, and is validated on the same scenes."
    )


def _curves(comparison: dict[str, Any]) -> str:
    """mAP50 over epochs: the first training, then both ways to go on."""
    dense, extra, pruned = (comparison["curves"][name] for name in ("dense", "extra", "pruned"))
    start = len(dense)
    series: dict[str, list[charts.Point]] = {
        "dense": [(epoch + 1.0, value) for epoch, value in enumerate(dense)],
        "extra": [(start + epoch, value) for epoch, value in enumerate([dense[-1], *extra])],
        "pruned": [
            (start + epoch, value) for epoch, value in enumerate([comparison["before_finetuning"]["map50"], *pruned])
        ],
    }
    named = {
        "dense": "dense",
        "extra": "dense, trained on",
        "pruned": "pruned, fine-tuned",
    }
    key = "".join(f'<b style="background: var(--{name})"></b>{text}' for name, text in named.items())
    return f'<p class="key">mAP50:{key}</p>' + charts.lines(series, start + max(len(extra), len(pruned)), "epochs")


def _scenes(folder: Path, pictures: list[dict[str, Any]]) -> str:
    """Rows of three: the truth, the dense network's boxes, the pruned one's."""
    cells = ["<p>truth</p>", "<p>dense, trained on</p>", "<p>pruned, fine-tuned</p>"]
    for picture in pictures:
        image = folder / picture["image"]
        shown = (_truth(image), picture["boxes"]["extra"], picture["boxes"]["pruned"])
        cells += [charts.scene(image, boxes, NAMES) for boxes in shown]
    return f'<div class="scenes">{"".join(cells)}</div>'


def _truth(image: Path) -> list[charts.Box]:
    """The labelled boxes of an image of the data set."""
    label = image.parents[2] / "labels" / image.parent.name / f"{image.stem}.txt"
    found: list[charts.Box] = []
    for line in label.read_text(encoding="utf-8").splitlines():
        name, x, y, w, h = map(float, line.split())
        found.append((name, 1.0, x - w / 2, y - h / 2, x + w / 2, y + h / 2))
    return found
