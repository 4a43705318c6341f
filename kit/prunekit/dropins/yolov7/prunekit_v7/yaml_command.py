# SPDX-License-Identifier: AGPL-3.0-or-later
"""The command line of generate_prune_yaml.py."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from pruning.errors import PruneError
from pruning.family.contract import Network
from pruning.files import write_whole
from pruning.run.record import REPORT, State
from pruning.scripts.options import Parser, normalise

from .adapter import Yolov7
from .data import found, read_architecture
from .main import find_weights
from .pruned_yaml import check_same_rows, exact_structure, text_of, verify, width_pairs

RUNS = Path("runs")


def generate(description: str, argv: list[str]) -> None:
    """generate_prune_yaml.py: find the pruned network, write its architecture, try the file."""
    options = _parsed(description, argv)
    if options.pruned_model.suffix not in (".yaml", ".yml"):  # anything else may be a network, about to be lost
        raise PruneError(f"--pruned_model {options.pruned_model}: a YAML is written: name it pruned_model.yaml")
    weights = find_weights(options.weights) if options.weights else last_pruned()
    print(f"Pruned weights: {weights}" + ("" if options.weights else " (last pruning run; --weights names others)"))
    family = Yolov7(trust=options.trust)
    family.check(weights)
    model, cfg = family.load(weights), found("--model", options.model)
    dense = read_architecture("--model", cfg)
    check_same_rows(model, dense, options.model, weights)
    if options.pruned_model.resolve() == Path(cfg):
        raise PruneError(f"--pruned_model {options.pruned_model} is the file of --model: give another name.")
    made = exact_structure(model)
    text = text_of(made, dense, _title(options, weights))

    def write(scratch: Path) -> None:
        scratch.write_text(text, encoding="utf-8")
        if options.verify:
            verify(model, scratch)

    write_whole(options.pruned_model, write)
    print(f"Written: {options.pruned_model}: {_figures(model, made, dense)}")
    if options.verify:
        print("Verified: built from the file, weights loaded strictly, largest difference of outputs 0")
    print(f"Train it: python {family.trainer} --cfg {options.pruned_model} --weights {weights} ...")


def last_pruned() -> Path:
    """The network of the pruning run that finished last below runs/.

    Raises:
        PruneError: there is none.
    """
    for report in sorted(RUNS.rglob(REPORT), key=lambda path: path.stat().st_mtime, reverse=True):
        try:
            state = State.load(report.parent)
        except PruneError:
            continue
        made = state.folder / str(state.final.get("checkpoint", ""))
        if state.family == Yolov7.name and made.is_file():
            return made
    raise PruneError(f"no finished pruning run below {RUNS.resolve()}: give the network with --weights pruned.pt")


def _parsed(description: str, argv: list[str]) -> argparse.Namespace:
    parser = Parser(description=description)
    add = parser.add_argument
    add("--model", "--cfg", dest="model", required=True, metavar="YAML", help="architecture of the dense network")
    add("--pruned-model", type=Path, required=True, metavar="YAML", help="file to write")
    add("--weights", "--weight", dest="weights", metavar="PT", help="pruned network (default: of the last pruning run)")
    add("--verify", action="store_true", help="build a network from the file, load the weights strictly, compare")
    add("--trust", action="store_true", help="load a checkpoint that runs code of its own when loaded")
    return parser.parse_args(normalise(argv, parser))


def _title(options: argparse.Namespace, weights: Path) -> str:
    return (
        f"Architecture of the pruned network {weights.name}: {options.model} with each layer's real width.\n"
        f"A prunekit fork builds it: train.py --cfg {options.pruned_model.name} --weights {weights.name}\n"
        f"Behind each row: its number, and the width in {Path(options.model).name}."
    )


def _figures(model: Network, made: dict[str, Any], dense: dict[str, Any]) -> str:
    pairs = [pair for pair in width_pairs(made, dense) if pair]
    total = sum(parameter.numel() for parameter in model.parameters())
    return f"{sum(now < was for now, was in pairs)} of {len(pairs)} layers narrower, {total:,} parameters"
