# SPDX-License-Identifier: AGPL-3.0-or-later
"""Prune a trained network of toydet step by step, fine-tuning and validating after each."""

import sys

from prunekit_toy.stack import pruning

main, run = pruning(__file__, __doc__, steps=1, round_to=1)

if __name__ == "__main__":
    sys.exit(main())
