# SPDX-License-Identifier: AGPL-3.0-or-later
"""latency.py, whatever the upstream: how fast is a pruned network beside the dense one, measured on this machine.

The networks take turns in one process, so that clock, heat and neighbours meet them alike; what counts is the ratio.
"""

from __future__ import annotations

import argparse
import platform
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from ..errors import PruneError
from ..family.contract import Family, Upstream
from ..family.ranges import check_numbers
from ..files import check_place, write_json
from ..network.counts import count
from ..runtime.runtimes import FROM_ONNX, RUNTIMES, missing, torch_call, versions
from ..runtime.timing import LEAST, Plenty, Speed, timed_calls
from ..scratch import temporary_folder
from ..settings import Settings
from .options import Parser, normalise


def latency(description: str, argv: list[str], upstream: Upstream) -> dict[str, Any]:
    """latency.py: print, and with `--json FILE` write, the time of every network in every runtime.

    Args:
        description: the script's.
        argv: the command line; words that are not its own are upstream's train arguments (`--imgsz`, `--device`).
        upstream: the fork's.

    Raises:
        PruneError: no such network, an unknown runtime, or one that is not installed.
    """
    options, words = _parsed(description, argv)
    plenty = Plenty(options.threads, options.rounds, options.limit)
    if options.json:
        check_place("--json", options.json, "latency.json")
    found: dict[str, tuple[Family, Path]] = {}
    for path in (options.dense, *options.pruned):
        opened = upstream.open(path, words, Settings(), trust=options.trust)
        found[_name(opened.weights, found)] = (opened.family, opened.weights)
    result = measure(found, options.runtime or [name for name in RUNTIMES[:2] if not missing(name)], plenty)
    print(table(result))
    if options.json:
        write_json(options.json, result)
        print(f"Figures: {options.json}")
    return result


def _parsed(description: str, argv: list[str]) -> tuple[argparse.Namespace, list[str]]:
    parser = Parser(
        description=description,
        epilog="upstream's --imgsz (--img-size) and --device may follow",
    )
    add, plenty = parser.add_argument, Plenty()
    add("--dense", required=True, metavar="PT", help="the network that the others are held against")
    add("--pruned", required=True, nargs="+", metavar="PT", help="one network or more")
    add("--runtime", nargs="+", choices=RUNTIMES, help="default: torch, and onnxruntime where it is installed")
    add("--threads", type=int, default=torch.get_num_threads(), help="of one forward (default: as torch uses here)")
    add("--rounds", type=int, default=plenty.rounds, help=f"turns that count (default {plenty.rounds})")
    add("--limit", type=float, default=plenty.limit, metavar="S", help="seconds per runtime after which fewer will do")
    add("--json", type=Path, metavar="FILE", help="write the figures, too")
    add("--trust", action="store_true", help="load checkpoints that run code of their own when loaded")
    options, words = parser.parse_known_args(normalise(argv, parser))
    asked = {"threads": options.threads, "rounds": options.rounds, "limit": options.limit}
    check_numbers(asked, {"threads": 1, "rounds": LEAST, "limit": 0})
    return options, words


def measure(
    networks: Mapping[str, tuple[Family, Path]], runtimes: Sequence[str], plenty: Plenty | None = None
) -> dict[str, Any]:
    """Time checkpoints beside each other; the first is the reference.

    Returns:
        {machine, image, threads, networks: {name: {params, macs, macs_ratio}}, speeds: {runtime: {name: Speed dict}}}.

    Raises:
        PruneError: a runtime is not installed.
    """
    plenty = plenty or Plenty()
    for runtime in runtimes:
        if reason := missing(runtime):
            raise PruneError(f"--runtime {runtime}: {reason}.")
    sizes, image = _sizes(networks)
    speeds: dict[str, dict[str, Any]] = {}
    with temporary_folder() as folder:
        files = _exported(networks, Path(folder)) if any(name in FROM_ONNX for name in runtimes) else {}
        for runtime in runtimes:
            timed = _timed(runtime, networks, files, image, plenty)
            speeds[runtime] = {name: speed.as_dict() for name, speed in timed.items()}
    return {
        "machine": machine(),
        "image": image.shape[-1],
        "threads": plenty.threads,
        "networks": sizes,
        "speeds": speeds,
    }


def _sizes(networks: Mapping[str, tuple[Family, Path]]) -> tuple[dict[str, dict[str, float]], torch.Tensor]:
    """Parameters, MACs and their ratio for each network, and the image they are timed with.

    Raises:
        PruneError: the networks remember images of different sizes, and the command line names none.
    """
    sizes: dict[str, dict[str, float]] = {}
    image = torch.zeros(0)
    shapes: dict[str, torch.Size] = {}
    for name, (family, weights) in networks.items():
        model = family.load(weights)
        image = family.example(model)
        shapes[name] = image.shape
        cost = count(model, image)
        sizes[name] = {"params": int(cost.params), "macs": float(cost.macs)}
    if len(set(shapes.values())) > 1:
        listed = ", ".join(f"{name}: {shape[-1]} px, {shape[1]} channels" for name, shape in shapes.items())
        raise PruneError(f"Different images cannot be compared ({listed}): say which with --imgsz (--img-size).")
    dense = next(iter(sizes.values()))["macs"]
    sizes = {name: {**size, "macs_ratio": dense / size["macs"]} for name, size in sizes.items()}
    return sizes, torch.rand(image.shape, generator=torch.Generator().manual_seed(0))


def _exported(networks: Mapping[str, tuple[Family, Path]], folder: Path) -> dict[str, Path]:
    files = {name: folder / f"{number}.onnx" for number, name in enumerate(networks)}
    for name, (family, weights) in networks.items():
        family.export(weights, files[name])
    return files


def _timed(
    runtime: str,
    networks: Mapping[str, tuple[Family, Path]],
    files: Mapping[str, Path],
    image: torch.Tensor,
    plenty: Plenty,
) -> dict[str, Speed]:
    before = torch.get_num_threads()
    torch.set_num_threads(plenty.threads)
    try:
        if runtime == "torch":
            device = _device(next(iter(networks.values()))[0])
            calls = {name: torch_call(family.load(path), image, device) for name, (family, path) in networks.items()}
        else:
            calls = {name: FROM_ONNX[runtime](file, image, threads=plenty.threads) for name, file in files.items()}
        return timed_calls(calls, plenty)
    finally:
        torch.set_num_threads(before)


def _device(family: Family) -> str:
    """The torch device that `--device` names: the CPU unless an accelerator was asked for."""
    given = str(family.arguments().get("device") or "cpu")
    return f"cuda:{given.split(',')[0]}" if given[:1].isdigit() else given


def machine() -> dict[str, Any]:
    """What the figures were seen on."""
    gpu = torch.cuda.get_device_name(0) if torch.cuda.is_available() else None
    return {"cpu": _cpu(), "gpu": gpu, "python": platform.python_version(), "versions": versions()}


def _cpu() -> str:
    """The processor's name, where Linux tells it."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())


def _name(weights: Path, taken: Mapping[str, Any]) -> str:
    """A short name for a checkpoint, its path where two have the same."""
    return str(weights) if weights.stem in taken else weights.stem


def table(result: Mapping[str, Any]) -> str:
    """The figures as text: one row for each runtime and network."""
    wide = max(len(name) for name in result["networks"])
    rows = [f"{'runtime':<12} {'network':<{wide}} {'ms':>9} {'speed-up':>9} {'95% interval':>16} {'MACs ratio':>11}"]
    for runtime, speeds in result["speeds"].items():
        for name, speed in speeds.items():
            interval = f"{speed['low']:.2f} to {speed['high']:.2f}"
            ratio = result["networks"][name]["macs_ratio"]
            rows.append(
                f"{runtime:<12} {name:<{wide}} {speed['seconds'] * 1e3:9.2f} {speed['ratio']:9.2f} {interval:>16} "
                f"{ratio:11.2f}"
            )
    seen = result["machine"]
    where = seen["gpu"] or seen["cpu"]
    rows.append(f"{result['image']} px, batch 1, {result['threads']} threads, {where}.")
    rows.append("Speed-up is measured: the median of dense / pruned over the turns. MACs ratio is arithmetic.")
    return "\n".join(rows)
