# SPDX-License-Identifier: AGPL-3.0-or-later
"""The command line of quantify.py, whatever the upstream."""

from __future__ import annotations

import argparse

from ..family.contract import Upstream
from ..run.folders import reserved
from ..run.int8 import note_quantized, quantify, require_accuracy
from ..run.int8_request import RUNTIMES, Request
from ..runtime.exported import refuse_exported
from ..runtime.int8_graph import METHODS, require_onnx
from ..runtime.openvino_int8 import require_openvino
from ..runtime.placement import PLACEMENTS
from ..runtime.processor import saturates
from ..settings import Settings
from .options import Parser, add_valued, normalise


def quantify_command(description: str, argv: list[str], upstream: Upstream) -> None:
    """quantify.py: parse, check, quantize, note it in the report of the pruning run that the network comes from.

    Args:
        description: the script's.
        argv: the command line; words that are not its own are upstream's train arguments.
        upstream: the fork's.
    """
    defaults = Request()
    parser = _parser(description, defaults, upstream)
    options, words = parser.parse_known_args(normalise(argv, parser))
    request = Request(
        method=options.method,
        images=options.calibration_images,
        max_map_drop=options.max_map_drop,
        seven_bits=options.seven_bits or saturates(),
        threads=options.threads,
        runtime=options.runtime,
        placement=options.placement,
    ).checked()
    require_onnx()
    if request.runtime == "openvino":
        require_openvino()
    refuse_exported(options.weights or "")
    opened = upstream.open(options.weights or "", words, Settings(), trust=options.trust, run="quantify")
    opened.choose()  # refuses a place where no folder can be
    opened.family.check_data(opened.weights)
    with reserved(opened.choose) as folder:
        record = quantify(opened.family, opened.weights, folder, request)
    note_quantized(opened.weights, folder, record)
    require_accuracy(record, folder)


def _parser(description: str, defaults: Request, upstream: Upstream) -> argparse.ArgumentParser:
    parser = Parser(description=description, epilog=upstream.help_text())
    add = parser.add_argument
    add("--weights", "--weight", "--model", dest="weights", metavar="FILE", help="trained checkpoint, dense or pruned")
    add(
        "--runtime",
        choices=RUNTIMES,
        default=defaults.runtime,
        help="what the file is made for and timed in; openvino is quantized by NNCF",
    )
    add(
        "--method",
        choices=METHODS,
        default=defaults.method,
        help="static: ranges from training images, a scale per channel; dynamic: ranges found while running",
    )
    add(
        "--placement",
        choices=PLACEMENTS,
        default=defaults.placement,
        help="which layers become INT8 (onnxruntime, static): the fastest of a few placements that are timed, or all",
    )
    drop = "exit with code 5 if mAP50-95 falls by more than D"
    add_valued(parser, "--max-map-drop", defaults.max_map_drop, drop, type=float, metavar="D")
    images = "training images to calibrate with"
    add_valued(parser, "--calibration-images", defaults.images, images, type=int, metavar="N")
    add(
        "--seven-bits",
        action="store_true",
        help="weights of 7 bits, for CPUs without VNNI (8-bit sums saturate); always on one",
    )
    add("--threads", type=int, default=defaults.threads, metavar="N", help="threads to time with (default 1)")
    add("--trust", action="store_true", help="load a checkpoint that runs code of its own when loaded")
    return parser
