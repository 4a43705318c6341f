# SPDX-License-Identifier: AGPL-3.0-or-later
"""Train under a penalty on the BatchNorm scales, which drives those of channels that are not needed to zero.

    python train_sparse.py --weights yolov8n.pt --data my.yaml --epochs 50
    python inspect_bn.py --weights runs/detect/train/weights/last.pt

Every upstream train argument may follow, as --key value or key=value. --sparsity (on gamma, decays to 10% over the
epochs) and --sparsity-beta are 0.01 and the optimizer is SGD unless given. --resume LAST.pt goes on with a broken run.
"""

import sys

from ultralytics.prunekit.foreign import require_own
from ultralytics.prunekit.main import guarded
from ultralytics.prunekit.sparse import train

if __name__ == "__main__":
    again = "if an epoch was done, go on with --resume and weights/last.pt in the run's folder"
    sys.exit(guarded(lambda: (require_own(__file__), train(__doc__, sys.argv[1:])), interrupted=again))
