# SPDX-License-Identifier: AGPL-3.0-or-later
"""prunekit: turn a pinned upstream clone into a fork that can be pruned and fine-tuned with its own commands."""

__version__ = "0.2.0"
