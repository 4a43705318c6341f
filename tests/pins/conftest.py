# SPDX-License-Identifier: AGPL-3.0-or-later
"""The small upstream and its kit for all tests of pins and patches."""

from pinworld import place

__all__ = ["place"]
