# SPDX-License-Identifier: AGPL-3.0-or-later
"""Patch 4: import this to be sure of the `ultralytics` package, which YOLOv5 would pip-install where it is missing."""

try:
    import ultralytics

    assert hasattr(ultralytics, "__version__")  # not merely a folder of that name
except (ImportError, AssertionError):
    needed = "pip install 'ultralytics-opencv-headless>=8.4.118'"
    raise ImportError(f"YOLOv5 needs the ultralytics package: {needed}") from None
