# SPDX-License-Identifier: AGPL-3.0-or-later
"""The old name of `pruning.planning.apply`, for one more release."""

from .planning.apply import *  # noqa: F403
