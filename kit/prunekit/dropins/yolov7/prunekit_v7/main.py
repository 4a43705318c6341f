# SPDX-License-Identifier: AGPL-3.0-or-later
"""The pruning scripts for YOLOv7, as command lines and as calls."""

from __future__ import annotations

from pathlib import Path

from pruning.scripts import prune as command
from pruning.scripts.argparse_upstream import ArgparseUpstream
from utils.general import increment_path
from utils.google_utils import attempt_download

from .adapter import Yolov7
from .arguments import OWN, TRAINERS, help_text, train, upstream_parser
from .data import check_values
from .offline import PUBLISHED


def find_weights(name: str) -> Path:
    """The file behind `--weights`, as `pruning.scripts.prune.find_weights` finds it."""
    return command.find_weights(name, PUBLISHED.__contains__, attempt_download)


UPSTREAM = ArgparseUpstream(
    family=lambda given, _, trust: Yolov7(given, trust=trust),
    find_weights=find_weights,
    parsers=lambda: [upstream_parser(trainer) for trainer in TRAINERS],
    help_text=help_text,
    train=lambda told: train(told["trainer"], told["options"]),
    check=check_values,
    own=OWN,
    numbered=increment_path,
)
prune, run = UPSTREAM.prune, UPSTREAM.run
