# SPDX-License-Identifier: AGPL-3.0-or-later
"""What upstream calls differently, or does not have yet, in some releases that the series fits (from 8.3.145)."""

from __future__ import annotations

from torch import nn

try:
    from ultralytics.nn.tasks import load_checkpoint
except ImportError:  # before 8.3.19x
    from ultralytics.nn.tasks import attempt_load_one_weight as load_checkpoint
try:
    from ultralytics.utils.torch_utils import unwrap_model
except ImportError:
    from ultralytics.utils.torch_utils import de_parallel as unwrap_model
try:
    from ultralytics.nn.modules.block import RealNVP
except ImportError:  # before 8.4

    class RealNVP(nn.Module):  # type: ignore[no-redef]
        """The flow model of newer pose losses: no network of this release holds one."""


__all__ = ["RealNVP", "load_checkpoint", "unwrap_model"]
