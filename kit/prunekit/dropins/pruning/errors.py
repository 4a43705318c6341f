# SPDX-License-Identifier: AGPL-3.0-or-later
"""The one error of the engine, and its kinds."""

from __future__ import annotations


class PruneError(Exception):
    """What failed, where (layer, file, line), and what to type or change next: one message, no traceback needed."""

    exit_code = 2


class Unreachable(PruneError):
    """No widths allowed by floor and rounding remove anything, or come near a target."""


class NoData(PruneError):
    """Nobody names a data set, neither the command line nor the checkpoint: a plan can be made all the same."""


class Busy(PruneError):
    """Another process is working in a folder."""


class LessAccurate(PruneError):
    """Everything asked for was written, but it lost more accuracy than was allowed."""

    exit_code = 5
