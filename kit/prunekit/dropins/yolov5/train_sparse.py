# SPDX-License-Identifier: AGPL-3.0-or-later
"""Train under a penalty on the BatchNorm scales, which drives those of channels that are not needed to zero.

    python train_sparse.py --weights yolov5s.pt --data my.yaml --epochs 50
    python inspect_bn.py --weights runs/train/exp/weights/last.pt

Every flag of train.py (for a segmentation network, of segment/train.py) may follow. --sparsity (on gamma, decays to 10%
over the epochs) and --sparsity-beta are 0.01 and the optimizer is SGD unless given. --cfg yolov5s.yaml without
--weights starts from scratch; --resume LAST.pt goes on with a broken run.
"""

import sys

from prunekit_v5.stack import start

if __name__ == "__main__":
    again = "if an epoch was done, go on with --resume and weights/last.pt in the run's folder"
    sys.exit(start(__file__, "sparse", "train", __doc__, sys.argv[1:], interrupted=again))
