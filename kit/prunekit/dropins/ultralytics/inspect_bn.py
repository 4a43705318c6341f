# SPDX-License-Identifier: AGPL-3.0-or-later
"""Are the BatchNorm scales small enough to prune by them?

python inspect_bn.py --weights runs/detect/train/weights/last.pt --keep 0.5
"""

import sys

from ultralytics.prunekit.foreign import require_own
from ultralytics.prunekit.main import guarded
from ultralytics.prunekit.sparse import inspect

if __name__ == "__main__":
    again = "nothing was changed, run it again"
    sys.exit(guarded(lambda: (require_own(__file__), inspect(__doc__, sys.argv[1:])), interrupted=again))
