# SPDX-License-Identifier: AGPL-3.0-or-later
"""Prune a trained network step by step, fine-tuning and validating after each.

    python prune.py --weights best.pt --data my.yaml --epochs 10 --prune-ratio 0.5 --steps 5

--epochs is per step; of the earlier ones the last step gets half (--schedule).
Every upstream train argument may follow, in upstream's spelling.
"""

import sys

from ultralytics.prunekit.foreign import require_own
from ultralytics.prunekit.main import guarded, prune
from ultralytics.pruning.settings import Settings

DEFAULTS = Settings(steps=5, round_to=16, schedule="scaled")

if __name__ == "__main__":
    sys.exit(guarded(lambda: (require_own(__file__), prune(__doc__, DEFAULTS, sys.argv[1:]))))
