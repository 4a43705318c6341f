# SPDX-License-Identifier: AGPL-3.0-or-later
"""The old name of `pruning.planning.plan`, for one more release."""

from .planning.plan import *  # noqa: F403
