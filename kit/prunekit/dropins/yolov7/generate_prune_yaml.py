# SPDX-License-Identifier: AGPL-3.0-or-later
"""Write the architecture of a pruned network as a YAML that people can read, train and prune again.

    python generate_prune_yaml.py --model ./cfg/training/yolov7.yaml --pruned_model ./pruned_model.yaml
    python train.py --cfg pruned_model.yaml --weights runs/prune/exp/pruned.pt ...

Each layer's real width stands in its own row. --verify builds a network from the file and compares outputs.
"""

import sys

from prunekit_v7.stack import launch
from pruning.family.contract import Upstream


def body(_: Upstream) -> None:
    """The command, once the fork is known to be in order."""
    from prunekit_v7.yaml_command import generate

    generate(__doc__, sys.argv[1:])


if __name__ == "__main__":
    sys.exit(launch(__file__, body))
