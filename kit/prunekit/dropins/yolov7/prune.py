# SPDX-License-Identifier: AGPL-3.0-or-later
"""Prune a trained network step by step, fine-tuning and validating after each.

    python prune.py --weights best.pt --data data/custom.yaml --prune-ratio 0.5 --steps 2 --epochs 5 --img-size 640

--epochs is per step; of the earlier ones the last step gets half (--schedule). Every flag of train.py (for an auxiliary
head, of train_aux.py) may follow. pruner.py is the same. From Python, with every flag as a keyword:

    import prune
    report = prune.run(weights="best.pt", data="data/custom.yaml", target_macs=0.5, epochs=10)
"""

import sys

from prunekit_v7.stack import pruning

main, run = pruning(__file__, __doc__, steps=5, round_to=16, schedule="scaled")

if __name__ == "__main__":
    sys.exit(main())
