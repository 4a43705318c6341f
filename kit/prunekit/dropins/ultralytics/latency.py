# SPDX-License-Identifier: AGPL-3.0-or-later
"""How fast is a pruned network beside the dense one? Measured, in turns, in one run.

    python latency.py --dense best.pt --pruned runs/detect/prune/pruned.pt --imgsz 640 --runtime onnxruntime torch

Prints, per runtime, median milliseconds, the measured speed-up with its 95% interval, and the MACs ratio beside it.
Runtimes: torch, onnxruntime, openvino and tensorrt, where they are installed.
"""

import sys

from ultralytics.prunekit.foreign import require_own
from ultralytics.prunekit.main import Upstream, guarded
from ultralytics.pruning.scripts.latency import latency

if __name__ == "__main__":
    again = "nothing was changed, run it again"
    sys.exit(guarded(lambda: (require_own(__file__), latency(__doc__, sys.argv[1:], Upstream())), interrupted=again))
