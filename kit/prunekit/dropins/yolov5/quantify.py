# SPDX-License-Identifier: AGPL-3.0-or-later
"""Write a trained network as INT8, for ONNX Runtime or OpenVINO, and measure what that costs and gains.

    python quantify.py --weight best.pt --method static --data my.yaml --img 640

Float and INT8 file are both validated on the data set and timed in turns. They go, with quantify.json, to --project and
--name, or to runs/quantify/exp. Exit code 5: all of it was written, but accuracy fell by more than --max-map-drop.
"""

import sys

from prunekit_v5.stack import launch
from pruning.scripts.quantify import quantify_command

if __name__ == "__main__":
    sys.exit(launch(__file__, lambda upstream: quantify_command(__doc__, sys.argv[1:], upstream)))
