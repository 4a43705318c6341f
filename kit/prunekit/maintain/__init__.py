# SPDX-License-Identifier: AGPL-3.0-or-later
"""Moving pins: candidates, trials, rebase, matrix, and the runs that prove a move. May import everything but `cli`."""
