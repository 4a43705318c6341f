# SPDX-License-Identifier: AGPL-3.0-or-later
"""The one error of the engine."""

from __future__ import annotations


class PruneError(Exception):
    """What failed, where (layer, file, line), and what to type or change next: one message, no traceback needed."""


class Unreachable(PruneError):
    """No widths allowed by floor and rounding remove anything, or come near a target."""
