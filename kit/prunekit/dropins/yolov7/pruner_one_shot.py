# SPDX-License-Identifier: AGPL-3.0-or-later
"""Prune a trained network once, then fine-tune and validate it.

    python pruner_one_shot.py --weights best.pt --data data/custom.yaml --prune-ratio 0.5 --epochs 5

Every flag of train.py (for an auxiliary head, of train_aux.py) may follow. prune_one_shot.py is the same.

From Python, with every flag as a keyword:

    import pruner_one_shot
    report = pruner_one_shot.run(weights="best.pt", data="data/custom.yaml", target_macs=0.5, epochs=10)
"""

import sys
from typing import Any

from prunekit_v7.stack import caller, start

DEFAULTS: dict[str, Any] = {"steps": 1, "round_to": 16, "schedule": "scaled"}
run = caller(__file__, **DEFAULTS)

if __name__ == "__main__":
    sys.exit(start(__file__, "main", "prune", __doc__, sys.argv[1:], **DEFAULTS))
