# SPDX-License-Identifier: AGPL-3.0-or-later
"""Prune YOLO11 iteratively, with the command line published for it.

    python yolo11_pruning.py --model yolo11s.pt --cfg custom_config.yaml --iterative-steps 5 --target-prune-rate 0.3 \
        --max-map-drop 0.15
"""

import sys

from ultralytics.prunekit.foreign import require_own
from ultralytics.prunekit.main import guarded, yolo11

if __name__ == "__main__":
    sys.exit(guarded(lambda: (require_own(__file__), yolo11(sys.argv[1:]))))
