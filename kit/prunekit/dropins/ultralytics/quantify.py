# SPDX-License-Identifier: AGPL-3.0-or-later
"""Write a trained network as INT8, for ONNX Runtime or OpenVINO, and measure what that costs and gains.

    python quantify.py --weight best.pt --method static --data my.yaml --imgsz 640

Float and INT8 file are both validated on the data set and timed in turns. They go, with quantify.json, to --project and
--name, or to runs/detect/quantify. Exit code 5: all of it was written, but accuracy fell by more than --max-map-drop.
"""

import sys

from ultralytics.prunekit.foreign import require_own
from ultralytics.prunekit.main import Upstream, guarded
from ultralytics.pruning.scripts.quantify import quantify_command

if __name__ == "__main__":
    again = "nothing was changed, run it again"
    sys.exit(
        guarded(lambda: (require_own(__file__), quantify_command(__doc__, sys.argv[1:], Upstream())), interrupted=again)
    )
