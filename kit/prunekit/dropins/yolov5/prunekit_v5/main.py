# SPDX-License-Identifier: AGPL-3.0-or-later
"""prune.py and prune_one_shot.py for YOLOv5, as command lines and as calls."""

from __future__ import annotations

from pruning.family.ranges import check_numbers
from pruning.scripts.argparse_upstream import ArgparseUpstream
from utils.general import increment_path

from .adapter import Yolov5, find_weights, train
from .arguments import OWN, TRAINERS, help_text, upstream_parser
from .checks import LEAST

SUFFIXES = {"detect": "", "segment": "-seg"}

UPSTREAM = ArgparseUpstream(
    family=lambda given, settings, trust: Yolov5(given, head=settings.head, trust=trust),
    find_weights=find_weights,
    parsers=lambda: [upstream_parser(task) for task in TRAINERS],
    help_text=help_text,
    train=lambda told: train(told["task"], told["options"]),
    check=lambda arguments: check_numbers(arguments, LEAST),
    own=OWN,
    numbered=increment_path,
    suffix=lambda family: SUFFIXES[family.task],
)
prune, run = UPSTREAM.prune, UPSTREAM.run
