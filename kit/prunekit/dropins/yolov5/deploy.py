# SPDX-License-Identifier: AGPL-3.0-or-later
"""From a trained checkpoint to the fastest file within a loss: prune, repair, INT8, export, validate, time.

    python deploy.py --weights best.pt --data my.yaml --target-latency 0.33 --max-map-drop 0.01

Prints a ladder of files (dense and pruned, float and INT8) and names the fastest one within --max-map-drop. Without
--epochs nothing is trained: the pruned network is repaired on images alone. Every train argument may follow.
Exit codes: 2, the target is unreachable; 5, what is fast enough loses too much; the ladder is printed all the same.
"""

import sys

from prunekit_v5.stack import launch
from pruning.scripts.deploy import deploy_command

if __name__ == "__main__":
    sys.exit(launch(__file__, lambda upstream: deploy_command(__doc__, sys.argv[1:], upstream)))
