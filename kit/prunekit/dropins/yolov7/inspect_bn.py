# SPDX-License-Identifier: AGPL-3.0-or-later
"""Are the BatchNorm scales small enough to prune by them?

    python inspect_bn.py --weights runs/train/exp/weights/last.pt --keep 0.5

Prints one row per layer (mean |gamma| and |beta|, the threshold that keeps this fraction of the layer's own channels,
and how many of its channels a global threshold would keep), what prune_one_shot.py --importance bn_scale --scope global
--keep 0.5 keeps with that threshold (coupled layers, floor and rounding keep more), draws a histogram, and ends with a
verdict: prune, or train longer.
"""

import sys

from prunekit_v7.stack import start

if __name__ == "__main__":
    again = "nothing was changed, run it again"
    sys.exit(start(__file__, "sparse", "inspect", __doc__, sys.argv[1:], interrupted=again))
