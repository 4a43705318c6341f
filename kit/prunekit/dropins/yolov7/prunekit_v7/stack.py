# SPDX-License-Identifier: AGPL-3.0-or-later
"""Start a script: is what YOLOv7 needs there? Then run it; what the user can fix is one line."""

from __future__ import annotations

from pruning.scripts.start import Stack

INSTALL = "pip install torch-pruning pandas seaborn tqdm scipy opencv-python-headless"
_STACK = Stack("prunekit_v7", "YOLOv7", INSTALL)
start, launch, pruning = _STACK.start, _STACK.launch, _STACK.pruning
