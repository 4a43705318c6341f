# SPDX-License-Identifier: AGPL-3.0-or-later
"""prune.py by another name: prune a trained network step by step, fine-tuning and validating after each.

    python pruner.py --weights best.pt --data data/custom.yaml --prune-ratio 0.5 --steps 2 --epochs 5 --img-size 640

Flags, defaults and `pruner.run(...)` in Python are those of prune.py; `python prune.py --help` says more.
"""

import sys

from prunekit_v7.stack import pruning

main, run = pruning(__file__, __doc__, steps=5, round_to=16, schedule="scaled")

if __name__ == "__main__":
    sys.exit(main())
