# SPDX-License-Identifier: AGPL-3.0-or-later
"""Are the BatchNorm scales small enough to prune by them?

    python inspect_bn.py --weights runs/train/exp/weights/best.pt --keep 0.5

Prints one row per layer (mean |gamma| and |beta|, the threshold that keeps this fraction of the layer's own channels,
and how many of its channels a global threshold would keep), draws a histogram, and ends with a verdict: prune, or train
longer.
"""

import sys

from prunekit_v5.stack import start

if __name__ == "__main__":
    again = "nothing was changed, run it again"
    sys.exit(start(__file__, "sparse", "inspect", __doc__, sys.argv[1:], interrupted=again))
