# SPDX-License-Identifier: AGPL-3.0-or-later
"""How fast is a pruned network beside the dense one?"""

import sys

from prunekit_toy.stack import launch
from pruning.scripts.latency import latency

if __name__ == "__main__":
    sys.exit(launch(__file__, lambda upstream: latency(__doc__, sys.argv[1:], upstream)))
