# SPDX-License-Identifier: AGPL-3.0-or-later
"""How the scripts of toydet start."""

from pruning.scripts.start import Stack

_STACK = Stack("prunekit_toy", "toydet", "pip install torch torch-pruning pyyaml")
start, launch, pruning = _STACK.start, _STACK.launch, _STACK.pruning
