# SPDX-License-Identifier: AGPL-3.0-or-later
"""Prune a trained network once, then fine-tune and validate it.

    python prune_one_shot.py --weights best.pt --data my.yaml --epochs 50 --target-macs 0.5

Every upstream train argument may follow, in upstream's spelling.
"""

import sys

from ultralytics.prunekit.foreign import require_own
from ultralytics.prunekit.main import guarded, prune
from ultralytics.pruning.settings import Settings

DEFAULTS = Settings(steps=1, round_to=16, schedule="scaled")

if __name__ == "__main__":
    sys.exit(guarded(lambda: (require_own(__file__), prune(__doc__, DEFAULTS, sys.argv[1:]))))
