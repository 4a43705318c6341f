# SPDX-License-Identifier: AGPL-3.0-or-later
"""How fast is a pruned network beside the dense one? Measured, in turns, in one run.

    python latency.py --dense best.pt --pruned runs/prune/exp/pruned.pt --imgsz 640 --runtime onnxruntime torch

Prints, per runtime, median milliseconds, the measured speed-up with its 95% interval, and the MACs ratio beside it.
Runtimes: torch, onnxruntime, openvino and tensorrt, where they are installed.
"""

import sys

from prunekit_v5.stack import launch
from pruning.scripts.latency import latency

if __name__ == "__main__":
    sys.exit(launch(__file__, lambda upstream: latency(__doc__, sys.argv[1:], upstream)))
