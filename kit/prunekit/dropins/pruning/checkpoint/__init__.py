# SPDX-License-Identifier: AGPL-3.0-or-later
"""Checkpoints, read under a list of what they may be made of; imports errors only."""
