# SPDX-License-Identifier: AGPL-3.0-or-later
"""Where the tests of YOLOv5 and its series lie; `Home` is a YOLOv5 folder, fork or pristine."""

from __future__ import annotations

import os
from pathlib import Path

from forkhome import Home

__all__ = ["HERE", "SERIES", "Home"]

HERE = Path(__file__).parent
KIT = Path(os.environ.get("PRUNEKIT_KIT") or HERE.parents[1])  # another one while `pins update` tries it
SERIES = KIT / "patches" / "yolov5"
