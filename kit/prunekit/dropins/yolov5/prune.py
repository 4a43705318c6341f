# SPDX-License-Identifier: AGPL-3.0-or-later
"""Prune a trained network step by step, fine-tuning and validating after each.

    python prune.py --data my.yaml --weights best.pt --epochs 2 --cache --img 416 --project VOC --name prune_yolo

--epochs is per step; of the earlier ones the last step gets half (--schedule).
Every flag of train.py (for a segmentation network, of segment/train.py) may follow.

From Python, with every flag as a keyword:

    import prune
    report = prune.run(weights="best.pt", data="my.yaml", target_macs=0.5, epochs=10)
"""

import sys

from prunekit_v5.stack import pruning

main, run = pruning(__file__, __doc__, steps=5, round_to=16, schedule="scaled")

if __name__ == "__main__":
    sys.exit(main())
