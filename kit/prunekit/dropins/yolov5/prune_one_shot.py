# SPDX-License-Identifier: AGPL-3.0-or-later
"""Prune a trained network once, then fine-tune and validate it.

    python prune_one_shot.py --data VOC.yaml --weights best.pt --prune-ratio 0.5 --epochs 5

Every flag of train.py (for a segmentation network, of segment/train.py) may follow.

From Python, with every flag as a keyword:

    import prune_one_shot
    report = prune_one_shot.run(weights="best.pt", data="VOC.yaml", target_macs=0.5, epochs=10)
"""

import sys
from typing import Any

from prunekit_v5.stack import caller, start

DEFAULTS: dict[str, Any] = {"steps": 1, "round_to": 16, "schedule": "scaled"}
run = caller(__file__, **DEFAULTS)

if __name__ == "__main__":
    sys.exit(start(__file__, "main", "prune", __doc__, sys.argv[1:], **DEFAULTS))
