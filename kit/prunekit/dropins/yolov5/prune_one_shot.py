# SPDX-License-Identifier: AGPL-3.0-or-later
"""Prune a trained network once, then fine-tune and validate it.

    python prune_one_shot.py --data my.yaml --weights best.pt --prune-ratio 0.5 --epochs 5

Every flag of train.py (for a segmentation network, of segment/train.py) may follow. From Python it is
prune_one_shot.run(weights="best.pt", data="my.yaml", prune_ratio=0.5, epochs=5), with flags as keywords.
"""

import sys

from prunekit_v5.stack import pruning

main, run = pruning(__file__, __doc__, steps=1, round_to=16, schedule="scaled")

if __name__ == "__main__":
    sys.exit(main())
