# SPDX-License-Identifier: AGPL-3.0-or-later
"""What prunekit adds to YOLOv7: the functions its patches call, the adapter of the engine, the scripts' body."""
