# SPDX-License-Identifier: AGPL-3.0-or-later
"""Prune a trained network of toydet step by step, fine-tuning and validating after each."""

import sys
from typing import Any

from prunekit_toy.stack import caller, start

DEFAULTS: dict[str, Any] = {"steps": 1, "round_to": 1}
run = caller(__file__, **DEFAULTS)

if __name__ == "__main__":
    sys.exit(start(__file__, "main", "prune", __doc__, sys.argv[1:], **DEFAULTS))
