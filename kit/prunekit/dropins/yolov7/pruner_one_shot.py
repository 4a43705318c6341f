# SPDX-License-Identifier: AGPL-3.0-or-later
"""prune_one_shot.py by another name: prune a trained network once, then fine-tune and validate it.

python pruner_one_shot.py --weights best.pt --data data/custom.yaml --prune-ratio 0.5 --epochs 5
"""

import sys

from prunekit_v7.stack import pruning

main, run = pruning(__file__, __doc__, steps=1, round_to=16, schedule="scaled")

if __name__ == "__main__":
    sys.exit(main())
