# SPDX-License-Identifier: AGPL-3.0-or-later
"""The old name of `pruning.network.graph`, for one more release."""

from .network.graph import *  # noqa: F403
