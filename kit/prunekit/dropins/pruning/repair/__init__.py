# SPDX-License-Identifier: AGPL-3.0-or-later
"""Pruned weights solved in closed form on unlabelled images. Imports training and network."""
