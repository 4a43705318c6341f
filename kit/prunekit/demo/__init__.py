# SPDX-License-Identifier: AGPL-3.0-or-later
"""The demo: a small data set of handwritten digits and a whole pruning run on it."""
