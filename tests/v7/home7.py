# SPDX-License-Identifier: AGPL-3.0-or-later
"""Where the tests of YOLOv7 and its series lie; `Home` is a YOLOv7 folder, fork or pristine."""

from __future__ import annotations

from pathlib import Path

from forkhome import Home

__all__ = ["HERE", "SERIES", "Home"]
HERE = Path(__file__).parent
SERIES = HERE.parents[1] / "patches" / "yolov7"
