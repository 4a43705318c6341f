# SPDX-License-Identifier: AGPL-3.0-or-later
"""Prune a trained network once, then fine-tune and validate it.

    python pruner_one_shot.py --weights best.pt --data data/custom.yaml --prune-ratio 0.5 --epochs 5

Every flag of train.py (for an auxiliary head, of train_aux.py) may follow. prune_one_shot.py is the same.
"""

import sys

from prunekit_v7.stack import start

if __name__ == "__main__":
    sys.exit(start(__file__, __doc__, sys.argv[1:], steps=1, round_to=16, schedule="scaled"))
