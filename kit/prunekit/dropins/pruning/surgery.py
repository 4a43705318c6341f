# SPDX-License-Identifier: AGPL-3.0-or-later
"""The old name of `pruning.network.surgery`, for one more release."""

from .network.surgery import *  # noqa: F403
