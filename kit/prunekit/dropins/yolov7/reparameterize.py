# SPDX-License-Identifier: AGPL-3.0-or-later
"""Turn a trained network (IDetect, IAuxDetect), dense or pruned, into its deploy form (Detect).

    python reparameterize.py --weights pruned.pt

What upstream's tools/reparameterization.ipynb does by a second YAML and lists of layer numbers is read off the network:
implicit knowledge goes into the output convolutions, auxiliary branches go away. Outputs are compared before writing.
"""

import sys

from prunekit_v7.stack import launch
from pruning.family.contract import Upstream


def body(_: Upstream) -> None:
    """The command, once the fork is known to be in order."""
    from prunekit_v7.deploy_command import reparameterize

    reparameterize(__doc__, sys.argv[1:])


if __name__ == "__main__":
    sys.exit(launch(__file__, body))
