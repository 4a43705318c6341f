# SPDX-License-Identifier: AGPL-3.0-or-later
"""Are the BatchNorm scales small enough to prune by them?

python inspect_bn.py --weights runs/train/exp/weights/last.pt --keep 0.5
"""

import sys

from prunekit_v5.stack import start

if __name__ == "__main__":
    again = "nothing was changed, run it again"
    sys.exit(start(__file__, "sparse", "inspect", __doc__, sys.argv[1:], interrupted=again))
