# SPDX-License-Identifier: AGPL-3.0-or-later
"""Which layers can lose channels, and which cannot? Prunes each alone, untrained, and validates.

    python sensitivity.py --weights best.pt --data my.yaml --imgsz 640
    python prune.py --weights best.pt --data my.yaml --target-macs 0.5 --sensitivity sensitivity.json

Prints a table, draws a heat map, and writes a file from which prune.py makes plans. Three validations for each unit of
the network; interrupt it at any time, the same command goes on.
"""

import sys

from prunekit_v5.stack import launch
from pruning.scripts.sensitivity import sensitivity

if __name__ == "__main__":
    sys.exit(launch(__file__, lambda upstream: sensitivity(__doc__, sys.argv[1:], upstream)))
