# SPDX-License-Identifier: AGPL-3.0-or-later
"""The old name of `pruning.planning.scores`, for one more release."""

from .planning.scores import *  # noqa: F403
