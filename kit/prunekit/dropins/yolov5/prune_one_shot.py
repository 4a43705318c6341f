# SPDX-License-Identifier: AGPL-3.0-or-later
"""Prune a trained network once, then fine-tune and validate it.

    python prune_one_shot.py --data VOC.yaml --weights best.pt --prune-ratio 0.5 --epochs 5

Every flag of train.py (for a segmentation network, of segment/train.py) may follow.
"""

import sys

from prunekit_v5.stack import start

if __name__ == "__main__":
    sys.exit(start(__file__, "main", "prune", __doc__, sys.argv[1:], steps=1, round_to=16, schedule="scaled"))
